"""Stay until a process ends: pass signals on to it, and what comes and goes by its terminal."""

from __future__ import annotations

import errno
import os
import select
import signal
from contextlib import suppress
from typing import Final

from wherry.errors import SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.process import pidfd_send_signal
from wherry.ociruntime.console import RawTerminal, copy_size

__all__ = ["Signals", "wait"]

#: These are this process's own affair, or cannot be caught.
_NOT_PASSED_ON: Final = frozenset(
    {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGWINCH, signal.SIGPIPE, signal.SIGURG}
)
_ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
_PIECE: Final = 65536


class Signals:
    """Signals that arrive are noted from here on, and lost no more.

    In a ``with``, while hooks are run and there is nobody to pass them on to, those that end programs end this one,
    which tidies up on its way.
    """

    def __init__(self) -> None:
        self._end_us = False
        self.read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if number < 32 or number > 33:
                with suppress(OSError, ValueError):
                    signal.signal(number, self._arrives)

    def _arrives(self, number: int, _: object) -> None:
        if self._end_us and number in _ENDING:
            raise KeyboardInterrupt

    def __enter__(self) -> Signals:
        self._end_us = True
        return self

    def __exit__(self, *_: object) -> None:
        self._end_us = False

    def arrived(self) -> bytes:
        """What has arrived, a number each."""
        try:
            return os.read(self.read_end, 1024)
        except BlockingIOError:
            return b""


def wait(pid: int, pidfd: Fd, master: Fd | None, signals: Signals) -> int:
    """Wait for the end of a child of this process, and return its exit code, as a shell has it.

    :param master: of its terminal, which is this process's business then.
    """
    relay = None if master is None else _Relay(master)
    with RawTerminal(-1 if relay is None else 0):
        if relay is not None:
            copy_size(0, relay.master)
        while True:
            ready = _poll([pidfd.fileno(), signals.read_end, *(relay.sources() if relay else ())])
            if signals.read_end in ready:
                _pass_on(signals.arrived(), pidfd, relay)
            if relay is not None:
                relay.move(ready)
            if pidfd.fileno() in ready:
                if relay is not None:
                    relay.drain()
                break
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _reap_others()
    return code if code >= 0 else 128 - code


def _poll(fds: list[int]) -> set[int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll()}


def _pass_on(arrived: bytes, pidfd: Fd, relay: _Relay | None) -> None:
    for number in arrived:
        if number == signal.SIGWINCH and relay is not None:
            copy_size(0, relay.master)
        elif number not in _NOT_PASSED_ON:
            with suppress(SystemCallError):  # it has ended
                pidfd_send_signal(pidfd, number)


def _reap_others() -> None:
    """Orphans that came to this process as a subreaper, and have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


class _Relay:
    """Copies between a terminal's master and this process's streams."""

    def __init__(self, master: Fd) -> None:
        self.master: Final = master
        self._takes_input = True
        self._has_output = True

    def sources(self) -> list[int]:
        """What to wait for."""
        found = [0] if self._takes_input else []
        return [*found, self.master.fileno()] if self._has_output else found

    def move(self, ready: set[int]) -> None:
        """Copy what there is."""
        if 0 in ready and self._takes_input:
            data = _read(0)
            if not data:
                self._takes_input = False  # a closed standard input ends nothing
            else:
                _write(self.master.fileno(), data)
        if self.master.fileno() in ready:
            data = _read(self.master.fileno())
            self._has_output = bool(data)
            _write(1, data)

    def drain(self) -> None:
        """Copy what the last process has left."""
        os.set_blocking(self.master.fileno(), False)
        while data := _read(self.master.fileno()):
            _write(1, data)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _PIECE)
    except OSError as error:
        if error.errno in (errno.EIO, errno.EAGAIN):  # nobody has the terminal open; nothing is left
            return b""
        raise


def _write(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except OSError:
            return  # nobody reads
