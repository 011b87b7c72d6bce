"""Resource usage of containers: the Engine API's ContainerStats."""

from __future__ import annotations

import asyncio
import os
import resource
from itertools import takewhile
from typing import Final

from msgspec import UNSET, UnsetType

from wherry.docker import times
from wherry.docker.network_mode import HOST, joined_container
from wherry.docker.stats import (
    BlkioStats,
    ContainerStats,
    CpuStats,
    CpuUsage,
    InterfaceStats,
    IoEntry,
    MemoryStats,
    PidsStats,
    ThrottlingData,
)
from wherry.engine.container.container import Container
from wherry.runtime import cgroups
from wherry.runtime.cgroups.contract import IoCount, Statistics
from wherry.runtime.cgroups.kept_files import KeptFiles

__all__ = ["Sampler", "sample"]

_CHUNK: Final = 1 << 13
_IDLE: Final = 2.5  # seconds; who wants samples takes one each second
_MOST: Final = 256  # containers whose files are kept open
_FILES_OF_ONE: Final = 20
_MACHINE: Final = KeptFiles()
_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Sampler:
    """Takes samples, and keeps the files open from which it takes them, for as long as there are more."""

    def __init__(self) -> None:
        self._kept: Final[dict[str, KeptFiles]] = {}
        self._used: Final[set[str]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def sample(self, container: Container, cgroup: str) -> ContainerStats:
        """One sample of a container; the parameters as for :func:`sample`."""
        files = self._files(container.id) if container.state.is_alive else None
        return sample(container, cgroup, files)

    def _files(self, identifier: str) -> KeptFiles | None:
        """What a container's files are read with; None for the ordinary way: there are too many."""
        self._used.add(identifier)
        if identifier not in self._kept:
            room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4
            if len(self._kept) >= min(_MOST, room // _FILES_OF_ONE):
                return None
            self._kept[identifier] = KeptFiles()
            self._timer = self._timer or asyncio.get_running_loop().call_later(_IDLE, self._close_unused)
        return self._kept[identifier]

    def _close_unused(self) -> None:
        for identifier in self._kept.keys() - self._used:
            self._kept.pop(identifier).close()
        self._used.clear()
        later = asyncio.get_running_loop().call_later
        self._timer = later(_IDLE, self._close_unused) if self._kept else None

    def close(self) -> None:
        """Close all files."""
        if self._timer is not None:
            self._timer.cancel()
        while self._kept:
            self._kept.popitem()[1].close()


def sample(container: Container, cgroup: str, files: KeptFiles | None = None) -> ContainerStats:
    """One sample; all zeros for a container that does not run, as in Docker.

    :param cgroup: the container's path in the cgroup hierarchies.
    :param files: what its files are read with.
    """
    nothing = _cpu(Statistics(), system=False)
    if not container.state.is_alive:
        return ContainerStats(
            id=container.id, name=f"/{container.name}", read=times.ZERO_TIME, preread=times.ZERO_TIME,
            precpu_stats=nothing, pids_stats=PidsStats(), cpu_stats=nothing, memory_stats=MemoryStats(),
            blkio_stats=_block_io((), ()),
        )  # fmt: skip
    found = (cgroups.open(cgroup) if files is None else cgroups.open(cgroup, files)).statistics()
    return ContainerStats(
        id=container.id, name=f"/{container.name}", read=times.now(), preread=times.ZERO_TIME,
        precpu_stats=nothing, pids_stats=PidsStats(current=found.pids.current, limit=found.pids.limit or UNSET),
        cpu_stats=_cpu(found, system=True), memory_stats=_memory(found),
        blkio_stats=_block_io(found.io_bytes, found.io_operations), networks=_networks(container),
    )  # fmt: skip


def _cpu(found: Statistics, *, system: bool) -> CpuStats:
    cpu = found.cpu
    time, online = _processors() if system else (UNSET, UNSET)
    return CpuStats(
        cpu_usage=CpuUsage(
            total_usage=cpu.usage, usage_in_kernelmode=cpu.system, usage_in_usermode=cpu.user,
            percpu_usage=list(cpu.per_cpu) or UNSET,
        ),
        throttling_data=ThrottlingData(
            periods=cpu.periods, throttled_periods=cpu.throttled_periods, throttled_time=cpu.throttled_time
        ),
        system_cpu_usage=time,
        online_cpus=online,
    )  # fmt: skip


def _processors() -> tuple[int, int]:
    """The time that all processors have spent, in nanoseconds, and how many there are; proc(5), /proc/stat."""
    first, *lines = _MACHINE.read("/proc/stat").split("\n")
    online = sum(1 for _ in takewhile(lambda line: line.startswith("cpu"), lines))
    return sum(map(int, first.split()[1:9])) * _TICK, online


def _read(path: str) -> bytes:
    """A file of /proc: asked for each second, and of each container; `open` would take twice the time."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(fd, _CHUNK), b""))
    finally:
        os.close(fd)


def _memory(found: Statistics) -> MemoryStats:
    memory = found.memory
    limit = memory.limit if memory.limit is not None else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return MemoryStats(
        usage=memory.usage, limit=limit, stats=memory.details, max_usage=memory.maximum or UNSET,
        failcnt=memory.failures if memory.maximum else UNSET,
    )  # fmt: skip


def _block_io(transferred: tuple[IoCount, ...], operations: tuple[IoCount, ...]) -> BlkioStats:
    return BlkioStats(
        io_service_bytes_recursive=[_entry(count) for count in transferred] or None,
        io_serviced_recursive=[_entry(count) for count in operations] or None,
    )


def _entry(count: IoCount) -> IoEntry:
    return IoEntry(major=count.major, minor=count.minor, op=count.operation, value=count.value)


def _networks(container: Container) -> dict[str, InterfaceStats] | UnsetType:
    """The counters of a container's own interfaces; of one that has none of its own there are none, as in Docker."""
    mode = container.host.network_mode
    return UNSET if mode == HOST or joined_container(mode) else _interfaces(container.state.pid)


def _interfaces(pid: int) -> dict[str, InterfaceStats]:
    """The counters of the interfaces in a process's network namespace, without loopback; proc(5), /proc/net/dev."""
    try:
        lines = _read(f"/proc/{pid}/net/dev").decode().splitlines()[2:]
    except OSError:
        return {}  # it has just exited
    found = {}
    for line in lines:
        name, _, counters = line.partition(":")
        if name.strip() != "lo":
            found[name.strip()] = _interface([int(word) for word in counters.split()])
    return found


def _interface(counters: list[int]) -> InterfaceStats:
    """Of a line's sixteen numbers the first four of each direction."""
    received, sent = counters[0:4], counters[8:12]
    return InterfaceStats(
        rx_bytes=received[0], rx_packets=received[1], rx_errors=received[2], rx_dropped=received[3],
        tx_bytes=sent[0], tx_packets=sent[1], tx_errors=sent[2], tx_dropped=sent[3],
    )  # fmt: skip
