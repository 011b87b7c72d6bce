"""Limits as properties of a systemd unit, so that systemd does not lift them when it is reloaded.

What it has no property for is only in the cgroup's files, which wherry writes in any case. See
systemd.resource-control(5) and org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from wherry.errors import InvalidInput
from wherry.runtime.cgroups.convert import cpu_weight, io_weight, swap_limit
from wherry.runtime.cgroups.devices import DeviceList
from wherry.runtime.cgroups.resources import DeviceAccess, Resources

__all__ = ["ANNOTATION", "Property", "annotated", "limiting"]

#: Annotations with this prefix set further properties, as in runc and crun: the value is a GVariant's text.
ANNOTATION: Final = "org.systemd.property."
Property = tuple[str, str, object]

_NO_LIMIT: Final = 2**64 - 1
_SECOND, _TEN_MILLISECONDS, _DEFAULT_PERIOD = 1_000_000, 10_000, 100_000  # microseconds


def limiting(resources: Resources, version: int) -> list[Property]:
    """Return the properties for limits.

    :param version: of cgroups, whose names for some differ.
    """
    return [
        *_memory(resources, version),
        *_processors(resources, version),
        *([] if resources.pids is None else [("TasksMax", "t", _limit(resources.pids))]),
        *_disks(resources, version),
        *_devices(resources.devices),
    ]


def _limit(value: int) -> int:
    return _NO_LIMIT if value < 0 else value


def _memory(resources: Resources, version: int) -> Iterator[Property]:
    memory = resources.memory
    if memory.limit is not None:
        yield "MemoryMax" if version == 2 else "MemoryLimit", "t", _limit(memory.limit)
    if version == 2 and memory.reservation is not None:
        yield "MemoryLow", "t", _limit(memory.reservation)
    swap = swap_limit(memory.limit, memory.swap) if version == 2 else None
    if swap is not None:
        yield "MemorySwapMax", "t", _limit(swap)


def _processors(resources: Resources, version: int) -> Iterator[Property]:
    cpu = resources.cpu
    if cpu.shares is not None and not cpu.idle:
        yield ("CPUWeight", "t", cpu_weight(cpu.shares)) if version == 2 else ("CPUShares", "t", cpu.shares)
    if cpu.period is not None:
        yield "CPUQuotaPeriodUSec", "t", cpu.period
    if cpu.quota is not None:
        yield "CPUQuotaPerSecUSec", "t", _per_second(cpu.quota, cpu.period or _DEFAULT_PERIOD)
    if version == 2:
        for name, numbers in (("AllowedCPUs", cpu.cpus), ("AllowedMemoryNodes", cpu.mems)):
            if numbers:
                yield name, "ay", _bit_field(numbers)


def _per_second(quota: int, period: int) -> int:
    """systemd keeps whole hundredths: it would round down what is not, and so give less than was asked for."""
    if quota < 0:
        return _NO_LIMIT
    exact = quota * _SECOND // period
    return -(-exact // _TEN_MILLISECONDS) * _TEN_MILLISECONDS


def _bit_field(numbers: str) -> bytes:
    mask = 0
    for part in filter(None, numbers.split(",")):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(last or first) > 65535:
            raise InvalidInput(f"{numbers!r} is no list of numbers such as '0-3,7'")
        for number in range(int(first), int(last or first) + 1):
            mask |= 1 << number
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _disks(resources: Resources, version: int) -> Iterator[Property]:
    weight = resources.block_io.weight
    if weight is not None:
        yield ("IOWeight", "t", io_weight(weight)) if version == 2 else ("BlockIOWeight", "t", weight)


def _devices(entries: tuple[DeviceAccess, ...] | None) -> Iterator[Property]:
    """systemd can only allow; a list that allows all but a few is left to the cgroup itself."""
    if entries is None:
        return
    wanted = DeviceList.of(entries)
    if wanted.allow_by_default:
        yield "DevicePolicy", "s", "auto"
        yield "DeviceAllow", "a(ss)", []
        return
    kinds = {"c": "char", "b": "block"}
    allowed: list[tuple[str, str]] = []
    for rule in wanted.exceptions:
        kind = kinds[rule.kind]
        if rule.major is None and rule.minor is None:
            allowed.append((f"{kind}-*", rule.access))
        elif rule.major is not None and rule.minor is not None:
            allowed.append((f"/dev/{kind}/{rule.major}:{rule.minor}", rule.access))
        elif rule.major is not None and (name := _driver(kind, rule.major)):
            allowed.append((f"{kind}-{name}", rule.access))
    yield "DevicePolicy", "s", "strict"
    yield "DeviceAllow", "a(ss)", allowed


def _driver(kind: str, major: int) -> str:
    """The name of a driver, by which systemd knows all its devices; empty if there is none."""
    wanted = "Character devices:" if kind == "char" else "Block devices:"
    inside = False
    with open("/proc/devices", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.rstrip().endswith("devices:"):
                inside = line.strip() == wanted
            elif inside and line.split()[:1] == [str(major)]:
                return line.split()[1]
    return ""


# ---------------------------------------------------------------------------------------------------------- annotations

_TYPED: Final = {"byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t"}
_PROPERTY: Final = re.compile(r"[A-Z][A-Za-z0-9]{2,}", re.ASCII)
_MOST_CHARACTERS: Final = 4096
_IN_SECONDS: Final = re.compile(r"(?P<stem>\w+)Sec(?<!USec)", re.ASCII)


def annotated(annotations: Mapping[str, str]) -> tuple[Property, ...]:
    """Read further properties: ``org.systemd.property.TimeoutStopUSec: uint64 5000000``, ``CollectMode: 'inactive'``.

    A name that ends with ``Sec`` is in seconds, and becomes the one in microseconds that systemd has.

    :raises InvalidInput: a name or a value that makes no sense.
    """
    return tuple(_annotated(name.removeprefix(ANNOTATION), value) for name, value in _ours(annotations))


def _ours(annotations: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in sorted(annotations.items()) if name.startswith(ANNOTATION))


def _annotated(name: str, text: str) -> Property:
    if not _PROPERTY.fullmatch(name):
        raise InvalidInput(f"annotation {ANNOTATION}{name}: that is no name of a property")
    try:
        signature, value = _variant(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InvalidInput(f"annotation {ANNOTATION}{name}: the value {text!r} makes no sense") from error
    seconds = _IN_SECONDS.fullmatch(name)
    if seconds is not None and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{seconds['stem']}USec", "t", int(value * _SECOND)
    if isinstance(value, float):
        return name, "d", value
    return name, signature, value


def _variant(text: str) -> tuple[str, object]:
    if len(text) > _MOST_CHARACTERS:
        raise ValueError("too long")
    first, _, rest = text.strip().partition(" ")
    if first in _TYPED:
        return _TYPED[first], int(rest, 0)
    if text.strip() in ("true", "false"):
        return "b", text.strip() == "true"
    value = ast.literal_eval(text.strip())
    if isinstance(value, str):
        return "s", value
    if isinstance(value, int | float):
        return "i", value
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return "as", value
    raise ValueError("of another type")
