"""What this machine's cgroups can do, for those who report it (``docker info``) and warn about what is missing."""

from __future__ import annotations

from typing import NamedTuple

from wherry.runtime.cgroups.directory import Files
from wherry.runtime.cgroups.hierarchies import Hierarchies

__all__ = ["Features", "look"]


class Features(NamedTuple):
    """Which limits have an effect.

    :ivar version: of cgroups, 1 or 2.
    :ivar swap: whether memory and swap together can be limited.
    :ivar oom_kill_disable: whether processes can be left waiting for memory; version 1 only.
    :ivar freezer: whether containers can be paused.
    """

    version: int
    memory: bool
    swap: bool
    oom_kill_disable: bool
    cpu_shares: bool
    cpu_quota: bool
    cpuset: bool
    pids: bool
    io: bool
    freezer: bool


def look(found: Hierarchies, files: Files) -> Features:
    """Look at the topmost directories."""
    return _version_1(found.v1, files) if found.version == 1 else _version_2(found.v2 or "", files)


def _version_1(mounts: dict[str, str], files: Files) -> Features:
    def has(controller: str, name: str) -> bool:
        return controller in mounts and files.exists(f"{mounts[controller]}/{name}")

    return Features(
        version=1,
        memory="memory" in mounts,
        swap=has("memory", "memory.memsw.limit_in_bytes"),
        oom_kill_disable=has("memory", "memory.oom_control"),
        cpu_shares=has("cpu", "cpu.shares"),
        cpu_quota=has("cpu", "cpu.cfs_quota_us"),
        cpuset="cpuset" in mounts,
        pids="pids" in mounts,
        io="blkio" in mounts,
        freezer="freezer" in mounts,
    )


def _version_2(top: str, files: Files) -> Features:
    controllers = files.read(f"{top}/cgroup.controllers").split()
    return Features(
        version=2,
        memory="memory" in controllers,
        swap="memory" in controllers,  # its file is not in the topmost directory, so this cannot be seen more exactly
        oom_kill_disable=False,
        cpu_shares="cpu" in controllers,
        cpu_quota="cpu" in controllers,
        cpuset="cpuset" in controllers,
        pids="pids" in controllers,
        io="io" in controllers,
        freezer=True,
    )
