"""Terminals: the master goes to who asked for it by a socket, or is relayed to this command's own terminal."""

from __future__ import annotations

import errno
import os
import socket
import struct
import termios
from typing import Any, Final

from wherry.errors import InvalidInput, SystemFault
from wherry.linux.fd import Fd
from wherry.linux.pty import get_winsize, set_winsize

__all__ = ["RawTerminal", "check_socket", "copy_size", "send_master", "send_pidfd"]

#: Seconds for who listens to take what is sent.
_PATIENCE: Final = 5


def check_socket(path: str, *, terminal: bool, detach: bool) -> None:
    """Refuse combinations that cannot be meant, in runc's words.

    :raises InvalidInput: a terminal would be nobody's, or a socket gets nothing.
    """
    if detach and terminal and not path:
        raise InvalidInput("cannot allocate tty if runc will detach without setting console socket")
    if path and not (detach and terminal):
        raise InvalidInput("cannot use console socket if runc will not detach or allocate tty")


def send_master(path: str, master: Fd) -> None:
    """Hand a terminal's master to who listens at a socket.

    :raises SystemFault: nobody does, or he does not answer in time.
    """
    _send(path, b"/dev/ptmx", master.fileno(), "console socket")


def send_pidfd(path: str, pidfd: Fd) -> None:
    """Hand the pidfd of a container's process to who listens at a socket."""
    _send(path, b"pidfd", pidfd.fileno(), "pidfd socket")


def _send(path: str, text: bytes, fd: int, what: str) -> None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            # Not `settimeout`: a socket that does not block gives up at once where others are waiting already.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _PATIENCE, 0))
            end.connect(path)
            socket.send_fds(end, [text], [fd])
    except OSError as error:
        reason = "it does not answer" if error.errno == errno.EAGAIN else (error.strerror or str(error)).lower()
        raise SystemFault(f"the {what} {path!r} cannot be used", cause=reason) from error


def copy_size(source: int, master: Fd) -> None:
    """Give a terminal the size of another, if that is one and has a size."""
    if os.isatty(source):
        rows, columns = get_winsize(source)
        if rows and columns:
            set_winsize(master, rows, columns)


class RawTerminal:
    """This command's own terminal passes everything on, until the end of a ``with``.

    :param fd: the terminal; -1, or anything else, is left as it is.
    """

    def __init__(self, fd: int) -> None:
        self._fd: Final = fd
        self._before: list[Any] | None = None

    def __enter__(self) -> RawTerminal:
        if self._fd >= 0 and os.isatty(self._fd):
            self._before = termios.tcgetattr(self._fd)
            import tty  # noqa: PLC0415  few are at a terminal

            tty.setraw(self._fd)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
