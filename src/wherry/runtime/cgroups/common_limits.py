"""Limits whose files are the same in both versions."""

from __future__ import annotations

from collections.abc import Iterator

from wherry.runtime.cgroups.directory import Limit
from wherry.runtime.cgroups.resources import Cpu, Resources

__all__ = ["cpuset", "pids", "rdma"]


def cpuset(cpu: Cpu) -> Iterator[Limit]:
    """The processors and memory nodes that may be used."""
    if cpu.cpus:
        yield Limit("cpuset", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        yield Limit("cpuset", "cpuset.mems", cpu.mems)


def pids(most: int | None) -> Iterator[Limit]:
    """The number of processes; a negative one is no limit."""
    if most is not None:
        yield Limit("pids", "pids.max", "max" if most < 0 else str(most))


def rdma(resources: Resources) -> Iterator[Limit]:
    """RDMA handles and objects, by device."""
    for device, value in resources.rdma:
        yield Limit("rdma", "rdma.max", f"{device} {value}")
