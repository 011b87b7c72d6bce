"""Reads a log for its delivery: a piece at a time, in a thread, and holds what was not delivered yet."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from wherry.keeper.log_reader import Chunk, LogReader, Segments, Start
from wherry.keeper.records import NOTE, Position

if TYPE_CHECKING:
    from wherry.engine.container.log import ContainerLog

__all__ = ["Piece", "PieceReader"]

_MOST_BYTES: Final = 64 << 10
_MOST_LINES: Final = 2048
_MOST_OVERHEAD: Final = 1 << 20
"""Of a piece, so that what becomes of it for a receiver is bounded: an empty line may cost it five hundred bytes."""

Piece = list[tuple[int, Chunk]]
"""Chunks, with the segments that they are from."""


class PieceReader:
    """A `wherry.engine.container.log.Follower`.

    :param first: the segment with the first byte that was not delivered.
    :param holds: whether the log waits for the delivery rather than drop what was not delivered.
    :param overhead: bytes that the receiver gets along with each line.
    """

    def __init__(self, log: ContainerLog, first: int, *, holds: bool, overhead: int) -> None:
        self._log = log
        self._most_lines = min(_MOST_LINES, max(_MOST_OVERHEAD // max(overhead, 1), 1))
        self._holds = holds
        self.segments: Segments = log.segments
        self._reader = LogReader(self.segments)
        self._left: deque[tuple[int, Chunk]] = deque()
        self._held = max(first - 1, 0)
        self._ends: list[Position] = []
        self._passed = 0  # of the ends
        self.runs = 0
        """The number of the last run that has ended."""
        log.enter(self, holds=holds)

    # --- a follower -------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """See `Follower`."""
        return self._held

    def ends_with(self, run: int, end: Position) -> None:
        """See `Follower`."""
        self.runs = run
        self._ends.append(end)

    def lost_its_log(self, ended: int) -> None:
        """See `Follower`; the delivery has ended before that."""

    # --- for the delivery: in a thread -------------------------------------------------------------

    def begin(self, start: Start) -> None:
        """Read from here on."""
        self._reader.close()
        self._reader = LogReader(self.segments, start)
        self._left.clear()
        self._passed = 0

    @property
    def position(self) -> Position:
        """Behind the last piece."""
        if self._left:
            segment, chunk = self._left[0]
            return Position(segment, chunk.offset)
        return self._reader.position

    def read(self) -> Piece:
        """The next piece; an empty one at the end of the log, or of a run.

        :raises Overtaken: something was dropped before it was read.
        """
        while not self._left:
            self._reader.end = self._next_end()
            chunks = self._reader.step()
            if chunks is None:
                return []
            segment = self._reader.position.segment
            self._left.extend((segment, chunk) for chunk in chunks if chunk.stream != NOTE)
        return self._take()

    def _take(self) -> Piece:
        piece: Piece = []
        size = lines = 0
        while self._left and size < _MOST_BYTES and lines < self._most_lines:
            segment, chunk = self._left.popleft()
            chunk, rest = _cut(chunk, _MOST_BYTES - size, self._most_lines - lines)
            if rest is not None:
                self._left.appendleft((segment, rest))
            piece.append((segment, chunk))
            size += len(chunk.data)
            lines += 1 + bytes(chunk.data).count(b"\n")
        return piece

    # --- for the delivery: on the event loop --------------------------------------------------------

    def passes_end(self) -> bool:
        """Whether a run has ended where the delivery is; that end is behind it then."""
        end = self._next_end()
        if end is None or self._left or self._reader.position < end:
            return False
        self._passed += 1
        return True

    def _next_end(self) -> Position | None:
        return self._ends[self._passed] if self._passed < len(self._ends) else None

    def delivered(self, first: Position) -> None:
        """All before this was delivered: it may be dropped."""
        while self._passed and self._ends[0] < first:
            del self._ends[0]
            self._passed -= 1
        before, self._held = self._held, max(first.segment - 1, self._held)
        if self._holds and self._held != before:
            self._log.moved(before, self._held)

    def close(self) -> None:
        """Let go of the log; nothing may be reading."""
        self._reader.close()
        if self._holds:
            self._log.moved(self._held, None)
        self._log.leave(self)


def _cut(chunk: Chunk, size: int, lines: int) -> tuple[Chunk, Chunk | None]:
    """The part of a chunk that has so many bytes and lines at most, and the rest."""
    data = bytes(chunk.data[:size])
    if data.count(b"\n") > lines:
        data = data[: len(data) - len(data.split(b"\n", lines)[-1])]
    if len(data) == len(chunk.data):
        return chunk, None
    rest = chunk._replace(data=chunk.data[len(data) :], offset=chunk.offset + len(data))
    return chunk._replace(data=chunk.data[: len(data)]), rest
