"""The parent's part of starting a process: :func:`launch`, then `Launched.report` until the program runs.

Called by the keeper, which has one thread and must not wait: everything here is a handful of system calls, and
whatever takes time happens in the child, which reports over its channel.
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from wherry.errors import NotFound, StepFailed, SystemCallError, SystemFault, WherryError
from wherry.linux import namespaces as kinds
from wherry.linux.fd import Fd
from wherry.linux.proc import start_time
from wherry.linux.process import CLONE, pidfd_open
from wherry.runtime import cgroups, channel, intel_rdt
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.launch import child, idmapped_mounts, user_namespace
from wherry.runtime.launch.inherited import ignored_signals
from wherry.runtime.launch.launched import Launched
from wherry.runtime.launch.reap import kill_and_reap
from wherry.runtime.launch.setns import cloned_into
from wherry.runtime.launch.spare import Handed
from wherry.runtime.plan import Plan
from wherry.runtime.steps import birth
from wherry.runtime.steps.namespaces import EnterCgroup

if TYPE_CHECKING:
    from wherry.runtime.launch.prefork import Prefork  # who starts one process has none

__all__ = ["ControlGroup", "Launched", "cleanup", "launch"]

Streams = tuple[int, int, int]


def launch(
    plan: Plan,
    stdio: Streams | None,
    *,
    size: tuple[int, int] | None = None,
    prefork: Prefork | None = None,
    encoded: bytes = b"",
    preserved: tuple[int, ...] = (),
) -> Launched:
    """Start a process; its later errors arrive as reports.

    :param stdio: descriptors for standard input, output and error, which remain the caller's; None with a terminal.
    :param size: rows and columns of the terminal.
    :param prefork: may have a child ready; then `encoded` must be the plan's bytes.
    :param preserved: further descriptors for the program; its plan must say so, too (``ExecuteApart.preserved``).
    :raises NotFound: the container to execute something in is gone.
    :raises WherryError: the control group could not be made, a namespace not be joined, or the like. Then there is no
        process and no control group of this plan's.
    """
    with contextlib.ExitStack() as opened:
        if stdio is None:  # what a terminal takes the place of
            null = opened.enter_context(Fd(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))).fileno()
            stdio = (null, null, null)
        container = opened.enter_context(contextlib.closing(_Container.open(plan)))
        handed = Handed(stdio, size, container.fds(preserved), container.flags)
        return _launch(plan, handed, prefork, encoded)


def _is_apart(plan: Plan) -> bool:
    """Whether the program has another process than the one that is cloned here."""
    last = plan.steps[-1] if plan.steps else None
    return isinstance(last, birth.ExecuteApart) and last.inside


def _launch(plan: Plan, handed: Handed, prefork: Prefork | None, encoded: bytes) -> Launched:
    group = ControlGroup(plan)
    try:
        spare = None
        if prefork is not None and plan.other is None:
            prefork.note(plan, encoded, handed.flags)
            spare = prefork.take(plan, encoded, handed, group.directory)
        pid, pidfd, end = _cloned(plan, handed, group) if spare is None else (spare.pid, spare.pidfd, spare.channel)
    except BaseException:
        group.undo()
        group.close()
        raise
    if plan.other is not None:
        from wherry.runtime.launch.other_runtime import OtherLaunched  # noqa: PLC0415  only who has added one

        return _release(plan, OtherLaunched(pid, pidfd, end, plan.other), group, handed.streams)
    launched = Launched(pid, pidfd, end, apart=_is_apart(plan), listener=plan.listener)
    return _release(plan, launched, group, handed.streams)


def _cloned(plan: Plan, handed: Handed, group: ControlGroup) -> tuple[int, Fd, socket.socket]:
    """Clone a child for a plan; gives its number, its pidfd, and the channel."""
    ours, theirs = channel.make()
    try:
        with theirs:
            return *_clone(plan, handed, theirs, group), ours
    except BaseException:
        ours.close()
        raise


def _release(plan: Plan, launched: Launched, group: ControlGroup, streams: Streams) -> Launched:
    """Do the parent's part for a child, and let it go on; it ends if that fails."""
    try:
        _do_parents_part(plan, launched, group)
        user_namespace.give_streams(plan.uid_map, streams)
        if plan.prepared:
            launched.release_after(idmapped_mounts.begin(plan, launched.pid, launched.channel))
        else:
            channel.send_release(launched.channel)
    except BaseException:
        launched.close()
        kill_and_reap(launched.pidfd)
        group.undo()
        raise
    finally:
        group.close()
    return launched


def _clone(plan: Plan, handed: Handed, theirs: socket.socket, group: ControlGroup) -> tuple[int, Fd]:
    ignored = ignored_signals()
    flags = plan.namespaces | CLONE.CLEAR_SIGHAND
    with cloned_into(plan):
        pid, pidfd = user_namespace.clone_into(plan.user_path, flags, group.directory)
        if pid == 0:
            fds = (*handed.streams, theirs.fileno(), *handed.container)
            child.carry_out(plan, fds, size=handed.size, container_flags=handed.flags, ignored=ignored)
    if pidfd is None:
        raise SystemFault("clone returned no descriptor of the process")
    return pid, pidfd


def _do_parents_part(plan: Plan, launched: Launched, group: ControlGroup) -> None:
    """The parent's part, which the child awaits in `AwaitParent`."""
    pid = launched.pid
    if plan.uid_map:
        user_namespace.write(pid, plan.uid_map, plan.gid_map)
    _set_oom_score(pid, plan.oom_score_adj)
    if plan.cpus:
        os.sched_setaffinity(pid, plan.cpus)
    group.take_in(pid)
    if plan.intel_rdt is not None:
        join_or_make = intel_rdt.assign if plan.container is None else intel_rdt.join
        join_or_make(plan.intel_rdt, pid, intel_rdt.mounted())
    if plan.net_devices is not None:
        _move_devices(launched, *plan.net_devices)


