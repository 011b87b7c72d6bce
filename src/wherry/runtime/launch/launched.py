"""The parent's view of a starting process: its reports until the program runs or the start has failed."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

from wherry.errors import StepFailed, SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.proc import Stat, read_stat
from wherry.linux.process import pidfd_open, pidfd_send_signal
from wherry.runtime import channel
from wherry.runtime.channel import read_report
from wherry.runtime.launch.idmapped_mounts import Preparation
from wherry.runtime.launch.seccomp_listener import hand_over
from wherry.runtime.report import EXECUTED, NOT_YET, Born, Executed, Failed, Found, Listener, NotYet, Report, failure
from wherry.runtime.steps import birth
from wherry.runtime.steps.process import not_executed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.launch.net_devices import Moved

__all__ = ["Launched"]


class Launched:
    """A process on its way to its program.

    A program that is born in a PID namespace of others has another process than the one that was cloned here
    (:mod:`wherry.runtime.steps.birth`); a report says so, and from then on `pid` and `pidfd` are the program's.

    :ivar pid: its number here.
    :ivar pidfd: what stands for it, whatever becomes of the number.
    :ivar channel: what the child says comes in here.
    :ivar is_apart: whether the program has another process than the one that was cloned here.
    :ivar listener: where its seccomp listener goes, see `Plan.listener`.
    :ivar moved: the host's network devices that it got; they are put back if it fails.
    """

    def __init__(
        self,
        pid: int,
        pidfd: Fd,
        end: socket.socket,
        *,
        apart: bool = False,
        listener: tuple[str, dict[str, Any]] | None = None,
    ) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.channel: Final = end
        self.is_apart: Final = apart
        self.listener: Final = listener
        self.moved: Moved | None = None
        self._held: Fd | None = None
        self._stat: Stat | None = None  # of the program's process
        self._program = ""
        self._preparation: Preparation | None = None
        self._next: Callable[[], Report] = self._from_channel

    def release_after(self, preparation: Preparation) -> None:
        """Release the child when a helper has prepared its mounts."""
        self._preparation, self._next = preparation, self._from_preparation

    def close(self) -> None:
        """Close the channel, and end the helper that prepares mounts."""
        self._end_move(failed=True)
        self.channel.close()
        if self._held is not None:
            self._held.close()
        if self._preparation is not None:
            self._preparation.give_up()
            self._preparation = None

    def hooks_done(self) -> None:
        """Let a child go on that has reported :class:`~wherry.runtime.report.HooksDue`."""
        channel.send_hooked(self.channel)

    @property
    def reports_at_end(self) -> bool:
        """Whether what comes through the channel can wait for its end: what a helper says is good for its program."""
        return self.is_apart and self._preparation is None and self._next == self._from_channel

    def fileno(self) -> int:
        """The descriptor to poll for the next report; it may differ after each report."""
        if self._preparation is not None:
            return self._preparation.fileno()
        return self.channel.fileno() if self._next == self._from_channel else self.pidfd.fileno()

    def report(self) -> Report:
        """Return what there is to say, without waiting; again until it is :class:`NotYet` or final."""
        report = self._next()
        if isinstance(report, Failed | Executed):
            self._end_move(failed=isinstance(report, Failed))
        return report

    def _end_move(self, *, failed: bool) -> None:
        """Leave network devices where they are, or put them back."""
        moved, self.moved = self.moved, None
        if moved is not None:
            moved.put_back() if failed else moved.close()

    def _from_preparation(self) -> Report:
        assert self._preparation is not None
        report = self._preparation.report()
        if isinstance(report, NotYet):
            return report
        self._preparation, self._next = None, self._from_channel
        if report is not None:
            pidfd_send_signal(self.pidfd, signal.SIGKILL)  # else it would wait until the channel is closed
            return report
        channel.send_release(self.channel)
        return self._from_channel()

    def _from_channel(self) -> Report:
        report = read_report(self.channel)
        if isinstance(report, Found):
            self._program = report.program
            return self._from_channel()
        if isinstance(report, Listener):
            self._held = report.fd
            return (None if self.is_apart else self._hand_over()) or self._from_channel()
        if isinstance(report, Failed) and report.call == "execve":
            return self._failed_to_execute(report.errno)
        if self.is_apart and isinstance(report, Executed):
            self._next = self._from_helper
            return self._from_helper()
        return report

    def _from_helper(self) -> Report:
        """Read the rest from the helper's exit; it has closed the channel."""
        found = os.waitid(os.P_PIDFD, self.pidfd.fileno(), os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return NOT_YET
        newborn = birth.newborn_of(self.pid)
        if newborn is None:
            killed = found.si_code != os.CLD_EXITED
            return EXECUTED if killed else _not_cloned(found.si_status)
        pidfd = pidfd_open(newborn.pid)  # it is ours to reap, so the number is still its own
        os.waitid(os.P_PIDFD, self.pidfd.fileno(), os.WEXITED)
        self.pidfd.close()
        self.pid, self.pidfd = newborn.pid, pidfd
        if self._held is not None and (failed := self._hand_over()) is not None:
            return failed
        self._stat = read_stat(newborn.pid)
        self._next = _executed if newborn.is_init else self._from_newborn
        return Born(newborn.pid, pidfd, 0 if self._stat is None else self._stat.start_time)

    def _from_newborn(self) -> Report:
        stat, self._stat = self._stat or read_stat(self.pid), None
        try:
            number = birth.failure_of(stat)
        except birth.Unfinished:
            return NOT_YET
        return EXECUTED if number is None else self._failed_to_execute(number)

    def _hand_over(self) -> Failed | None:
        """Send the seccomp listener to whom it is for; the process does not live if that fails."""
        held, self._held = self._held, None
        assert held is not None
        assert self.listener is not None
        try:
            hand_over(held, *self.listener, self.pid)
        except StepFailed as error:
            pidfd_send_signal(self.pidfd, signal.SIGKILL)
            return failure(error.step, error)
        return None

    def _failed_to_execute(self, number: int) -> Failed:
        error = not_executed(self._program, OSError(number, os.strerror(number)))
        return failure(f"execute {self._program}", error)


def _executed() -> Report:
    return EXECUTED


def _not_cloned(number: int) -> Failed:
    """A helper could not make the program's process."""
    error = SystemCallError("clone", "in the container's PID namespace", number)
    return failure("make the program's process", error)
