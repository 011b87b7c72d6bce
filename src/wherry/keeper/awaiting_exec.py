"""Children between clone and execve: follow their reports until they have executed their program or failed."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable
from typing import Any, Final

from wherry.errors import WherryError
from wherry.keeper.contract import Child
from wherry.keeper.failed_children import leave_channel
from wherry.keeper.loop import Loop, report_fault
from wherry.keeper.process import Files, Process
from wherry.keeper.protocol import error_fields
from wherry.keeper.reaper import end_newborns
from wherry.linux.fd import Fd
from wherry.runtime.report import Born, Executed, Failed, NotYet, Report, Root, Terminal

__all__ = ["Done", "StartingChildren"]

PATIENCE: Final = 50.0
"""Seconds that a child has to come to its program: a container may hold up what is born in it, and a file system that
somebody serves who does not answer holds up whoever mounts it. The daemon waits a little longer for the answer."""

_NOT_ARRIVED: Final = {"call": "", "errno": 0, "kind": "system"}
_HELD_UP: Final = {
    "step": "execute the program",
    "text": "the container holds the new process up",
    **_NOT_ARRIVED,
}
_UNANSWERED: Final = {
    "step": "prepare the container",
    "text": "it takes too long: a file system that it was given does not answer",
    **_NOT_ARRIVED,
}

_ONLY_ITS_END: Final = 0  # EPOLLHUP is always told; see epoll_ctl(2)
_HAS_ENDED: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT

Done = Callable[[Process, dict[str, Any] | None], None]
"""Called once, with the error if there is one: when the program runs, or will not."""


class StartingChildren:
    """Follows children.

    :param known: the processes in the keeper's care.
    :param terminal: called with the master of a terminal that a child has made.
    :param arrived: called when a program runs.
    :param failed: called when a child did not get to its program, and with whether it is about to leave by itself.
    """

    def __init__(
        self,
        loop: Loop,
        known: Callable[[], Iterable[Process]],
        *,
        terminal: Callable[[Process, Fd], None],
        arrived: Callable[[Process], None],
        failed: Callable[[Process, bool], None],
    ) -> None:
        self._loop: Final = loop
        self._known: Final = known
        self._terminal: Final = terminal
        self._arrived: Final = arrived
        self._failed: Final = failed
        self._waiting: Final[dict[str, Done]] = {}

    def follow(self, process: Process, child: Child, done: Done) -> None:
        """Wait for what a child has to say, until it has arrived or failed, or it takes too long."""
        end = self._loop.later(PATIENCE, lambda: self.give_up(process))

        def in_time(process: Process, error: dict[str, Any] | None) -> None:
            end.cancel()
            done(process, error)

        self._wait(process, child, in_time)

    def _wait(self, process: Process, child: Child, done: Done) -> None:
        watched = child.fileno()
        self._waiting[process.key] = done

        def on_report(_: int) -> None:
            self._loop.unwatch(watched)  # the child may close it, and say the rest elsewhere
            del self._waiting[process.key]
            self._on_report(process, done)

        self._loop.watch(watched, on_report, _ONLY_ITS_END if child.reports_at_end else select.EPOLLIN)

    def give_up(self, process: Process) -> None:
        """Stop waiting for a child that is held up."""
        done = self._waiting.pop(process.key, None)
        if process.child is None or done is None:
            return
        self._loop.unwatch(process.child.fileno())
        if process.is_among_others:
            end_newborns(process.child.pid, self._known())
        self._failed(process, False)
        done(process, dict(_HELD_UP if process.is_among_others else _UNANSWERED))

    def _on_report(self, process: Process, done: Done) -> None:
        while process.child is not None:
            report = _report_of(process.child)
            if isinstance(report, NotYet):
                self._wait(process, process.child, done)
                return
            if isinstance(report, Terminal):
                self._terminal(process, report.master)
            elif isinstance(report, Root):
                process.root = report.mount
            elif isinstance(report, Born):
                process.pidfd = report.pidfd
                process.description = process.description._replace(pid=report.pid, start_time=report.start_time)
                if not process.is_among_others:
                    _record(process)
            elif isinstance(report, Executed):
                leave_channel(process)
                self._arrived(process)
                done(process, None)
                if process.is_among_others:
                    _record(process)
            elif isinstance(report, Failed):
                self._failed(process, True)
                done(process, report._asdict())


def _report_of(child: Child) -> Report:
    """What a child has to report; that nothing can be learnt of it (for want of descriptors, perhaps) ends it, too."""
    try:
        return child.report()
    except (OSError, WherryError) as error:
        report_fault()
        return Failed(**error_fields(error))


def _record(process: Process) -> None:
    """Make a program known to a later keeper that has come into a container, unless it has ended by now.

    Who waits for it has been answered: nothing else happens in between, and the end is about to be told.
    """
    if process.pidfd is None or os.waitid(os.P_PIDFD, process.pidfd.fileno(), _HAS_ENDED) is not None:
        return
    try:
        Files.of(process).write_process(process.description)
    except OSError:
        report_fault()  # it runs; should this keeper die, the next one will not know of it
