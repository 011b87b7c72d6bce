"""``wherry-oci update``: change the limits of a container that runs."""

from __future__ import annotations

from typing import Any, Final

from wherry.errors import Conflict, InvalidInput
from wherry.ociruntime.bundle import parse_json, read_json
from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.container import Container
from wherry.ociruntime.flags import Flags, parse
from wherry.ociruntime.group import apply, apply_shares
from wherry.runtime.cgroups.resources import Resources

__all__ = ["ARGUMENTS", "FLAGS", "resources_of", "run"]

#: Flag to the place of its value in ``linux.resources``.
_PLACES: Final = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
}
_TEXTS: Final = frozenset({"cpuset-cpus", "cpuset-mems"})
_SIZES: Final = frozenset({"memory", "memory-reservation", "memory-swap"})
_SUFFIXES: Final = {"k": 10, "m": 20, "g": 30, "t": 40}
FLAGS = {"resources": True, **dict.fromkeys(_PLACES, True), "l3-cache-schema": True, "mem-bw-schema": True}
ARGUMENTS = "ID"


def run(call: Call, arguments: list[str]) -> int:
    """Change them; what is not named stays as it is."""
    flags, rest = parse(arguments, FLAGS, short={"r": "resources"})
    shares = [flags.text(name) for name in ("l3-cache-schema", "mem-bw-schema") if flags.has(name)]
    with Container.open(call.root, one_argument(rest, "update")) as container:
        record = container.read()
        if record.status() not in ("running", "created", "paused"):
            raise Conflict("container not running")
        if shares:
            apply_shares(record, shares)
        apply(record, Resources.from_oci(resources_of(flags)))
    return 0


def resources_of(flags: Flags) -> dict[str, Any]:
    """Return what the flags, or the file that they name, say of ``linux.resources``.

    Rules for devices are left as they are, as runc leaves them: containerd and CRI-O repeat those of the specification,
    to which the devices that every container has were added when it was made.

    :raises InvalidInput: they say nothing that could be.
    """
    if path := flags.text("resources"):
        try:
            found = parse_json(read_json(path), "resources")
        except FileNotFoundError:
            raise InvalidInput(f"there is no file {path!r}") from None
        if not isinstance(found, dict):
            raise InvalidInput("the resources must be an object")
        return {name: value for name, value in found.items() if name != "devices"}
    wanted: dict[str, Any] = {}
    for name, (part, member) in _PLACES.items():
        if flags.has(name):
            wanted.setdefault(part, {})[member] = _value(name, flags)
    return wanted


def _value(name: str, flags: Flags) -> int | str:
    if name in _TEXTS:
        return flags.text(name)
    if name not in _SIZES:
        return flags.number(name)
    text = flags.text(name).lower().removesuffix("b")
    shift = _SUFFIXES.get(text[-1:], 0)
    number = text[:-1] if shift else text
    if not number.removeprefix("-").isdigit():
        raise InvalidInput(f"invalid value {flags.text(name)!r} of --{name}")
    return int(number) << shift
