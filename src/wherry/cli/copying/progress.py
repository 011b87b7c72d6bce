"""How far a copy is, on a terminal; and what it came to."""

from __future__ import annotations

import sys
import time

from wherry.cli.console import draw, flush, write_error
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Progress"]

_EVERY = 0.075  # seconds


class Progress:
    """Counts what passes by, and shows it on standard error where that is a terminal.

    :param header: what is being done: ``Copying to container``.
    :param quiet: nothing is shown, at the end neither.
    """

    def __init__(self, header: str, *, quiet: bool) -> None:
        self._header = header
        self._quiet = quiet
        self._shows = not quiet and sys.stderr.isatty()
        self._next = 0.0
        self.total = 0

    def counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces."""
        for piece in pieces:
            self.total += len(piece)
            if self._shows and (now := time.monotonic()) >= self._next:
                self._next = now + _EVERY
                _draw(f"\r\x1b[2K{self._header} - {human_size(self.total)}")
            yield piece

    def finish(self, content: int, target: str) -> None:
        """Say what was copied.

        :param content: bytes of files.
        """
        if self._quiet:
            return
        transferred = f" (transferred {human_size(self.total)})" if content != self.total else ""
        write_error("Successfully copied {}{} to {}\n", human_size(content), transferred, target)

    def clear(self) -> None:
        """Take away the line that shows how far it is."""
        if self._shows and self.total:
            _draw("\r\x1b[2K")


def _draw(text: str) -> None:
    draw(text, sys.stderr)
    flush(sys.stderr)