def _move_devices(launched: Launched, namespace: str, devices: tuple[tuple[str, str], ...]) -> None:
    from wherry.runtime.launch import net_devices  # noqa: PLC0415  few need what speaks to the kernel of networks

    launched.moved = net_devices.move(devices, namespace or f"/proc/{launched.pid}/ns/net")


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


class ControlGroup:
    """The control group of a process being started.

    Version 2: made before, the process is born in it. Version 1: made while the child mounts, who then enters it.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._group: cgroups.Cgroup | None = None
        self._made = self._limited = False
        self.directory: Fd | None = None
        if plan.cgroup:
            self._group = cgroups.open(plan.cgroup)
            self._open_directory()

    def _open_directory(self) -> None:
        if self._group is None or self._group.version != 2 or self._plan.user_path or self._plan.scope is not None:
            return
        try:
            self._make()
            self.directory = self._group.open_dir_fd()
        except BaseException:
            self.undo()
            raise

    def _make(self) -> None:
        if self._group is not None and not self._limited and self._plan.resources is not None:
            self._made = self._limited = True
            resources = _read(marshal.dumps(self._plan.resources))
            mask = os.umask(0o022)  # the engine's own would hide the directories from the container's users
            try:
                self._group.create(resources)
            finally:
                os.umask(mask)

    def take_in(self, pid: int) -> None:
        """Make it, if nobody has, and put a process into it that was not born there."""
        if self._group is None or self.directory is not None:
            return
        if self._plan.scope is not None:
            self._start_scope(self._plan.scope, pid)
        self._make()
        if self._plan.resources is None:
            cgroups.join_unified(self._plan.cgroup, pid)
        if not self._enters_itself():
            self._group.add(pid)

    def _start_scope(self, scope: Scope, pid: int) -> None:
        from wherry.runtime.cgroups import systemd  # noqa: PLC0415  only who has systemd needs it

        assert self._group is not None
        systemd.start(scope, pid, cgroups.Resources.from_oci(self._plan.resources), self._group.version)
        self._made = True

    def _enters_itself(self) -> bool:
        enters = any(isinstance(step, EnterCgroup) for step in self._plan.steps)
        return enters and self._group is not None and self._group.version == 1

    def undo(self) -> None:
        """Remove what was made; a failure to do so must not hide why."""
        if self._made and self._group is not None:
            self._made = False
            try:
                _end_scope(self._plan.scope)
                self._group.destroy()
            except WherryError as error:
                raise SystemFault("the control group of a failed start is left behind", cause=str(error)) from error

    def close(self) -> None:
        """Close what a process could have been born into."""
        if self.directory is not None:
            self.directory.close()


@lru_cache(maxsize=8)
def _read(resources: bytes) -> cgroups.Resources:
    """What most containers have is the same, and takes longer to read than to set.

    :param resources: those of a plan, by ``marshal``.
    """
    return cgroups.Resources.from_oci(marshal.loads(resources))


def _end_scope(scope: Scope | None) -> None:
    if scope is not None:
        from wherry.runtime.cgroups import systemd  # noqa: PLC0415

        systemd.stop(scope)


def _remove_others(command: tuple[str, ...]) -> None:
    """Have another runtime remove what is left; whoever reaps this process's children reaps that one as well."""
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    silent = [null, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
    with contextlib.suppress(OSError):
        os.posix_spawn(command[0], command, dict(os.environ), file_actions=silent, setsigmask=())


def cleanup(plan: Plan) -> None:
    """Remove the control group of a process that has ended, with all that may be left in it."""
    if plan.cgroup and plan.resources is not None:
        _end_scope(plan.scope)
        cgroups.open(plan.cgroup).destroy()
    if plan.other is not None and plan.other.removal:
        _remove_others(plan.other.removal)
    if plan.intel_rdt is not None and plan.container is None:
        intel_rdt.clean_up(plan.intel_rdt)


# --------------------------------------------------------------------------------------------- the container to enter


class _Container:
    """The first process of the container that an exec is for."""

    def __init__(self, fd: Fd | None, flags: int | None) -> None:
        self.fd = fd
        self.flags = flags

    @classmethod
    def open(cls, plan: Plan) -> _Container:
        """Open and verify it: the number may be another process's by now.

        :raises NotFound: it has ended.
        """
        if plan.container is None:
            return cls(None, None)
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

    def fds(self, preserved: tuple[int, ...]) -> tuple[int, ...]:
        """What the child gets after its channel; where there is no container, a stream keeps its place."""
        if self.fd is None:
            return (0, *preserved) if preserved else ()
        return (self.fd.fileno(), *preserved)

    def close(self) -> None:
        if self.fd is not None:
            self.fd.close()


_KINDS: Final = tuple(kinds.KINDS.items())


@lru_cache(maxsize=1)
def _own_namespaces(_pid: int) -> dict[str, str]:
    """The namespaces of this process, which it leaves for moments only."""
    return {name: os.readlink(f"/proc/self/ns/{name}") for name, _ in _KINDS}


def _foreign_namespaces(pid: int) -> int:
    """Return the flags of the namespaces in which a process differs from this one."""
    flags, own = 0, _own_namespaces(os.getpid())
    try:
        for name, flag in _KINDS:
            if os.readlink(f"/proc/{pid}/ns/{name}") != own[name]:
                flags |= flag
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound("the container's first process has ended") from error
    return flags
