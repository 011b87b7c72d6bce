"""Our terminal: raw while a container has it, and its size."""

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
    """Ask for height and width in characters; None where there is no terminal."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return None
    return size.lines, size.columns


def follow_size(resize: Callable[[int, int], None], *, redraw: bool = False) -> None:
    """Tell the size now and whenever it changes.

    :param redraw: tell another size first: a program that has been running draws its screen anew when the size changes.
    :param resize: takes height and width; what it cannot do now is not worth ending the session for.
    """
    from wherry.errors import WherryError

    def tell(more: int = 0) -> None:
        size = terminal_size()
        if size is not None and all(size):
            with suppress(WherryError, OSError):  # it may not have begun, or has ended; the next change tells it again
                resize(size[0] + more, size[1] + more)

    def changed(_number: int, _frame: FrameType | None) -> None:
        tell()

    signal.signal(signal.SIGWINCH, changed)
    if redraw:
        tell(1)
    tell()


class RawTerminal:
    """While in force, each key goes to the container as it is typed, ctrl-c included (termios(3), cfmakeraw).

    :param fd: our terminal; where it is none, nothing is done.
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
        """Make it the person's again."""
        if self._saved is not None:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)  # type: ignore[arg-type]
            self._saved = None

    def __exit__(self, *_: object) -> None:
        self.restore()
