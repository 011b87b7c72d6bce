"""How a container comes out of a checkpoint: the keeper runs ``wherry-oci restore``, as it runs other runtimes.

The container's process becomes the keeper's child; from then on it is a container like others.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from wherry.engine.lifecycle.other_runtimes import own_command, passed_on
from wherry.engine.network.requests import Addresses
from wherry.errors import InvalidInput
from wherry.network.ipam.addresses import parse_mac
from wherry.oci.runtime_spec import Spec, encode
from wherry.runtime.plan import OtherRuntime, Plan
from wherry.runtime.steps.namespaces import AwaitParent
from wherry.runtime.steps.other_runtime import RunRuntime

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wherry.engine.container.container import Container

__all__ = ["LOGS", "addresses_of", "has_again", "restore_plan", "write_addresses"]

#: Below a container's directory: the directory of criu's last logs.
LOGS: Final = "criu"
_ADDRESSES: Final = "addresses.json"
_LARGEST: Final = 1 << 20


class _Row(Struct, kw_only=True):
    """A network in the file: the addresses that a container has had there."""

    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""

    def addresses(self) -> Addresses:
        """As values.

        :raises ValueError: one is none.
        :raises InvalidInput: the MAC address is none.
        """
        ipv4 = IPv4Address(self.ipv4) if self.ipv4 else None
        mac = parse_mac(self.mac) if self.mac else ""
        return Addresses(ipv4, IPv6Address(self.ipv6) if self.ipv6 else None, mac)


def write_addresses(container: Container, images: Path) -> None:
    """Note which addresses a container has, beside what criu has written."""
    rows = {
        name: _Row(ipv4=str(one.ipv4 or ""), ipv6=str(one.ipv6 or ""), mac=one.mac)
        for name, one in container.endpoints.items()
    }
    with open(images / _ADDRESSES, "wb", opener=_private) as file:
        file.write(msgspec.json.encode(rows))


def addresses_of(images: Path) -> dict[str, Addresses]:
    """Which addresses a container has had, by network; none if that cannot be read."""
    try:
        with open(images / _ADDRESSES, "rb", opener=_private) as file:
            rows = msgspec.json.decode(file.read(_LARGEST), type=dict[str, _Row])
        return {name: row.addresses() for name, row in rows.items()}
    except (OSError, ValueError, InvalidInput):  # also where it is no JSON
        return {}


def has_again(container: Container, before: Mapping[str, Addresses]) -> bool:
    """Whether a container has got the addresses that it has had, so that connections may go on."""
    now = {name: (one.ipv4, one.ipv6) for name, one in container.endpoints.items()}
    return now == {name: (one.ipv4, one.ipv6) for name, one in before.items()}


def restore_plan(container: Container, spec: Spec, images: Path, console: str, *, connected: bool) -> Plan:
    """How the keeper has a container restored: by the command, whose child becomes the keeper's.

    :param images: the directory of the checkpoint.
    :param console: path of a socket to be made, for a terminal.
    :param connected: whether connections go on that were established.
    """
    bundle = container.run_directory / "restored"
    bundle.mkdir(0o700, exist_ok=True)
    logs = container.directory / LOGS
    logs.mkdir(0o700, exist_ok=True)
    with open(bundle / "config.json", "wb", opener=_private) as file:
        file.write(encode(spec))
    pid_file, log = str(bundle / "restore-pid"), str(bundle / "restore-log")
    terminal = container.has_terminal
    command = own_command(bundle / "state").command(
        "restore",
        *("--bundle", str(bundle), "--image-path", str(images), "--work-path", str(logs), "--pid-file", pid_file),
        *("--tcp-established", "--ext-unix-sk", "--file-locks", "--detach"),
        *(() if connected else ("--tcp-close",)),
        *(("--console-socket", console) if terminal else ()),
        container.id,
        log=log,
    )
    return Plan(
        other=OtherRuntime(
            "criu", pid_file, log, console if terminal else "", starts=False,
            cgroup=spec.linux.cgroups_path if spec.linux else "", removal=(),
        ),
        steps=(AwaitParent(), RunRuntime(command, (), passed_on())),
    )  # fmt: skip


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
