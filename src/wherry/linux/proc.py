"""/proc/<pid>/stat, parsed (proc_pid_stat(5)), and other facts that /proc tells, for who must start fast."""

from __future__ import annotations

import os

__all__ = ["Stat", "descendants", "in_first_user_namespace", "read_stat", "start_time"]

#: What namespaces(7) shows for PROC_USER_INIT_INO of linux/proc_ns.h.
_FIRST_USER = f"user:[{0xEFFFFFFD}]"


class Stat:
    """Some of the fields, with their numbers in proc_pid_stat(5); no ``NamedTuple``, for who must start fast.

    :ivar name: what the thread is called (2).
    :ivar state: one letter (3): ``R``, ``S``, ``Z``, ``T`` ...
    :ivar parent: process ID of the parent (4).
    :ivar flags: ``PF_*`` flags of the kernel (9).
    :ivar start_time: when it was started, in clock ticks since boot (22). With the process ID it names a process
        uniquely.
    :ivar exit_status: as waitpid(2) encodes it (52); 0 where this process may not see it.
    """

    __slots__ = ("exit_status", "flags", "name", "parent", "start_time", "state")

    def __init__(self, content: bytes) -> None:
        # The name, in parentheses, may contain anything.
        before, _, after = content.rpartition(b")")
        fields = after.split()
        self.name = before.partition(b"(")[2].decode(errors="replace")
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.flags = int(fields[6])
        self.start_time = int(fields[19])
        self.exit_status = int(fields[49])


def read_stat(pid: int) -> Stat | None:
    """Return a process's fields; None if it is gone. A zombie still has them."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):  # the second one while it goes
        return None
    try:
        return Stat(os.read(fd, 4096))
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None if it is gone."""
    stat = read_stat(pid)
    return None if stat is None else stat.start_time


def descendants(pid: int) -> list[int]:
    """Return a process and all that descend from it; while they stand still, that is all there are."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            children.setdefault(stat.parent, []).append(int(name))
    found = [pid]
    for one in found:
        found += children.get(one, ())
    return found


def in_first_user_namespace() -> bool:
    """Whether this process is in the machine's own user namespace: who is root in another one is root of little."""
    return os.readlink("/proc/self/ns/user") == _FIRST_USER
