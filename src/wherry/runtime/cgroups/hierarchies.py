"""Find the mounted cgroup hierarchies, and the version of cgroups."""

from __future__ import annotations

from typing import NamedTuple

from wherry.errors import Unsupported
from wherry.runtime.cgroups.directory import Files

__all__ = ["Hierarchies", "find"]


class Hierarchies(NamedTuple):
    """The mounted hierarchies.

    :ivar version: which version has the controllers that matter.
    :ivar v1: mount point by controller; a named hierarchy without controllers stands under ``"name=..."``.
    :ivar v2: mount point, or None.
    """

    version: int
    v1: dict[str, str]
    v2: str | None


def find(mountinfo: str, files: Files) -> Hierarchies:
    """Read /proc/self/mountinfo.

    Three layouts are common: version 2 alone; version 1 alone; and *hybrid*, version 1 with all the controllers and
    an empty version 2 beside it. There are others: some VPN programs mount version 1's ``net_cls`` on a machine that
    otherwise has version 2. So the version that has the memory controller counts, else that with ``pids``, else that
    with ``cpu``.

    :raises Unsupported: no cgroup file system is mounted.
    """
    v1: dict[str, str] = {}
    v2: str | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2) if after.count(" ") >= 2 else (after, "", "")
        target = _unescaped(before.split(" ")[4])
        if kind == "cgroup2" and v2 is None:
            v2 = target
        elif kind == "cgroup":
            for name in _controllers(options):
                v1.setdefault(name, target)
    if not v1 and v2 is None:
        hint = "mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        raise Unsupported("no cgroup file system is mounted", hint=hint)
    return Hierarchies(_version(v1, v2, files), v1, v2)


def _version(v1: dict[str, str], v2: str | None, files: Files) -> int:
    if v2 is None:
        return 1
    controllers = files.read(f"{v2}/cgroup.controllers").split()
    for decisive in ("memory", "pids", "cpu"):
        if decisive in controllers:
            return 2
        if decisive in v1:
            return 1
    return 2


# Options of version 1 mounts that are no controllers; "rw" and "ro" stand before them.
_OPTIONS = frozenset(
    {"rw", "ro", "none", "noprefix", "xattr", "clone_children", "cpuset_v2_mode", "favordynmods", "all", "seclabel"}
)


def _controllers(options: str) -> list[str]:
    names = [name for name in options.split(",") if name not in _OPTIONS and not name.startswith("release_agent=")]
    # A hierarchy with a name and controllers is found by its controllers.
    return [name for name in names if not name.startswith("name=")] or names


def _unescaped(path: str) -> str:
    r"""Undo mountinfo's escapes: ``\040`` for a space, and three others."""
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        path = path.replace(f"\\{code}", character)
    return path
