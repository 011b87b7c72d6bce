"""The parent's part of starting a process: :func:`launch`, then :func:`read_report` until the program runs.

Called by the keeper, which has one thread and must not wait: everything here is a handful of system calls, and
whatever takes time happens in the child, which reports over its channel.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from typing import Final, NamedTuple

from wherry.errors import NotFound, StepFailed, SystemCallError, SystemFault, WherryError
from wherry.linux import capabilities
from wherry.linux import namespaces as kinds
from wherry.linux.fd import Fd
from wherry.linux.mount import has_overlay_lowerdir_append
from wherry.linux.process import CLONE, pidfd_open, pidfd_send_signal
from wherry.runtime import cgroup_mounts, cgroups, channel, child, prepare, usermap
from wherry.runtime.channel import EXECUTED, NOT_YET, Executed, Failed, NotYet, Report, Root, Terminal, read_report
from wherry.runtime.elsewhere import born_elsewhere
from wherry.runtime.namespaces import EnterCgroup
from wherry.runtime.plan import Plan
from wherry.runtime.spare import Spare
from wherry.runtime.zygote import Zygote

__all__ = [
    "EXECUTED",
    "NOT_YET",
    "Executed",
    "Failed",
    "Launched",
    "NotYet",
    "Plan",
    "Report",
    "Root",
    "Terminal",
    "Warm",
    "cleanup",
    "launch",
    "read_report",
]

Streams = tuple[int, int, int]


class Launched(NamedTuple):
    """A process on its way to its program.

    :param pid: its number here.
    :param pidfd: what stands for it, whatever becomes of the number.
    :param channel: for :func:`read_report`; readable when there is something to say.
    """

    pid: int
    pidfd: Fd
    channel: socket.socket


class Warm:
    """What is kept ready for the next start: a child that waits for a plan, and the process that it was cloned from."""

    def __init__(self) -> None:
        self._zygote: Zygote | None = None
        self._spare: Spare | None = None
        self._example: tuple[Plan, bytes] | None = None

    @property
    def zygote(self) -> Zygote | None:
        """Who clones the children."""
        return self._zygote

    @property
    def spare(self) -> Spare | None:
        """The child that waits, if there is one; where one was asked for, this waits until it is there."""
        if self._spare is None and self._zygote is not None and self._zygote.is_asked:
            self._spare = self._zygote.receive()
            if self._spare is None:
                self._end_zygote()
        return self._spare

    def take(self, plan: Plan, encoded: bytes, streams: Streams, size: tuple[int, int] | None) -> Spare | None:
        """Return the child that carries out this plan from now on; None if there is none that could.

        :param encoded: the same plan's bytes.
        """
        spare = self.spare
        if spare is None or not spare.fits(plan, encoded):
            return None
        self._spare = None
        if spare.give(encoded, streams, size):
            return spare
        spare.end()
        return None

    def expect(self, plan: Plan, encoded: bytes) -> None:
        """Take a plan for an example of what comes next."""
        if plan.cgroup and Spare.could_be(plan) and cgroups.open(plan.cgroup).version == 1:
            self._example = plan, encoded

    def up(self) -> None:
        """Make ready what the last plans would have needed."""
        if self._example is None or self._spare is not None:
            return
        if self._zygote is None:
            self._zygote = Zygote.make(_ignored_signals())
        if self._zygote.is_asked:
            return
        plan, encoded = self._example
        self._example = None
        if not self._zygote.ask(plan.namespaces & ~CLONE.NEWNS, encoded):
            self._end_zygote()

    def down(self) -> None:
        """Let go of what is ready."""
        self._end_zygote()
        if self._spare is not None:
            self._spare.end()
            self._spare = None

    def _end_zygote(self) -> None:
        if self._zygote is not None:
            self._zygote.end()
            self._zygote = None


def launch(
    plan: Plan,
    stdio: Streams | None,
    *,
    size: tuple[int, int] | None = None,
    warm: Warm | None = None,
    encoded: bytes = b"",
) -> Launched:
    """Start a process; what goes wrong in it later comes as a report.

    :param stdio: descriptors for standard input, output and error, which remain the caller's; None with a terminal.
    :param size: rows and columns of the terminal.
    :param warm: where a child may be ready already; then `encoded` must be the plan's bytes.
    :raises NotFound: the container to execute something in is gone.
    :raises WherryError: the control group could not be made, a namespace not be joined, or the like. Then there is no
        process and no control group of this plan's.
    """
    with contextlib.ExitStack() as opened:
        if stdio is None:
            null = opened.enter_context(Fd(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))).fileno()
            stdio = (null, null, null)
        if warm is not None:
            warm.expect(plan, encoded)
            spare = warm.take(plan, encoded, stdio, size)
            if spare is not None:
                return _release(plan, Launched(spare.pid, spare.pidfd, spare.channel), _Group(plan), stdio)
        return _launch(plan, stdio, size)


def _launch(plan: Plan, streams: Streams, size: tuple[int, int] | None) -> Launched:
    container = _Container.open(plan)
    ours, theirs = channel.make()
    try:
        with theirs:
            group = _Group(plan)
            try:
                pid, pidfd = _clone(plan, (*streams, theirs.fileno(), *container.fds()), size, container, group)
            except BaseException:
                group.undo()
                group.close()
                raise
        return _release(plan, Launched(pid, pidfd, ours), group, streams)
    except BaseException:
        ours.close()
        raise
    finally:
        container.close()


def _release(plan: Plan, launched: Launched, group: _Group, streams: Streams) -> Launched:
    """Do the parent's part for a child, and let it go on; it ends if that fails."""
    try:
        _do_parents_part(plan, launched.pid, group, launched.channel)
        usermap.give_streams(plan.uid_map, streams)
        channel.send_release(launched.channel)
    except BaseException:
        launched.channel.close()
        _end(launched.pid, launched.pidfd)
        group.undo()
        raise
    finally:
        group.close()
    return launched


