"""The local terminal: raw mode while a container uses it, and its size."""

from __future__ import annotations

import os
import signal
import sys
import termios
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["RawTerminal", "follow_size", "terminal_size"]


def terminal_size(fd: int = 1) -> tuple[int, int] | None:
    """Height and width in characters; None when there is no terminal."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return None
    return size.lines, size.columns


def follow_size(resize: Callable[[int, int], None], *, redraw: bool = False) -> None:
    """Send the size now and on every change (SIGWINCH).

    :param redraw: send another size first: a program that was already running redraws its screen on a change.
    :param resize: takes height and width; its errors are ignored.
    """
    from wherry.errors import WherryError

    def send_size(more: int = 0) -> None:
        size = terminal_size()
        if size is not None and all(size):
            with suppress(WherryError, OSError):  # not started yet, or exited; the next change sends it again
                resize(size[0] + more, size[1] + more)

    def changed(_number: int, _frame: FrameType | None) -> None:
        send_size()

    signal.signal(signal.SIGWINCH, changed)
    if redraw:
        send_size(1)
    send_size()


class RawTerminal:
    """Raw mode: each key goes to the container as it is typed, ctrl-c included (termios(3), cfmakeraw).

    :param fd: the terminal; nothing is done when it is not one.
    :param active: False does nothing.
    """

    def __init__(self, fd: int = 0, *, active: bool = True) -> None:
        self._fd = fd
        self._active = active
        self._saved: list[object] | None = None

    def __enter__(self) -> RawTerminal:
        if not self._active or not os.isatty(self._fd):
            return self
        self._saved = list(termios.tcgetattr(self._fd))
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._leave)
        mode = termios.tcgetattr(self._fd)
        mode[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[1] &= ~termios.OPOST
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN] = 1
        mode[6][termios.VTIME] = 0
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        return self

    def _leave(self, number: int, _frame: FrameType | None) -> None:
        self.restore()
        sys.stdout.flush()
        os._exit(128 + number)

    def restore(self) -> None:
        """Restore the terminal's settings."""
        if self._saved is not None:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)  # type: ignore[arg-type]
            self._saved = None

    def __exit__(self, *_: object) -> None:
        self.restore()
