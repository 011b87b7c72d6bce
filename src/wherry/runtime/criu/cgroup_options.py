"""The options of the host's cgroup2 mount, which criu takes away.

criu mounts the hierarchy for itself, without options; and there is one set of them for all mounts of it, which the
latest in the host's cgroup namespace decides (cgroups(7)). Without ``nsdelegate`` a container that may write into its
control groups could lift its own limits.
"""

from __future__ import annotations

from typing import Final

from wherry.linux.fd import AT_FDCWD
from wherry.linux.mount import fsconfig_flag, fsconfig_reconfigure, fspick

__all__ = ["CgroupOptions"]

_MOUNTS: Final = "/proc/self/mountinfo"


class CgroupOptions:
    """Those that are in force when it is made."""

    def __init__(self) -> None:
        self._wanted: Final = _in_force()

    def put_back(self) -> None:
        """Set them again, if they are others now.

        :raises SystemCallError: the kernel refuses.
        """
        if self._wanted is None or self._wanted == _in_force():
            return
        place, options = self._wanted
        with fspick(AT_FDCWD, place) as context:
            for option in sorted(options):
                fsconfig_flag(context, option)
            fsconfig_reconfigure(context)


def _in_force() -> tuple[str, frozenset[str]] | None:
    """Where the hierarchy of version 2 is mounted, and with what options; None where it is not."""
    with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split()
            if kind == "cgroup2":
                return before.split()[4], frozenset(options.split(",")) - {"rw", "ro"}
    return None
