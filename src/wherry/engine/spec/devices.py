"""The host's devices that a container gets: the nodes at the paths that it names, and what it may do with them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.docker.container_requests import Device, DeviceRequest, HostConfig
from wherry.errors import InvalidInput
from wherry.oci import runtime_spec
from wherry.oci.runtime_spec import DeviceCgroup, Hooks, IntelRdt, Mount, NetDevice

if TYPE_CHECKING:
    from wherry.engine.cdi.edits import Edits

__all__ = ["HostDevices", "gather"]

Node = runtime_spec.Device


class HostDevices(NamedTuple):
    """In the words of the OCI specification.

    :param nodes: to be made in the container: ``linux.devices``.
    :param rules: what its control group is allowed: a part of ``linux.resources.devices``.
    :param env: variables of its first process that devices by name bring along.
    :param mounts: mounts that they bring along; in the place of others on the same paths.
    :param groups: groups of its first process that they bring along.
    :param hooks: programs of the host's that they want to be run at points of the container's life.
    :param net_devices: interfaces of the host's that they move into the container, by their names here.
    :param intel_rdt: the class of service that they want.
    """

    nodes: tuple[Node, ...] = ()
    rules: tuple[DeviceCgroup, ...] = ()
    env: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    groups: tuple[int, ...] = ()
    hooks: Hooks | None = None
    net_devices: tuple[tuple[str, NetDevice], ...] = ()
    intel_rdt: IntelRdt | None = None


def gather(host: HostConfig, cdi_spec_dirs: Sequence[str] = ()) -> HostDevices:
    """Look at the devices that a configuration names. Walks through directories: to be called in a thread.

    :param cdi_spec_dirs: where specifications of devices are, which have names.
    :raises InvalidInput: at one of these paths there is no device, in Docker's words.
    :raises SystemFault: there is no device of such a name, in Docker's words.
    :raises Unsupported: a device wants what wherry does not have.
    """
    nodes = list(_every_device()) if host.privileged else []
    rules: list[DeviceCgroup] = []
    for device in host.devices or []:
        found = list(_at(device.path_on_host, device.path_in_container or device.path_on_host))
        nodes += found
        rules += [_rule(node, device) for node in found]
    if not host.device_requests:
        return HostDevices(tuple(nodes), tuple(rules))
    named = _by_name(host.device_requests, cdi_spec_dirs)
    taken = {node.path for node in named.nodes}
    return HostDevices(
        (*(node for node in nodes if node.path not in taken), *named.nodes), (*rules, *named.rules),
        named.env, named.mounts, named.groups, named.hooks, named.net_devices, named.intel_rdt,
    )  # fmt: skip


def _by_name(requests: Sequence[DeviceRequest], directories: Sequence[str]) -> Edits:
    from wherry.engine.cdi.edits import collected  # noqa: PLC0415 - few containers have such devices
    from wherry.engine.cdi.registry import load  # noqa: PLC0415
    from wherry.engine.cdi.requests import names_of  # noqa: PLC0415

    registry = load(directories)
    return collected(registry.edits(names_of(requests, registry)))


def _rule(node: Node, device: Device) -> DeviceCgroup:
    access = device.cgroup_permissions or "rwm"
    return DeviceCgroup(allow=True, access=access, type=node.type, major=node.major, minor=node.minor)


def _at(source: str, target: str) -> Iterator[Node]:
    """A device node, or all nodes below a directory; only the path itself may be a link."""
    wrong = f'error gathering device information while adding custom device "{source}": '
    try:
        resolved = os.path.realpath(source) if os.path.islink(source) else source
        status = os.lstat(resolved)
    except ValueError as exc:  # a null byte
        raise InvalidInput(wrong + str(exc)) from exc
    except OSError as exc:
        raise InvalidInput(wrong + (exc.strerror or "").lower()) from exc
    found = [_node(status, target)]
    if stat.S_ISDIR(status.st_mode):
        found = list(_nodes_below(resolved, target))
    nodes = [node for node in found if node is not None]
    if not nodes:
        raise InvalidInput(wrong + "not a device node")
    yield from nodes


def _nodes_below(directory: str, target: str) -> Iterator[Node | None]:
    left = _MOST_FILES
    for folder, _, names in os.walk(directory):
        left -= len(names)
        if left < 0:
            raise InvalidInput(f'error gathering devices: there are more than {_MOST_FILES} files below "{directory}"')
        for name in sorted(names):
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError):  # gone while we were looking
                yield _node(os.lstat(path), target + path[len(directory) :])


def _node(status: os.stat_result, target: str) -> Node | None:
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        return None
    return Node(
        path=target, type=kind, major=os.major(status.st_rdev), minor=os.minor(status.st_rdev),
        file_mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid,
    )  # fmt: skip


_MOST_FILES: Final = 10_000  #: below a directory of devices; somebody may name the host's root
_OWN_IN_CONTAINER: Final = frozenset(
    {"pts", "shm", "fd", "mqueue", "console", "ptmx", "stdin", "stdout", "stderr", "core"}
)
_STANDARD: Final = frozenset({"null", "zero", "full", "random", "urandom", "tty"})


def _every_device() -> Iterator[Node]:
    """All nodes of the host's /dev, but for those that every container has of its own."""
    for folder, folders, names in os.walk("/dev"):
        if folder == "/dev":
            folders[:] = [name for name in folders if name not in _OWN_IN_CONTAINER]
            names[:] = [name for name in names if name not in _OWN_IN_CONTAINER | _STANDARD]
        for name in names:
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError):
                if (entry := _node(os.lstat(path), path)) is not None:
                    yield entry
