"""Pseudo-terminals, made in a given devpts file system and used by descriptor; see pts(4).

``os.openpty`` takes the devpts that /dev/ptmx of the *caller* belongs to, and opens the terminal by a name that a
container may have replaced. Here nothing is looked up by name after the first step.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from typing import Final

from wherry.linux._libc import fail
from wherry.linux.fd import Fd, FdLike, number

__all__ = ["get_winsize", "make_controlling", "open_master", "open_peer", "pts_number", "set_winsize"]

# asm-generic/ioctls.h
_TIOCGPTN, _TIOCSPTLCK, _TIOCGPTPEER = 0x80045430, 0x40045431, 0x5441
_INT: Final = struct.Struct("=i")
# struct winsize: rows, columns, and the size in pixels, which nobody fills in.
_WINSIZE: Final = struct.Struct("=4H")


def open_master(devpts: FdLike) -> Fd:
    """Make a pseudo-terminal, unlocked, and return the master's descriptor.

    :param devpts: the directory where the devpts file system is mounted.
    """
    try:
        fileno = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=number(devpts))
    except OSError as error:
        fail("open", f"'ptmx' in descriptor {number(devpts)}", number=error.errno or errno.EIO)
    master = Fd(fileno)
    _ioctl(master, "TIOCSPTLCK", _TIOCSPTLCK, _INT.pack(0))
    return master


def open_peer(master: FdLike, flags: int = os.O_RDWR | os.O_NOCTTY) -> Fd:
    """Open the terminal that belongs to a master, close-on-exec."""
    try:
        return Fd(fcntl.ioctl(number(master), _TIOCGPTPEER, flags | os.O_CLOEXEC))
    except OSError as error:
        fail("ioctl", f"TIOCGPTPEER, descriptor {number(master)}", number=error.errno or errno.EIO)


def pts_number(master: FdLike) -> int:
    """Return the terminal's number: its name is that under the devpts mount, /dev/pts/<number>."""
    number_: int = _INT.unpack(_ioctl(master, "TIOCGPTN", _TIOCGPTN, _INT.pack(0)))[0]
    return number_


def make_controlling(terminal: FdLike) -> None:
    """Make a terminal the controlling one of this process, which must lead a session without a terminal."""
    try:
        fcntl.ioctl(number(terminal), termios.TIOCSCTTY, 0)
    except OSError as error:
        hint = "the process must lead a session (setsid) that has no terminal"
        fail("ioctl", f"TIOCSCTTY, descriptor {number(terminal)}", number=error.errno or errno.EIO, hint=hint)


def set_winsize(fd: FdLike, rows: int, columns: int) -> None:
    """Set a terminal's size; programs in its foreground get SIGWINCH when it changed."""
    _ioctl(fd, f"TIOCSWINSZ {rows}x{columns}", termios.TIOCSWINSZ, _WINSIZE.pack(rows, columns, 0, 0))


def get_winsize(fd: FdLike) -> tuple[int, int]:
    """Return a terminal's rows and columns; (0, 0) if they were never set."""
    rows, columns, *_ = _WINSIZE.unpack(_ioctl(fd, "TIOCGWINSZ", termios.TIOCGWINSZ, bytes(_WINSIZE.size)))
    return rows, columns


def _ioctl(fd: FdLike, name: str, request: int, argument: bytes) -> bytes:
    try:
        return fcntl.ioctl(number(fd), request, argument)
    except OSError as error:
        fail("ioctl", f"{name}, descriptor {number(fd)}", number=error.errno or errno.EIO)
