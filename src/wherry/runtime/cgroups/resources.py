"""The limits as values, read from ``linux.resources`` of an OCI runtime specification.

The specification speaks version 1's language. A limit of 0 means "not given" there, as Docker and runc take it;
kernel memory limits are no longer supported by kernels and are ignored, as the specification asks.

The values here are named tuples instead of dataclasses: the keeper imports them, and ``dataclasses`` would bring
``inspect`` with it, which is larger than all of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from wherry.errors import InvalidInput

__all__ = ["BlockIo", "Cpu", "DeviceAccess", "DeviceValue", "Memory", "Resources"]

Json = Mapping[str, Any]
_NUMBER_LIMIT: Final = 1 << 64


class Memory(NamedTuple):
    """Limits of memory in bytes; -1 lifts a limit, None leaves it as it is.

    :ivar limit: resident memory and page cache.
    :ivar reservation: what is left alone when memory is short elsewhere.
    :ivar swap: memory and swap *together*, as version 1 counts; -1 for no limit of swap.
    :ivar swappiness: 0 to 100; version 1 only.
    :ivar disable_oom_killer: processes wait for memory instead of being killed; version 1 only.
    :ivar check_before_update: refuse a limit below what is in use.
    """

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    check_before_update: bool = False


class Cpu(NamedTuple):
    """Shares of processors, and which ones; times in microseconds, None leaves a limit as it is.

    :ivar shares: 2 to 262144, relative to the siblings; 1024 is what a cgroup has by itself.
    :ivar quota: time that may be used per ``period``, on all processors together; negative for no limit.
    :ivar burst: unused quota that may be saved up.
    :ivar idle: 1 for processes that run only when nothing else wants to.
    :ivar cpus: and ``mems``: lists such as ``"0-3,8"``; empty leaves them.
    """

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    burst: int | None = None
    idle: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""


class DeviceValue(NamedTuple):
    """A number for one block device."""

    major: int
    minor: int
    value: int


class BlockIo(NamedTuple):
    """Weights (10 to 1000, relative to the siblings) and limits per second of block devices."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[DeviceValue, ...] = ()
    leaf_weight_device: tuple[DeviceValue, ...] = ()
    read_bps: tuple[DeviceValue, ...] = ()
    write_bps: tuple[DeviceValue, ...] = ()
    read_iops: tuple[DeviceValue, ...] = ()
    write_iops: tuple[DeviceValue, ...] = ()


class DeviceAccess(NamedTuple):
    """One entry of the ordered list that says which devices may be used.

    :ivar kind: ``"a"`` for all, ``"b"`` for block, ``"c"`` for character devices.
    :ivar major: and ``minor``: numbers, None for all.
    :ivar access: some of ``r``, ``w``, ``m`` (mknod).
    """

    allow: bool
    kind: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Resources(NamedTuple):
    """Everything that can be limited: ``linux.resources`` of an OCI runtime specification.

    :ivar pids: processes and threads; -1 lifts the limit, None leaves it.
    :ivar hugepages: size as in file names (``"2MB"``) and limit in bytes.
    :ivar devices: None leaves them as they are.
    :ivar network_class: the class that packets are marked with; version 1 only.
    :ivar network_priorities: interface and priority; version 1 only.
    :ivar rdma: device, and its limits as the kernel writes them.
    :ivar unified: files of version 2 and what to write into them.
    """

    memory: Memory = Memory()
    cpu: Cpu = Cpu()
    pids: int | None = None
    block_io: BlockIo = BlockIo()
    hugepages: tuple[tuple[str, int], ...] = ()
    devices: tuple[DeviceAccess, ...] | None = None
    network_class: int | None = None
    network_priorities: tuple[tuple[str, int], ...] = ()
    rdma: tuple[tuple[str, str], ...] = ()
    unified: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_oci(cls, resources: Json | None) -> Resources:
        """Read the decoded JSON object of a specification.

        :raises InvalidInput: a value is of the wrong type or out of range.
        """
        return _parse(resources or {})


# ------------------------------------------------------------------------------------------------------------- reading


def _parse(found: Json) -> Resources:
    network = _object(found, "network")
    return Resources(
        memory=_memory(_object(found, "memory")),
        cpu=_cpu(_object(found, "cpu")),
        pids=_limit(_object(found, "pids"), "limit"),
        block_io=_block_io(_object(found, "blockIO")),
        hugepages=tuple(_hugepage(entry) for entry in found.get("hugepageLimits") or ()),
        devices=tuple(_device(entry) for entry in found["devices"]) if found.get("devices") else None,
        network_class=_number(network, "classID"),
        network_priorities=tuple(
            (str(entry["name"]), int(entry["priority"])) for entry in network.get("priorities") or ()
        ),
        rdma=tuple((name, _rdma(limits)) for name, limits in _object(found, "rdma").items()),
        unified=tuple((str(name), str(value)) for name, value in _object(found, "unified").items()),
    )


