"""Cuts the chunks of a log into lines, each stream by itself.

The cutter hands over *runs* of whole lines instead of single lines: a chunk of a busy log holds thousands of lines with
the same time, and most callers want to do the same to all of them (put a timestamp before each), which
``bytes.replace`` does a hundred times faster than a loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from wherry.keeper.log_reader import Chunk

LONGEST: Final = 1024 * 1024
"""Bytes of an unfinished line that are kept waiting for its end; then they are handed over as a part."""


class Lines(NamedTuple):
    """Lines of one stream that arrived at the same time; or a part of one long line."""

    stream: int
    time: int
    data: bytes
    """Whole lines with their newlines. Only at the log's end, or in a very long line, the last newline is missing."""
    continues: bool = False
    """Whether the data continues a line of which a part was handed over before."""

    def split(self) -> list[bytes]:
        """The single lines, with their newlines."""
        return self.data.splitlines(keepends=True) if b"\r" not in self.data else _split(self.data)

    def stamped(self) -> bytes:
        """The lines with their time before each, as ``docker logs --timestamps`` writes it."""
        return self.marked(timestamp(self.time))

    def marked(self, mark: bytes) -> bytes:
        """The lines with the same words before each."""
        body = self.data[:-1].replace(b"\n", b"\n" + mark) + self.data[-1:]
        return body if self.continues else mark + body


class LineCutter:
    """Joins and cuts chunks into lines.

    :param longest: bytes of an unfinished line that are kept at most, for each stream.
    """

    def __init__(self, *, longest: int = LONGEST) -> None:
        self._longest: Final = longest
        self._parts: dict[int, list[bytes]] = {}
        self._begun: dict[int, int] = {}
        self._continues: dict[int, bool] = {}

    def feed(self, chunk: Chunk) -> Iterator[Lines]:
        """The lines that end in this chunk; a line has the time at which its first bytes were read."""
        stream, data = chunk.stream, bytes(chunk.data)
        head = 0
        if stream in self._parts:
            head = data.find(b"\n") + 1
            self._keep(stream, chunk.time, data[:head] if head else data)
            if head or self._kept(stream) >= self._longest:
                yield self._hand_over(stream, ends=bool(head))
            if not head:
                return
        tail = data.rfind(b"\n") + 1
        if tail > head:
            yield Lines(stream, chunk.time, data[head:tail], self._continues.pop(stream, False))
        if tail < len(data):
            self._keep(stream, chunk.time, data[max(head, tail) :])
            if self._kept(stream) >= self._longest:
                yield self._hand_over(stream, ends=False)

    def flush(self) -> Iterator[Lines]:
        """The last line, if it has no newline, at the end of the stream."""
        for stream in list(self._parts):
            yield self._hand_over(stream, ends=True)

    def _keep(self, stream: int, time: int, data: bytes) -> None:
        parts = self._parts.pop(stream, None) or []
        if not parts:
            self._begun[stream] = time
        parts.append(data)
        self._parts[stream] = parts  # at the dictionary's end: in the order in which the streams were written last

    def _kept(self, stream: int) -> int:
        return sum(map(len, self._parts[stream]))

    def _hand_over(self, stream: int, *, ends: bool) -> Lines:
        continues = self._continues.pop(stream, False)
        if not ends:
            self._continues[stream] = True
        return Lines(stream, self._begun.pop(stream), b"".join(self._parts.pop(stream)), continues)


def timestamp(ns: int) -> bytes:
    """A time as Docker writes it before a line: RFC 3339 in UTC with nine digits, and a space.

    :param ns: nanoseconds since the epoch.
    """
    seconds, rest = divmod(ns, 1_000_000_000)
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z ").encode()


def _split(data: bytes) -> list[bytes]:
    """Like ``splitlines``, at newlines only: a carriage return is a progress bar's, and no line's end."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
