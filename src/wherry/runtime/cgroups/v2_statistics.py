"""Reading version 2's counters."""

from __future__ import annotations

from typing import Final

from wherry.runtime.cgroups.contract import CpuStatistics, IoCount, MemoryStatistics, Pids, Statistics
from wherry.runtime.cgroups.directory import Directory

__all__ = ["read"]

_MICROSECOND: Final = 1000
_BYTES: Final = {"rbytes": "read", "wbytes": "write", "dbytes": "discard"}
_OPERATIONS: Final = {"rios": "read", "wios": "write", "dios": "discard"}


def read(directory: Directory) -> Statistics:
    """Read all counters."""
    io = directory.read_or("io.stat", "")
    return Statistics(
        cpu=_cpu(directory),
        memory=_memory(directory),
        pids=Pids(directory.number("pids.current") or 0, directory.number("pids.max")),
        io_bytes=_io(io, _BYTES),
        io_operations=_io(io, _OPERATIONS),
        oom_kills=directory.table("memory.events").get("oom_kill", 0),
    )


def _cpu(directory: Directory) -> CpuStatistics:
    found = directory.table("cpu.stat")
    return CpuStatistics(
        usage=found.get("usage_usec", 0) * _MICROSECOND,
        user=found.get("user_usec", 0) * _MICROSECOND,
        system=found.get("system_usec", 0) * _MICROSECOND,
        periods=found.get("nr_periods", 0),
        throttled_periods=found.get("nr_throttled", 0),
        throttled_time=found.get("throttled_usec", 0) * _MICROSECOND,
    )


def _memory(directory: Directory) -> MemoryStatistics:
    return MemoryStatistics(
        usage=directory.number("memory.current") or 0,
        maximum=directory.number("memory.peak") or 0,
        limit=directory.number("memory.max"),
        failures=directory.table("memory.events").get("max", 0),
        swap_usage=directory.number("memory.swap.current") or 0,
        details=directory.table("memory.stat"),
    )


def _io(text: str, names: dict[str, str]) -> tuple[IoCount, ...]:
    """Pick columns of lines such as ``8:0 rbytes=4096 wbytes=0 rios=1 wios=0``."""
    counts = []
    for line in text.splitlines():
        device, *columns = line.split()
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        for name, _, value in (column.partition("=") for column in columns):
            if name in names:
                counts.append(IoCount(int(major), int(minor), names[name], int(value)))
    return tuple(counts)
