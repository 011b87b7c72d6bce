"""The limits that this machine's cgroups support, for ``docker info`` and for warnings."""

from __future__ import annotations

from typing import Final, NamedTuple

from wherry.runtime.cgroups.directory import Files
from wherry.runtime.cgroups.hierarchies import Hierarchies

__all__ = ["Features", "look"]


class Features(NamedTuple):
    """Which limits have an effect.

    :ivar version: of cgroups, 1 or 2.
    :ivar swap: whether memory and swap together can be limited.
    :ivar reservation: whether memory can be kept for a cgroup when it runs short.
    :ivar swappiness: whether a cgroup can have its own; version 1 only.
    :ivar kernel_memory: whether there is a limit of its own for it; version 1 only, without effect since 5.16.
    :ivar oom_kill_disable: whether processes can be left waiting for memory; version 1 only.
    :ivar realtime: whether processes with real-time priority can be given a budget; version 1 only.
    :ivar io: whether bytes and operations a second can be limited.
    :ivar io_weight: whether cgroups can have weights for their block I/O.
    :ivar io_weight_bfq: whether these are the BFQ scheduler's, and so without effect on disks with another.
    :ivar freezer: whether containers can be paused.
    """

    version: int
    memory: bool
    swap: bool
    reservation: bool
    swappiness: bool
    kernel_memory: bool
    oom_kill_disable: bool
    cpu_shares: bool
    cpu_quota: bool
    realtime: bool
    cpuset: bool
    pids: bool
    io: bool
    io_weight: bool
    io_weight_bfq: bool
    freezer: bool


#: Tells in the topmost directory of version 1 that the others have ``blkio.bfq.weight``, which it lacks itself.
_BFQ: Final = "blkio.bfq.io_service_bytes"


def look(found: Hierarchies, files: Files) -> Features:
    """Look at the topmost directories; version 2 has some files only in those below."""
    return _version_1(found.v1, files) if found.version == 1 else _version_2(found.v2 or "", files)


def _version_1(mounts: dict[str, str], files: Files) -> Features:
    def has(controller: str, name: str) -> bool:
        return controller in mounts and files.exists(f"{mounts[controller]}/{name}")

    return Features(
        version=1,
        memory="memory" in mounts,
        swap=has("memory", "memory.memsw.limit_in_bytes"),
        reservation=has("memory", "memory.soft_limit_in_bytes"),
        swappiness=has("memory", "memory.swappiness"),
        kernel_memory=has("memory", "memory.kmem.limit_in_bytes"),
        oom_kill_disable=has("memory", "memory.oom_control"),
        cpu_shares=has("cpu", "cpu.shares"),
        cpu_quota=has("cpu", "cpu.cfs_quota_us"),
        realtime=has("cpu", "cpu.rt_runtime_us"),
        cpuset="cpuset" in mounts,
        pids="pids" in mounts,
        io=has("blkio", "blkio.throttle.read_bps_device"),
        io_weight=has("blkio", _BFQ),
        io_weight_bfq=has("blkio", _BFQ),
        freezer="freezer" in mounts,
    )


def _version_2(top: str, files: Files) -> Features:
    controllers = files.read(f"{top}/cgroup.controllers").split()
    below = [f"{top}/{name}" for name in files.children(top)]

    def any_has(name: str) -> bool:
        return any(files.exists(f"{directory}/{name}") for directory in below)

    return Features(
        version=2,
        memory="memory" in controllers,
        swap="memory" in controllers and (any_has("memory.swap.max") or not any_has("memory.max")),
        reservation="memory" in controllers,
        swappiness=False,
        kernel_memory=False,
        oom_kill_disable=False,
        cpu_shares="cpu" in controllers,
        cpu_quota="cpu" in controllers,
        realtime=False,
        cpuset="cpuset" in controllers,
        pids="pids" in controllers,
        io="io" in controllers,
        io_weight=any_has("io.weight") or any_has("io.bfq.weight") or files.exists(f"{top}/io.cost.model"),
        io_weight_bfq=any_has("io.bfq.weight"),
        freezer=True,
    )
