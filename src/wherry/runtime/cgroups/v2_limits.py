"""Resources as version 2's files: pure translation, nothing is written here.

See Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

from collections.abc import Iterator

from wherry.errors import InvalidInput
from wherry.runtime.cgroups.common_limits import cpuset, pids, rdma
from wherry.runtime.cgroups.convert import cpu_weight, io_weight, swap_limit
from wherry.runtime.cgroups.directory import Limit
from wherry.runtime.cgroups.resources import BlockIo, Cpu, Memory, Resources

__all__ = ["limits"]

_DEFAULT_PERIOD = 100_000  # microseconds; the kernel's


def limits(resources: Resources, *, bfq: bool = False) -> list[Limit]:
    """Return what is to be written, in an order that suits a new cgroup. The device list is not among it.

    What version 2 has no counterpart for (swappiness, disabling the OOM killer, real-time quotas, network classes) is
    left out, as runc does: the same specification must start on both.

    :param bfq: whether the BFQ scheduler's weights are used instead of those of the io.cost model.
    """
    return [
        *cpuset(resources.cpu),
        *_memory(resources.memory),
        *_cpu(resources.cpu),
        *pids(resources.pids),
        *_block_io(resources.block_io, bfq=bfq),
        *_rest(resources),
        *(_unified(name, value) for name, value in resources.unified),
    ]


def _bytes(value: int) -> str:
    return "max" if value < 0 else str(value)


def _memory(memory: Memory) -> Iterator[Limit]:
    swap = swap_limit(memory.limit, memory.swap)
    if swap is not None:
        # The file is missing where swap accounting is switched off.
        yield Limit("memory", "memory.swap.max", _bytes(swap), optional=True)
    if memory.limit is not None:
        yield Limit("memory", "memory.max", _bytes(memory.limit))
    if memory.reservation is not None:
        yield Limit("memory", "memory.low", _bytes(memory.reservation))


def _cpu(cpu: Cpu) -> Iterator[Limit]:
    if cpu.idle is not None:
        yield Limit("cpu", "cpu.idle", str(cpu.idle))
    if cpu.shares is not None and not cpu.idle:  # an idle cgroup has no weight
        yield Limit("cpu", "cpu.weight", str(cpu_weight(cpu.shares)))
    if cpu.quota is not None or cpu.period is not None:
        quota = _bytes(-1 if cpu.quota is None else cpu.quota)
        yield Limit("cpu", "cpu.max", f"{quota} {cpu.period or _DEFAULT_PERIOD}")
    if cpu.burst is not None:
        yield Limit("cpu", "cpu.max.burst", str(cpu.burst))


def _block_io(io: BlockIo, *, bfq: bool) -> Iterator[Limit]:
    name = "io.bfq.weight" if bfq else "io.weight"
    if io.weight is not None:
        yield Limit("io", name, str(io.weight) if bfq else f"default {io_weight(io.weight)}")
    for entry in io.weight_device:
        weight = entry.value if bfq else io_weight(entry.value)
        # 0 is the default again with version 1, and an error here.
        yield Limit("io", name, f"{entry.major}:{entry.minor} {weight if entry.value else 'default'}")
    keys = (("rbps", io.read_bps), ("wbps", io.write_bps), ("riops", io.read_iops), ("wiops", io.write_iops))
    for key, entries in keys:
        for entry in entries:
            # 0 lifts a limit with version 1 and is an error here.
            yield Limit("io", "io.max", f"{entry.major}:{entry.minor} {key}={entry.value or 'max'}")


def _rest(resources: Resources) -> Iterator[Limit]:
    for size, limit in resources.hugepages:
        yield Limit("hugetlb", f"hugetlb.{size}.max", str(limit))
        yield Limit("hugetlb", f"hugetlb.{size}.rsvd.max", str(limit), optional=True)
    yield from rdma(resources)


def _unified(name: str, value: str) -> Limit:
    """Check a file's name: it must be one of a controller's, in this directory."""
    controller, dot, _ = name.partition(".")
    if "/" in name or not dot or not controller:
        raise InvalidInput(f"the unified limit {name!r} is no name of a cgroup file")
    return Limit(controller, name, value)