def _clone(
    plan: Plan, fds: tuple[int, ...], size: tuple[int, int] | None, container: _Container, group: _Group
) -> tuple[int, Fd]:
    ignored = _ignored_signals()
    flags = plan.namespaces | CLONE.CLEAR_SIGHAND
    with born_elsewhere(plan, container.fd):
        pid, pidfd = usermap.clone_into(plan.user_path, flags, group.directory)
        if pid == 0:
            child.carry_out(plan, fds, size=size, container_flags=container.flags, ignored=ignored)
    if pidfd is None:
        raise SystemFault("clone returned no descriptor of the process")
    return pid, pidfd


def _do_parents_part(plan: Plan, pid: int, group: _Group, ours: socket.socket) -> None:
    """What the child waits for before it goes on with ``AwaitParent``."""
    if plan.uid_map:
        usermap.write(pid, plan.uid_map, plan.gid_map)
    _set_oom_score(pid, plan.oom_score_adj)
    if plan.cpus:
        os.sched_setaffinity(pid, plan.cpus)
    group.take_in(pid)
    if plan.prepared:
        prepare.hand_over(plan, pid, ours)


def _end(pid: int, pidfd: Fd) -> None:
    """Kill and reap a child that cannot be completed."""
    try:
        pidfd_send_signal(pidfd, signal.SIGKILL)
    except SystemCallError as error:
        if error.errno != errno.ESRCH:
            raise
    os.waitpid(pid, 0)
    pidfd.close()


# -------------------------------------------------------------------------------------------------- what is asked once

_signals: tuple[int, ...] | None = None


def _ignored_signals() -> tuple[int, ...]:
    """Return what children have to undo; with other answers that each of them would look up again."""
    global _signals  # noqa: PLW0603  properties of the process and the machine
    if _signals is None:
        _signals = child.ignored_signals()
        has_overlay_lowerdir_append()
        cgroup_mounts.hierarchies()
        cgroups.hierarchies()
        capabilities.last_cap()
    return _signals


