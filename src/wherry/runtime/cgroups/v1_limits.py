"""Resources as version 1's files: pure translation, nothing is written here.

See Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

from collections.abc import Iterator

from wherry.errors import InvalidInput
from wherry.runtime.cgroups.common_limits import cpuset, pids, rdma
from wherry.runtime.cgroups.directory import Limit
from wherry.runtime.cgroups.resources import BlockIo, Cpu, Memory, Resources

__all__ = ["limits"]


def limits(resources: Resources) -> list[Limit]:
    """Return what is to be written, in an order that suits a new cgroup. The device list is not among it.

    :raises InvalidInput: there are values for version 2's files.
    """
    if resources.unified:
        raise InvalidInput("'unified' limits need cgroup version 2, this machine has version 1")
    return [
        *cpuset(resources.cpu),
        *_memory(resources.memory),
        *_cpu(resources.cpu),
        *pids(resources.pids),
        *_block_io(resources.block_io),
        *_rest(resources),
    ]


def _memory(memory: Memory) -> Iterator[Limit]:
    limit, swap = memory.limit, memory.swap
    if limit == -1 and swap is None:
        swap = -1  # memory and swap together must not stay below memory
    if limit is not None:
        yield Limit("memory", "memory.limit_in_bytes", str(limit))
    if swap is not None:
        # Without swap accounting (a boot parameter) the file is missing; Docker goes on without it, too.
        yield Limit("memory", "memory.memsw.limit_in_bytes", str(swap), optional=True)
    if memory.reservation is not None:
        yield Limit("memory", "memory.soft_limit_in_bytes", str(memory.reservation))
    if memory.swappiness is not None:
        yield Limit("memory", "memory.swappiness", str(memory.swappiness))
    if memory.disable_oom_killer is not None:
        yield Limit("memory", "memory.oom_control", str(int(memory.disable_oom_killer)))


def _cpu(cpu: Cpu) -> Iterator[Limit]:
    values = (
        ("cpu.shares", cpu.shares),
        ("cpu.idle", cpu.idle),
        ("cpu.rt_period_us", cpu.realtime_period),
        ("cpu.rt_runtime_us", cpu.realtime_runtime),
        ("cpu.cfs_period_us", cpu.period),
        ("cpu.cfs_quota_us", cpu.quota),
        ("cpu.cfs_burst_us", cpu.burst),
    )
    for name, value in values:
        if value is not None and not (name == "cpu.shares" and cpu.idle):  # an idle cgroup has no shares
            yield Limit("cpu", name, str(value))


def _block_io(io: BlockIo) -> Iterator[Limit]:
    """Weights go to BFQ's files; the older blkio.weight went away with CFQ in Linux 5.0."""
    if io.weight is not None:
        yield Limit("blkio", "blkio.bfq.weight", str(io.weight))
    if io.leaf_weight is not None:
        yield Limit("blkio", "blkio.leaf_weight", str(io.leaf_weight))
    lists = (
        ("blkio.bfq.weight_device", io.weight_device),
        ("blkio.leaf_weight_device", io.leaf_weight_device),
        ("blkio.throttle.read_bps_device", io.read_bps),
        ("blkio.throttle.write_bps_device", io.write_bps),
        ("blkio.throttle.read_iops_device", io.read_iops),
        ("blkio.throttle.write_iops_device", io.write_iops),
    )
    for name, entries in lists:
        for entry in entries:
            yield Limit("blkio", name, f"{entry.major}:{entry.minor} {entry.value}")


def _rest(resources: Resources) -> Iterator[Limit]:
    for size, limit in resources.hugepages:
        yield Limit("hugetlb", f"hugetlb.{size}.limit_in_bytes", str(limit))
        yield Limit("hugetlb", f"hugetlb.{size}.rsvd.limit_in_bytes", str(limit), optional=True)
    if resources.network_class is not None:
        yield Limit("net_cls", "net_cls.classid", str(resources.network_class))
    for interface, priority in resources.network_priorities:
        yield Limit("net_prio", "net_prio.ifpriomap", f"{interface} {priority}")
    yield from rdma(resources)
