"""Cuts the chunks of a log into entries, as Docker does: lines, and parts of 16 KiB of those that are longer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from wherry.engine.log_drivers.contract import Entries, Part
from wherry.keeper.log_reader import Chunk
from wherry.keeper.records import STDERR, STDOUT, Position

__all__ = ["LONGEST", "EntryCutter", "Mark"]

LONGEST: Final = 16 << 10
"""Bytes of a line that are one entry; Docker's buffer."""


@dataclass(slots=True)
class _Line:
    """The line of a stream that has begun and not ended yet.

    :ivar at: of the first byte that was not handed over; None when no line has begun.
    :ivar part: the identity of the parts that were handed over.
    :ivar ordinal: of the last one.
    """

    at: Position | None = None
    rest: bytearray = field(default_factory=bytearray)
    time: int = 0
    part: str = ""
    ordinal: int = 0

    def cut(self, stream: int) -> Entries:
        """What there is, as a part."""
        self.part, self.ordinal = self.part or os.urandom(32).hex(), self.ordinal + 1
        data = bytes(self.rest)
        self.rest.clear()
        return Entries(stream, self.time, data, Part(self.part, self.ordinal, last=False))

    def end(self, stream: int) -> Entries:
        """The whole line, or its last part."""
        data, part = bytes(self.rest), Part(self.part, self.ordinal + 1, last=True) if self.part else None
        time = self.time
        self.clear()
        return Entries(stream, time, data if part else data + b"\n", part)

    def clear(self) -> None:
        """Nothing has begun."""
        self.at, self.part, self.ordinal, self.time = None, "", 0, 0
        self.rest.clear()


Mark = dict[str, Any]
"""Where to go on: of each stream the first byte that was not handed over, and which part of a line that is."""


class EntryCutter:
    """Cuts what is fed to it.

    :param mark: a `Mark` from which the chunks begin.
    """

    def __init__(self, mark: Mark | None = None) -> None:
        self._lines: Final = {STDOUT: _Line(), STDERR: _Line()}
        for stream, line in self._lines.items():
            if mark and str(stream) in mark:
                segment, offset, line.part, line.ordinal, line.time = mark[str(stream)]
                line.at = Position(segment, offset)

    def mark(self, following: Position) -> Mark:
        """Where to go on.

        :param following: the position behind what was fed.
        """
        found: Mark = {"next": list(following)}
        for stream, line in self._lines.items():
            if line.at is not None:
                found[str(stream)] = [*line.at, line.part, line.ordinal, line.time]
        return found

    def feed(self, chunk: Chunk, segment: int) -> Iterator[Entries]:
        """The entries that end in this chunk of standard output or error."""
        line, data = self._lines[chunk.stream], bytes(chunk.data)
        at = 0
        while at < len(data):
            if line.at is None:
                end = _whole_lines(data, at)
                if end > at:
                    yield Entries(chunk.stream, chunk.time, data[at:end])
                    at = end
                    continue
                line.at, line.time = Position(segment, chunk.offset + at), chunk.time
            end = data.find(b"\n", at, at + LONGEST - len(line.rest))
            piece = data[at : at + LONGEST - len(line.rest) if end < 0 else end]
            line.rest += piece
            at += len(piece)
            if end >= 0:
                at += 1
                yield line.end(chunk.stream)
            elif len(line.rest) == LONGEST:
                yield line.cut(chunk.stream)
                line.at = Position(segment, chunk.offset + at)

    def flush(self) -> Iterator[Entries]:
        """The lines that have not ended, at the end of a process: parts without a last one, as Docker has it."""
        for stream, line in self._lines.items():
            if line.rest:
                yield line.cut(stream)
            line.clear()


def _whole_lines(data: bytes, at: int) -> int:
    """Where the lines end that begin here and are whole, up to the first one that is too long."""
    while at < len(data):
        end = data.rfind(b"\n", at, at + LONGEST) + 1
        if not end:
            break
        at = end
    return at
