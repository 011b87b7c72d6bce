"""/proc/<pid>/stat, parsed (proc_pid_stat(5))."""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["Stat", "read_stat", "start_time"]


class Stat(NamedTuple):
    """Some of the fields, with their numbers in proc_pid_stat(5)."""

    state: str
    """One letter (3): ``R``, ``S``, ``Z``, ``T`` ..."""
    parent: int
    """Process ID of the parent (4)."""
    flags: int
    """``PF_*`` flags of the kernel (9)."""
    start_time: int
    """When it was started, in clock ticks since boot (22). With the process ID it names a process uniquely."""
    exit_status: int
    """As waitpid(2) encodes it (52); 0 where this process may not see it."""


def read_stat(pid: int) -> Stat | None:
    """Return a process's fields; None if it is gone. A zombie still has them."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):  # the second one while it goes
        return None
    try:
        # The name, in parentheses, may contain anything.
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    return Stat(fields[0].decode(), int(fields[1]), int(fields[6]), int(fields[19]), int(fields[49]))


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None if it is gone."""
    stat = read_stat(pid)
    return None if stat is None else stat.start_time
