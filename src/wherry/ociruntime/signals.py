"""Signals by name, and signals to a process that cannot be mistaken for another."""

from __future__ import annotations

import os

from wherry.errors import Conflict, InvalidInput
from wherry.linux.proc import read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import pidfd_send_signal
else:
    from _signal import pidfd_send_signal  # `signal` itself makes enumerations, which takes as long as all else here

__all__ = ["KILL", "number_of", "send", "wait_for_end"]

KILL = 9
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_OTHER_NAMES = {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}
_RTMIN, _RTMAX = 34, 64


def number_of(text: str) -> int:
    """Return the number of ``15``, ``TERM``, ``SIGTERM``, ``RTMIN+3``.

    :raises InvalidInput: there is no such signal.
    """
    if text.isascii() and text.isdigit() and int(text) <= _RTMAX:
        return int(text)
    name = text.upper().removeprefix("SIG")
    if name in _NAMES:
        return _NAMES.index(name) + 1
    if name in _OTHER_NAMES:
        return _OTHER_NAMES[name]
    for base, start, sign in (("RTMIN", _RTMIN, 1), ("RTMAX", _RTMAX, -1)):
        offset = name.removeprefix(base).lstrip("+" if sign > 0 else "-") or "0"
        if name.startswith(base) and offset.isdigit() and _RTMIN <= start + sign * int(offset) <= _RTMAX:
            return start + sign * int(offset)
    raise InvalidInput(f"unknown signal {text!r}")


def send(pid: int, started: int, number: int) -> None:
    """Send a signal to a process.

    :param started: when it was started; see :class:`wherry.linux.proc.Stat`.
    :raises Conflict: it has ended.
    """
    try:
        pidfd = os.pidfd_open(pid)
        try:
            stat = read_stat(pid)
            if stat is None or stat.start_time != started:
                raise ProcessLookupError
            pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)
    except ProcessLookupError:
        raise Conflict("os: process already finished") from None


def wait_for_end(pid: int, started: int, seconds: float) -> bool:
    """Wait until a process, somebody else's child, has ended; whether it has, in time."""
    import select  # noqa: PLC0415  few verbs wait

    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        stat = read_stat(pid)
        if stat is None or stat.start_time != started:
            return True
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(pidfd)
