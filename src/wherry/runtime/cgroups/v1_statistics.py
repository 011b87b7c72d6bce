"""Reading version 1's counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wherry.runtime.cgroups.contract import CpuStatistics, IoCount, MemoryStatistics, Pids, Statistics
from wherry.runtime.cgroups.directory import Directory

__all__ = ["read"]

#: Version 1 has no word for "no limit": it is the largest number of whole pages.
_UNLIMITED: Final = 1 << 62


def read(directory_of: Callable[[str], Directory | None]) -> Statistics:
    """Read all counters.

    :param directory_of: gives a controller's directory, or None if the controller is not mounted.
    """
    memory, blkio = directory_of("memory"), directory_of("blkio")
    transferred, operations = ((), ()) if blkio is None else _io(blkio)
    return Statistics(
        cpu=_cpu(directory_of("cpuacct"), directory_of("cpu")),
        memory=MemoryStatistics() if memory is None else _memory(memory),
        pids=_pids(directory_of("pids")),
        io_bytes=transferred,
        io_operations=operations,
        oom_kills=0 if memory is None else memory.table("memory.oom_control").get("oom_kill", 0),
    )


def _cpu(accounting: Directory | None, scheduler: Directory | None) -> CpuStatistics:
    quota = {} if scheduler is None else scheduler.table("cpu.stat")
    if accounting is None:
        usage = user = system = 0
        per_cpu: tuple[int, ...] = ()
    else:
        per_cpu = tuple(map(int, accounting.read_or("cpuacct.usage_percpu", "").split()))
        usage = sum(per_cpu)
        user, system = _modes(accounting)
    return CpuStatistics(
        usage,
        user,
        system,
        per_cpu,
        quota.get("nr_periods", 0),
        quota.get("nr_throttled", 0),
        quota.get("throttled_time", 0),
    )


def _modes(accounting: Directory) -> tuple[int, int]:
    """The time in user mode and in the kernel's, which is there of each processor in one file."""
    each = [line.split() for line in accounting.read_or("cpuacct.usage_all", "").splitlines()[1:]]
    return sum(int(words[1]) for words in each), sum(int(words[2]) for words in each)


def _memory(directory: Directory) -> MemoryStatistics:
    usage = directory.number("memory.usage_in_bytes") or 0
    limit = directory.number("memory.limit_in_bytes")
    with_swap = directory.number("memory.memsw.usage_in_bytes")
    return MemoryStatistics(
        usage=usage,
        maximum=directory.number("memory.max_usage_in_bytes") or 0,
        limit=None if limit is None or limit >= _UNLIMITED else limit,
        failures=directory.number("memory.failcnt") or 0,
        swap_usage=0 if with_swap is None else max(0, with_swap - usage),
        details=directory.table("memory.stat"),
    )


def _pids(directory: Directory | None) -> Pids:
    if directory is None:
        return Pids()
    return Pids(directory.number("pids.current") or 0, directory.number("pids.max"))


def _io(directory: Directory) -> tuple[tuple[IoCount, ...], tuple[IoCount, ...]]:
    """Bytes and operations: BFQ's if that scheduler counted anything, else those of throttling."""
    for scheduler in ("bfq", "throttle"):
        transferred = _counts(directory, f"blkio.{scheduler}.io_service_bytes_recursive")
        if transferred or scheduler == "throttle":
            break
    return transferred, _counts(directory, f"blkio.{scheduler}.io_serviced_recursive")


def _counts(directory: Directory, name: str) -> tuple[IoCount, ...]:
    """Read a table of ``8:0 Read 4096`` lines."""
    found = map(_count, directory.read_or(name, "").splitlines())
    return tuple(count for count in found if count is not None)


def _count(line: str) -> IoCount | None:
    device, _, rest = line.partition(" ")
    operation, _, value = rest.partition(" ")
    major, colon, minor = device.partition(":")
    if not colon or not value.isdigit():  # "Total 4096"
        return None
    return IoCount(int(major), int(minor), operation.lower(), int(value))
