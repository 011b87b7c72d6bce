"""Reading version 1's counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    return Statistics(
        cpu=_cpu(directory_of("cpuacct"), directory_of("cpu")),
        memory=MemoryStatistics() if memory is None else _memory(memory),
        pids=_pids(directory_of("pids")),
        io_bytes=() if blkio is None else tuple(_io(blkio, "io_service_bytes")),
        io_operations=() if blkio is None else tuple(_io(blkio, "io_serviced")),
        oom_kills=0 if memory is None else memory.table("memory.oom_control").get("oom_kill", 0),
    )


def _cpu(accounting: Directory | None, scheduler: Directory | None) -> CpuStatistics:
    quota = {} if scheduler is None else scheduler.table("cpu.stat")
    if accounting is None:
        usage = user = system = 0
        per_cpu: tuple[int, ...] = ()
    else:
        usage, user, system = (accounting.number(f"cpuacct.usage{kind}") or 0 for kind in ("", "_user", "_sys"))
        per_cpu = tuple(map(int, accounting.read_or("cpuacct.usage_percpu", "").split()))
    return CpuStatistics(
        usage,
        user,
        system,
        per_cpu,
        quota.get("nr_periods", 0),
        quota.get("nr_throttled", 0),
        quota.get("throttled_time", 0),
    )


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


def _io(directory: Directory, name: str) -> Iterator[IoCount]:
    """Read a table of ``8:0 Read 4096`` lines: BFQ's if that scheduler counted anything, else that of throttling."""
    for scheduler in ("bfq", "throttle"):
        found = [_count(line) for line in directory.read_or(f"blkio.{scheduler}.{name}_recursive", "").splitlines()]
        counts = [count for count in found if count is not None]
        if counts:
            yield from counts
            return


def _count(line: str) -> IoCount | None:
    device, _, rest = line.partition(" ")
    operation, _, value = rest.partition(" ")
    major, colon, minor = device.partition(":")
    if not colon or not value.isdigit():  # "Total 4096"
        return None
    return IoCount(int(major), int(minor), operation.lower(), int(value))
