"""Answers of the Engine API: ContainerStats."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET, Struct, UnsetType, field

__all__ = [
    "BlkioStats",
    "ContainerStats",
    "CpuStats",
    "CpuUsage",
    "InterfaceStats",
    "IoEntry",
    "MemoryStats",
    "PidsStats",
    "ThrottlingData",
]


class CpuUsage(Struct, kw_only=True):
    """Nanoseconds of processor time; ``percpu_usage`` only where the kernel counts so (cgroup v1)."""

    total_usage: int
    usage_in_kernelmode: int
    usage_in_usermode: int
    percpu_usage: list[int] | UnsetType = UNSET


class ThrottlingData(Struct, kw_only=True):
    """What a quota did."""

    periods: int
    throttled_periods: int
    throttled_time: int


class CpuStats(Struct, kw_only=True):
    """``cpu_stats``; the host's part is left out where there is nothing to compare with."""

    cpu_usage: CpuUsage
    throttling_data: ThrottlingData
    system_cpu_usage: int | UnsetType = UNSET
    online_cpus: int | UnsetType = UNSET


class PidsStats(Struct, kw_only=True):
    """``pids_stats``; empty for a container that does not run."""

    current: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class MemoryStats(Struct, kw_only=True):
    """``memory_stats``; empty for a container that does not run. ``max_usage`` and ``failcnt`` are of cgroup v1."""

    usage: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    stats: Mapping[str, int] | UnsetType = UNSET
    max_usage: int | UnsetType = UNSET
    failcnt: int | UnsetType = UNSET


class IoEntry(Struct, kw_only=True):
    """One counter of a block device."""

    major: int
    minor: int
    op: str
    value: int


class BlkioStats(Struct, kw_only=True):
    """``blkio_stats``; what the kernel does not count is null."""

    io_service_bytes_recursive: list[IoEntry] | None
    io_serviced_recursive: list[IoEntry] | None
    io_queue_recursive: None = None
    io_service_time_recursive: None = None
    io_wait_time_recursive: None = None
    io_merged_recursive: None = None
    io_time_recursive: None = None
    sectors_recursive: None = None


class InterfaceStats(Struct, kw_only=True):
    """The counters of one network interface."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class ContainerStats(Struct, kw_only=True):
    """One sample.

    :ivar networks: by interface; left out for a container without a network namespace of its own.
    """

    id: str
    name: str
    os_type: str = "linux"
    read: str
    preread: str
    num_procs: int = 0
    storage_stats: dict[str, int] = field(default_factory=dict)
    precpu_stats: CpuStats
    pids_stats: PidsStats
    cpu_stats: CpuStats
    memory_stats: MemoryStats
    blkio_stats: BlkioStats
    networks: dict[str, InterfaceStats] | UnsetType = UNSET
