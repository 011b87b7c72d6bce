"""Start a process, and follow it until its program runs, or until it waits to be started."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Final

from wherry.errors import StepFailed, SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.process import CLONE
from wherry.ociruntime.console import send_master, send_pidfd
from wherry.runtime.launch import launch
from wherry.runtime.launch.reap import kill_and_reap
from wherry.runtime.plan import Plan
from wherry.runtime.report import Executed, Failed, HooksDue, NotYet, Report, Root, Terminal

__all__ = ["Started", "follow"]

_STREAMS: Final = (0, 1, 2)


class Started:
    """A process that has got as far as it was to.

    :ivar master: of its terminal, unless a socket got that.
    """

    def __init__(self, launched: launch.Launched, master: Fd | None) -> None:
        self._launched: Final = launched
        self.master: Final = master

    @property
    def pid(self) -> int:
        """Its number here."""
        return self._launched.pid

    @property
    def pidfd(self) -> Fd:
        """What stands for it."""
        return self._launched.pidfd

    def kill(self) -> None:
        """End it, and wait for that."""
        kill_and_reap(self._launched.pidfd)


def follow(
    plan: Plan,
    *,
    console_socket: str = "",
    pidfd_socket: str = "",
    preserved: int = 0,
    cloned: Callable[[int], None] = lambda pid: None,
    hooks: Callable[[int], None] = lambda pid: None,
) -> Started:
    """Start a process; it has this command's streams, unless it has a terminal.

    :param preserved: how many descriptors from 3 on it gets.
    :param cloned: called with its number as soon as there is one.
    :param hooks: called with it when hooks are to be run here.
    :raises WherryError: it did not get there. Nothing is left then.
    """
    streams = None if plan.terminal else _STREAMS
    further = tuple(range(3, 3 + preserved))
    _check_open(further)
    started = launch.launch(plan, streams, preserved=further)
    master: Fd | None = None
    try:
        cloned(started.pid)
        while True:
            report = _next(started)
            if isinstance(report, Executed):
                break
            if isinstance(report, Terminal):
                master = report.master
                if console_socket:
                    send_master(console_socket, master)
                    master.close()
                    master = None
            elif isinstance(report, Root):
                report.mount.close()
            elif isinstance(report, HooksDue):
                hooks(started.pid)
                started.hooks_done()
        _check_alive(started)
        if pidfd_socket:
            send_pidfd(pidfd_socket, started.pidfd)
    except BaseException:
        _give_up(plan, started, master)
        raise
    started.channel.close()
    return Started(started, master)


def _next(started: launch.Launched) -> Report:
    """Wait for a report.

    :raises WherryError: it says that the process has failed.
    """
    while True:
        report = started.report()
        if isinstance(report, Failed):
            raise report.error()
        if not isinstance(report, NotYet):
            return report
        poll = select.poll()
        poll.register(started.fileno(), select.POLLIN)
        poll.poll()


def _check_alive(started: launch.Launched) -> None:
    """A child that was killed on its way closes its channel, too."""
    found = os.waitid(os.P_PIDFD, started.pidfd.fileno(), os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is not None and found.si_code != os.CLD_EXITED and not started.is_apart:
        raise StepFailed("start the process", f"it was killed by signal {found.si_status}")


def _give_up(plan: Plan, started: launch.Launched, master: Fd | None) -> None:
    if master is not None:
        master.close()
    started.close()
    if not started.is_apart or plan.namespaces & CLONE.NEWPID:
        kill_and_reap(started.pidfd)
    else:
        _kill(started)
    if plan.resources is not None:
        launch.cleanup(plan)


def _kill(started: launch.Launched) -> None:
    """A newborn among others may be held up by them, who trace it: it is not waited for."""
    try:
        os.waitid(os.P_PIDFD, started.pidfd.fileno(), os.WEXITED | os.WNOHANG)
        kill_and_reap(started.pidfd)
    except (SystemCallError, ChildProcessError):
        return


def _check_open(fds: tuple[int, ...]) -> None:
    for fd in fds:
        try:
            os.fstat(fd)
        except OSError:
            raise StepFailed("preserve descriptors", f"file descriptor {fd} is not open") from None