def _set_oom_score(pid: int, value: int | None) -> None:
    """Write how readily the kernel ends this process when memory is short; it would inherit the engine's."""
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        try:
            if int(os.read(fd, 16)) != (value or 0):
                os.pwrite(fd, str(value or 0).encode(), 0)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            return  # it failed already, and has reported why
        hint = "lowering it takes CAP_SYS_RESOURCE" if error.errno in (errno.EACCES, errno.EPERM) else ""
        text = f"cannot be set to {value}: {os.strerror(error.errno or errno.EIO).lower()}"
        raise StepFailed("set oom_score_adj", f"{text} ({hint})" if hint else text, errno=error.errno or 0) from error


# ------------------------------------------------------------------------------------------------- the control group


class _Group:
    """The control group of a process being started.

    Version 2: made before, the process is born in it. Version 1: made while the child mounts, who then enters it.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._group: cgroups.Cgroup | None = None
        self._made = False
        self.directory: Fd | None = None
        if plan.cgroup:
            self._group = cgroups.open(plan.cgroup)
            self._open_directory()

    def _open_directory(self) -> None:
        if self._group is None or self._group.version != 2 or self._plan.user_path:
            return
        try:
            self._make()
            self.directory = self._group.open_dir_fd()
        except BaseException:
            self.undo()
            raise

    def _make(self) -> None:
        if self._group is not None and not self._made and self._plan.resources is not None:
            self._made = True
            resources = cgroups.Resources.from_oci(self._plan.resources)
            mask = os.umask(0o022)  # the engine's own would hide the directories from the container's users
            try:
                self._group.create(resources)
            finally:
                os.umask(mask)

    def take_in(self, pid: int) -> None:
        if self._group is None or self.directory is not None:
            return
        self._make()
        if not self._enters_itself():
            self._group.add(pid)

    def _enters_itself(self) -> bool:
        enters = any(isinstance(step, EnterCgroup) for step in self._plan.steps)
        return enters and self._group is not None and self._group.version == 1

    def undo(self) -> None:
        """Remove what was made; a failure to do so must not hide why."""
        if self._made and self._group is not None:
            self._made = False
            try:
                self._group.destroy()
            except WherryError as error:
                raise SystemFault("the control group of a failed start is left behind", cause=str(error)) from error

    def close(self) -> None:
        if self.directory is not None:
            self.directory.close()


def cleanup(plan: Plan) -> None:
    """Remove the control group of a process that has ended, with all that may be left in it."""
    if plan.cgroup and plan.resources is not None:
        cgroups.open(plan.cgroup).destroy()


# --------------------------------------------------------------------------------------------- the container to enter


class _Container:
    """The first process of the container that an exec is for."""

    def __init__(self, fd: Fd | None, flags: int) -> None:
        self.fd = fd
        self.flags = flags

    @classmethod
    def open(cls, plan: Plan) -> _Container:
        """Open and verify it: the number may be another process's by now.

        :raises NotFound: it has ended.
        """
        if plan.container is None:
            return cls(None, 0)
        pid, started = plan.container
        try:
            fd = pidfd_open(pid)
        except SystemCallError as error:
            if error.errno != errno.ESRCH:
                raise
            raise NotFound("the container's first process has ended") from error
        if start_time(pid) != started:
            raise NotFound("the container's first process has ended")
        return cls(fd, _foreign_namespaces(pid))

    def fds(self) -> tuple[int, ...]:
        return () if self.fd is None else (self.fd.fileno(),)

    def close(self) -> None:
        if self.fd is not None:
            self.fd.close()


def start_time(pid: int) -> int | None:
    """Return when a process was started (clock ticks since boot, field 22 of /proc/<pid>/stat), None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


_KINDS: Final = tuple(kinds.KINDS.items())


def _foreign_namespaces(pid: int) -> int:
    """Return the flags of the namespaces in which a process differs from this one."""
    flags = 0
    try:
        for name, flag in _KINDS:
            if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
                flags |= flag
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound("the container's first process has ended") from error
    return flags