def _object(parent: Json, name: str) -> Json:
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"the resources' {name} must be an object, not {value!r}")
    return value


def _number(parent: Json, name: str) -> int | None:
    value = parent.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= _NUMBER_LIMIT:
        raise InvalidInput(f"the limit {name} must be an integer, not {value!r}")
    return value


def _limit(parent: Json, name: str) -> int | None:
    """Return a limit: None for 0, -1 for every other number below."""
    value = _number(parent, name)
    return None if not value else max(value, -1)


def _memory(part: Json) -> Memory:
    swappiness = _number(part, "swappiness")
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidInput(f"memory swappiness {swappiness} is not between 0 and 100")
    limit, swap = _limit(part, "limit"), _limit(part, "swap")
    if swap is not None and swap > 0 and limit is not None and limit > swap:
        raise InvalidInput(f"the limit of memory and swap together, {swap}, is below that of memory alone, {limit}")
    return Memory(
        limit=limit,
        reservation=_limit(part, "reservation"),
        swap=swap,
        swappiness=swappiness,
        disable_oom_killer=part.get("disableOOMKiller"),
        check_before_update=bool(part.get("checkBeforeUpdate")),
    )


def _cpu(part: Json) -> Cpu:
    idle = _number(part, "idle")
    if idle not in (None, 0, 1):
        raise InvalidInput(f"cpu idle {idle} is neither 0 nor 1")
    return Cpu(
        shares=_number(part, "shares") or None,
        quota=_limit(part, "quota"),
        period=_number(part, "period") or None,
        burst=_number(part, "burst"),
        idle=idle,
        realtime_runtime=_number(part, "realtimeRuntime") or None,
        realtime_period=_number(part, "realtimePeriod") or None,
        cpus=_list(part, "cpus"),
        mems=_list(part, "mems"),
    )


def _list(part: Json, name: str) -> str:
    """Return a list of processors or nodes. The kernel checks its form; here it only has to be one line."""
    value = part.get(name) or ""
    if not isinstance(value, str) or value.strip("0123456789,-"):
        raise InvalidInput(f"the list of {name} {value!r} must look like '0-3,8'")
    return value


def _block_io(part: Json) -> BlockIo:
    return BlockIo(
        weight=_weight(part, "weight"),
        leaf_weight=_weight(part, "leafWeight"),
        weight_device=_devices(part, "weightDevice", "weight"),
        leaf_weight_device=_devices(part, "weightDevice", "leafWeight"),
        read_bps=_devices(part, "throttleReadBpsDevice", "rate"),
        write_bps=_devices(part, "throttleWriteBpsDevice", "rate"),
        read_iops=_devices(part, "throttleReadIOPSDevice", "rate"),
        write_iops=_devices(part, "throttleWriteIOPSDevice", "rate"),
    )


def _weight(part: Json, name: str) -> int | None:
    value = _number(part, name) or None
    if value is not None and not 10 <= value <= 1000:
        raise InvalidInput(f"the block I/O weight {value} is not between 10 and 1000")
    return value


def _devices(part: Json, name: str, value: str) -> tuple[DeviceValue, ...]:
    return tuple(
        DeviceValue(int(entry["major"]), int(entry["minor"]), found)
        for entry in part.get(name) or ()
        if (found := _number(entry, value)) is not None
    )


def _hugepage(entry: Json) -> tuple[str, int]:
    size = entry.get("pageSize")
    if not isinstance(size, str) or not size.isalnum():
        raise InvalidInput(f"the size of huge pages {size!r} must look like '2MB'")
    return size, _number(entry, "limit") or 0


def _device(entry: Json) -> DeviceAccess:
    """Read one entry of the device list; what it leaves out means all."""
    kind, access = entry.get("type") or "a", entry.get("access") or "rwm"
    if kind not in ("a", "b", "c", "u"):
        raise InvalidInput(f"the device type {kind!r} is none of 'a', 'b' and 'c'")
    if not isinstance(access, str) or access.strip("rwm"):
        raise InvalidInput(f"the device access {access!r} must consist of 'r', 'w' and 'm'")
    kind = "c" if kind == "u" else kind  # unbuffered character devices, of other systems
    return DeviceAccess(
        bool(entry.get("allow")), kind, _device_number(entry, "major"), _device_number(entry, "minor"), access
    )


def _device_number(entry: Json, name: str) -> int | None:
    value = _number(entry, name)
    if value is not None and not -1 <= value < 1 << 31:
        raise InvalidInput(f"the device number {value} is out of range")
    return None if value is None or value < 0 else value


def _rdma(limits: Json) -> str:
    """Write limits as the kernel reads them from ``rdma.max``."""
    handles, objects = _number(limits, "hcaHandles"), _number(limits, "hcaObjects")
    parts = [("hca_handle", handles), ("hca_object", objects)]
    return " ".join(f"{name}={value}" for name, value in parts if value is not None)
