"""What a step leaves in the kernel and on the disk when its program has ended, and how that goes."""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final

from wherry.content.durable import remove_tree
from wherry.engine.lifecycle import other_runtimes
from wherry.errors import Conflict, SystemFault, WherryError
from wherry.linux.fd import Fd
from wherry.linux.process import pidfd_send_signal
from wherry.runtime import cgroups

__all__ = ["bar", "end_left_over", "end_processes", "kill", "remove_group"]

_log: Final = logging.getLogger(__name__)
_PATIENCE: Final = 25.0  # seconds that killed processes get to end


def kill(pidfd: Fd) -> None:
    """Kill a step's first process, and the kernel all others of its PID namespace with it."""
    with suppress(WherryError):  # it has just ended
        pidfd_send_signal(pidfd.fileno(), signal.SIGKILL)


def end_processes(pidfd: Fd | None, root: Fd | None, cgroup: str, work: Iterable[str]) -> cgroups.Statistics | None:
    """See that nothing of a step runs and nothing of it is mounted; what it took. To be called in a thread.

    :param pidfd: of its first process, and `root` the mount of its root; both are closed.
    :param cgroup: where it is in the hierarchies.
    :param work: the work directories of its overlays; what the kernel has in there goes, they stay.
    :raises SystemFault: a process that was killed does not end.
    :raises Unavailable: the same.
    """
    group = cgroups.open(cgroup)
    try:
        _end_all(pidfd, group)
        used = _statistics(group)
    finally:
        for fd in (pidfd, root):
            if fd is not None:
                fd.close()
    _empty(work)
    return used


def bar(cgroup: str) -> None:
    """Remove the cgroup of a step that was not started, whatever gets into it meanwhile; to be called in a thread.

    :raises Conflict: it cannot be removed.
    :raises Unavailable: a process that was killed does not end.
    """
    group = cgroups.open(cgroup)
    deadline = time.monotonic() + _PATIENCE
    while group.exists():
        cgroups.end_all(group, _PATIENCE)
        try:
            group.destroy()
        except Conflict:  # something has entered it just now
            if time.monotonic() > deadline:
                raise


def _end_all(pidfd: Fd | None, group: cgroups.Cgroup) -> None:
    """Kill the first process and all others, and only then wait for its end.

    Killing the first one ends the others of its PID namespace, but not before it ends itself; and one of them may hold
    it just there, by tracing it (ptrace(2), ``PTRACE_O_TRACEEXIT``).
    """
    if pidfd is not None:
        kill(pidfd)
    cgroups.end_all(group, _PATIENCE)
    if pidfd is not None:
        _await_end(pidfd)


def _await_end(pidfd: Fd) -> None:
    poll = select.poll()
    poll.register(pidfd.fileno(), select.POLLIN)
    if not poll.poll(_PATIENCE * 1000):
        raise SystemFault("a process of a build step was killed, and does not end: it waits in the kernel")


def _statistics(group: cgroups.Cgroup) -> cgroups.Statistics | None:
    try:
        return group.statistics()
    except (WherryError, OSError):
        return None


def remove_group(cgroup: str) -> bool:
    """Remove a step's cgroup; whether it is gone. To be called in a thread."""
    try:
        cgroups.open(cgroup).destroy()
    except (WherryError, OSError) as error:
        _log.warning("cannot remove the cgroup of a build step path=%s error=%s", cgroup, error)
        return False
    return True


def _empty(work: Iterable[str]) -> None:
    """Overlayfs writes there that the upper directory may be incomplete, and would not mount it again."""
    for path in work:
        with suppress(FileNotFoundError):
            for name in os.listdir(path):
                remove_tree(Path(path, name))


def end_left_over(run_directory: Path) -> None:
    """End a step that nobody waits for, and remove its cgroup; to be called in a thread.

    :param run_directory: the keeper's, for it; it stays. Where there is none, nothing is left of the step.
    :raises SystemFault: a process that was killed does not end.
    :raises Unavailable: the same.
    """
    from wherry.keeper.process import described_in, pidfd_of  # noqa: PLC0415 - after a crash only

    cgroup = ""
    with suppress(FileNotFoundError):
        for described in described_in(str(run_directory)):
            with pidfd_of(described) or nullcontext() as pidfd:
                if described.cgroup is not None:
                    cgroup = described.cgroup
                    _end_all(pidfd, cgroups.open(described.cgroup))
                    remove_group(described.cgroup)
                elif pidfd is not None:
                    kill(pidfd)
                    _await_end(pidfd)
        if other_runtimes.has_bundle(run_directory):
            runtime = other_runtimes.running_hooks(run_directory.parent.parent)
            other_runtimes.delete(run_directory.name, runtime, cgroup)
