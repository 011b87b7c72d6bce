"""Removal of a cgroup: wait for its processes to end, and for its directory to become removable."""

from __future__ import annotations

import errno
import select
import signal
import time
from collections.abc import Callable, Iterable
from typing import Final

from wherry.errors import Conflict, SystemCallError, Unavailable
from wherry.linux.fd import Fd
from wherry.linux.process import pidfd_open, pidfd_send_signal
from wherry.runtime.cgroups.directory import Directory

__all__ = ["kill", "remove", "try_remove", "wait_until"]

#: How many processes are waited for at once: each takes a descriptor.
_BATCH: Final = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05


def wait_until(satisfied: Callable[[], bool], deadline: float) -> bool:
    """Look again and again, ever more slowly, for what the kernel offers no event for.

    :param deadline: of ``time.monotonic``.
    :returns: whether it came true in time.
    """
    pause = _FIRST_PAUSE
    while not satisfied():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def kill(pids: Callable[[], list[int]], release: Callable[[], None], deadline: float, path: str) -> None:
    """Kill processes until there are none.

    All get the signal before any is waited for: one may hold another at its end, by tracing it.

    :param pids: lists those that are there. A number must not be used again between being listed and being opened,
        which a frozen cgroup guarantees.
    :param release: called after each round of signals, to thaw what was frozen.
    :raises Unavailable: some are left at the deadline.
    """
    while found := pids():
        targets = [target for target in map(_killed, found[:_BATCH]) if target is not None]
        for pid in found[_BATCH:]:
            if (target := _killed(pid)) is not None:
                target.close()
        release()
        gone = _await(targets, deadline)
        for target in targets:
            target.close()
        if not gone:
            hint = "it hangs in the kernel; /proc/<pid>/stack of the processes in its cgroup.procs says where"
            raise Unavailable(f"a process of cgroup {path!r} does not end", hint=hint)


def _killed(pid: int) -> Fd | None:
    """Kill a process; what stands for it, unless it has ended already."""
    try:
        target = pidfd_open(pid)
    except SystemCallError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):  # it has ended; or 0, a process of another PID namespace
            return None
        raise
    try:
        pidfd_send_signal(target, signal.SIGKILL)
    except SystemCallError as error:
        if error.errno != errno.ESRCH:
            raise
    return target


def _await(targets: Iterable[Fd], deadline: float) -> bool:
    """Wait until all processes have ended, in whatever order they do."""
    poll = select.poll()
    left = set()
    for target in targets:
        poll.register(target.fileno(), select.POLLIN)
        left.add(target.fileno())
    while left:
        ready = poll.poll(max(0, deadline - time.monotonic()) * 1000)
        if not ready:
            return False
        for fileno, _ in ready:
            poll.unregister(fileno)
            left.discard(fileno)
    return True


def remove(directory: Directory, deadline: float) -> None:
    """Remove a cgroup's directory and those below, waiting while ended processes still count.

    :raises Conflict: it is busy at the deadline.
    """
    if try_remove(directory):
        return
    for below in directory.descendants():
        if not wait_until(lambda below=below: try_remove(below), deadline):  # type: ignore[misc]
            raise Conflict(f"the cgroup {below.path!r} cannot be removed", cause="processes are in it")
    if not wait_until(lambda: try_remove(directory), deadline):
        raise Conflict(f"the cgroup {directory.path!r} cannot be removed", cause="processes are in it")


def try_remove(directory: Directory) -> bool:
    """Remove one directory; returns whether it is gone, and not busy."""
    try:
        directory.files.remove(directory.path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise SystemCallError("rmdir", repr(directory.path), error.errno or errno.EIO) from error
    return True
