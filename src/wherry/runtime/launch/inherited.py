"""What children inherit from the parent: ignored signals, and facts about the machine that were looked up once."""

from __future__ import annotations

from wherry.linux import capabilities
from wherry.linux.mount import has_overlay_lowerdir_append
from wherry.runtime import cgroups
from wherry.runtime.steps import cgroup_mounts

__all__ = ["ignored_signals"]

_signals: tuple[int, ...] | None = None


def ignored_signals() -> tuple[int, ...]:
    """Return the signals that this process ignores; a program would inherit that (Python ignores SIGPIPE).

    Looked up once, together with all else that each child would have to look up again.
    """
    global _signals  # noqa: PLW0603  properties of the process and the machine
    if _signals is None:
        _signals = _read_ignored_signals()
        has_overlay_lowerdir_append()
        cgroup_mounts.hierarchies()
        cgroups.hierarchies()
        capabilities.last_cap()
    return _signals


def _read_ignored_signals() -> tuple[int, ...]:
    """Ask the kernel (proc(5), ``SigIgn``), because Python does not see them all."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        line = next(line for line in file if line.startswith("SigIgn:"))
    mask = int(line.split()[1], 16)
    return tuple(number for number in range(1, 65) if mask >> (number - 1) & 1)
