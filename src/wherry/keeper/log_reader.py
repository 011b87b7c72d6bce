"""The reading side of a log: raw chunks from a position on, and where to begin for ``since``.

Everything here is synchronous and ends at the log's present end; who follows a log calls :meth:`LogReader.read` again
when the keeper says that it grew. ``wherry.keeper.tail`` finds where the last N lines begin, ``wherry.keeper.lines``
cuts chunks into lines.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Self

from wherry.errors import SystemFault
from wherry.keeper.log_writer import StrPath, segments_of
from wherry.keeper.records import (
    BLOCK,
    DROPPED,
    NOTE,
    RECORD_HEADER,
    SEGMENT_HEADER,
    STDERR,
    STDOUT,
    Position,
    next_record,
    records_in,
    segment_name,
    time_of_segment,
)
from wherry.keeper.segment_file import SegmentFile, open_segment
from wherry.linux.fd import Fd

BOTH: Final = frozenset({STDOUT, STDERR})
BEGINNING: Final = Position(0, 0)
_FIRST: Final = 1  # the number of a log's first segment


class Chunk(NamedTuple):
    """Bytes that the keeper read at once from one stream."""

    stream: int
    time: int
    """When the keeper read them, nanoseconds since the epoch."""
    data: memoryview
    dropped: int = 0
    """For a note (``stream`` is ``NOTE``): bytes of output that were lost here because the disk was full."""
    offset: int = 0
    """Where in its segment the first byte stands."""


class Start(NamedTuple):
    """Where to begin reading, possibly within a record and differently for each stream."""

    position: Position
    streams: Mapping[int, Position] = {}
    """For a stream: the position of its first wanted byte; bytes before that are left out."""


class Segments:
    """The segments of a log, found by name; or, once they are kept, by descriptor: then the names may go.

    :param directory: of the log; it need not exist yet.
    """

    def __init__(self, directory: StrPath) -> None:
        self.directory: Final = directory
        self._kept: dict[int, Fd] | None = None
        self._not_kept: list[int] = []

    def numbers(self) -> list[int]:
        """Their numbers, in order."""
        return segments_of(self.directory) if self._kept is None else [*self._kept, *self._not_kept]

    def exists(self, number: int) -> bool:
        """Whether there is one with this number."""
        if self._kept is not None:
            return number in self._kept or number in self._not_kept
        return os.access(os.path.join(self.directory, segment_name(number)), os.F_OK)

    def open(self, number: int) -> SegmentFile:
        """Open one for reading.

        :raises FileNotFoundError: it was rotated away.
        :raises Overtaken: it could not be kept.
        """
        if self._kept is None:
            return SegmentFile.open(self.directory, number)
        if number not in self._kept:
            raise Overtaken("the log was removed before it was read", hint="there were too many descriptors")
        return SegmentFile(self._kept[number].duplicate())

    def keep(self, after: int) -> None:
        """Open all after this one: nothing will be added, and the directory is about to go.

        As many as there may be descriptors; who comes to the first one that is missing is told.
        """
        if self._kept is not None:
            return
        wanted = [number for number in segments_of(self.directory) if number > after]
        self._kept = {}
        with contextlib.suppress(OSError):
            for number in wanted:
                self._kept[number] = open_segment(self.directory, number)
        self._not_kept = wanted[len(self._kept) :]

    def close(self) -> None:
        """Close the kept descriptors."""
        for fd in (self._kept or {}).values():
            fd.close()


class Overtaken(SystemFault):
    """Segments were dropped before the reader came to them."""


class LogReader:
    """Reads a log from a place to its present end, across rotation; read again when it grew.

    A segment that is open stays readable while its file is being deleted. What was deleted before the reader began is
    skipped; what was deleted after that, and before he came to it, he is told of.

    :param log: the log, or its directory, which need not exist yet.
    :param start: where to begin; the default is the oldest byte that is still there.
    :param streams: those that are wanted. Notes are always given.
    :param since: leave out what the keeper read before this time (nanoseconds since the epoch).
    :param until: end at the first thing that the keeper read after this time.
    """

    def __init__(
        self,
        log: Segments | StrPath,
        start: Start | Position = BEGINNING,
        *,
        streams: frozenset[int] = BOTH,
        since: int | None = None,
        until: int | None = None,
    ) -> None:
        if isinstance(start, Position):
            start = Start(start)
        self._log: Final = log if isinstance(log, Segments) else Segments(log)
        self._wanted: Final = streams | {NOTE}
        self._begin: Final = dict(start.streams)
        self._since: Final = since
        self._until: Final = until
        self._segment, self._offset = start.position
        self._file: SegmentFile | None = None
        self._has_begun = False
        self.end: Position | None = None
        """Where to stop, at a record's beginning; None for the log's present end, whenever that is."""
        self.finished = False
        """Whether ``until`` was passed: nothing more will ever come."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    @property
    def position(self) -> Position:
        """Where the next :meth:`read` begins."""
        return Position(self._segment, self._offset)

    @property
    def held(self) -> int:
        """The segment that it has open."""
        return self._segment if self._file is not None else max(self._segment - 1, 0)

    def close(self) -> None:
        """Close the open segment."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def begin(self) -> None:
        """Open the first segment now, or see that there is none yet: what is dropped from now on is missing.

        :raises OSError: it cannot be opened.
        """
        if not self._has_begun and not self._open_from(self._segment):
            self._segment = max(self._segment, _FIRST)
            self._has_begun = True

    def read(self) -> list[Chunk]:
        """The next chunks, at most a block's (256 KiB); none at the log's present end.

        :raises OSError: a segment cannot be read.
        :raises Overtaken: what would come next was dropped meanwhile. The next call goes on after it.
        """
        while (chunks := self.step()) is not None:
            if chunks:
                return chunks
        return []

    def step(self) -> list[Chunk] | None:
        """A bounded piece of :meth:`read`: what is wanted of a block, perhaps nothing; None at the present end."""
        if self.finished or not (self._file is not None or self._open_from(self._segment)):
            return None
        if self._file is None or (self.end is not None and self.position >= self.end):
            return None
        chunks = self._read_block(self._file)
        if chunks is None and self._advance(self._file):
            return []
        return chunks

    def chunks(self) -> Iterator[Chunk]:
        """All that :meth:`read` gives up to the present end."""
        while chunks := self.read():
            yield from chunks

    def _read_block(self, file: SegmentFile) -> list[Chunk] | None:
        """The wanted chunks in what there is of the present block, perhaps none; None at the present end."""
        start = next_record(self._offset)
        left = BLOCK - start % BLOCK
        if self.end is not None and self._segment == self.end.segment:
            left = max(min(left, self.end.offset - start), 0)
        buffer = file.read(left, start)
        if not buffer and self._was_cut(file):
            return []
        end, chunks = self._parse(buffer, start)
        # In a block that is there to its end, whatever follows the last whole record is filling, or damage.
        whole = len(buffer) == left
        if end == 0 and not whole:
            return None
        self._offset = start + (left if whole else end)
        return chunks

    def _was_cut(self, file: SegmentFile) -> bool:
        """Whether the segment was truncated below the reader's position; the reader then starts it again."""
        if file.size >= self._offset:
            return False
        self._offset = 0
        return True

    def _parse(self, buffer: bytes, offset: int) -> tuple[int, list[Chunk]]:
        """The wanted chunks in a buffer, and where its last whole record ends."""
        view = memoryview(buffer)
        end = 0
        chunks: list[Chunk] = []
        for start, end, stream, flags, time in records_in(buffer, offset):
            if self._until is not None and time > self._until:
                self.finished = True
                break
            if stream not in self._wanted or (self._since is not None and time < self._since):
                continue
            if stream in self._begin:
                start = self._first_wanted(stream, offset + start, offset + end) - offset  # noqa: PLW2901
            if flags & DROPPED:
                chunks.append(Chunk(NOTE, time, view[:0], _count(buffer[start:end])))
            elif start < end:
                chunks.append(Chunk(stream, time, view[start:end], 0, offset + start))
        return end, chunks

    def _first_wanted(self, stream: int, start: int, end: int) -> int:
        """Where in a record's data, from ``start`` to ``end``, that begins what is wanted of its stream."""
        begin = self._begin[stream]
        if Position(self._segment, end) <= begin:
            return end
        del self._begin[stream]
        return max(start, begin.offset) if begin.segment == self._segment else start

    def _advance(self, file: SegmentFile) -> bool:
        """Go on to the next segment, if this one is finished; whether there is more to read."""
        successor = next((n for n in self._successors(file) if n > self._segment), None)
        if successor is None:
            return False
        if self._has_grown(file):
            return True  # between our last read and the rotation
        return self._open_from(self._segment + 1)

    def _successors(self, file: SegmentFile) -> list[int]:
        """Candidates for the next segment; a directory is listed only when the guess cannot be right."""
        if file.is_deleted:
            return self._log.numbers()
        following = self._segment + 1
        return [following] if self._log.exists(following) else []

    def _has_grown(self, file: SegmentFile) -> bool:
        start = next_record(self._offset)
        buffer = file.read(BLOCK - start % BLOCK, start)
        return next(records_in(buffer, start), None) is not None

    def _open_from(self, wanted: int) -> bool:
        """Open the segment with this number, or else the oldest one after it; whether there was one."""
        for number in self._log.numbers():
            if number < wanted:
                continue
            try:
                file = self._log.open(number)
            except FileNotFoundError:
                continue
            if _is_foreign(file):
                file.close()
                wanted = number + 1
                continue
            self._go_on_with(number, file, wanted)
            return True
        return False

    def _go_on_with(self, number: int, file: SegmentFile, wanted: int) -> None:
        had_begun, self._has_begun = self._has_begun, True
        self.close()
        self._offset = self._offset if number == self._segment else 0
        self._file, self._segment = file, number
        if had_begun and number > wanted:
            raise Overtaken(
                "output was dropped by the rotation of the log before it was read",
                hint="read faster, or let the log be larger: --log-opt max-size, max-file",
            )


def _is_foreign(file: SegmentFile) -> bool:
    """Whether a segment has a header, and it is not one of ours.

    Zeros are none: the file was cut at the moment at which the keeper wrote.
    """
    header = file.read(SEGMENT_HEADER.size, 0)
    return len(header) == SEGMENT_HEADER.size and time_of_segment(header) is None and any(header)


def end_position(directory: StrPath) -> Position:
    """The present end of a log, for a reader of new output only.

    While the keeper is writing, this may lie within its last record; the keeper's own answer to ``watch`` never does.
    Here the last block is read for that reason.
    """
    for number in reversed(segments_of(directory)):
        try:
            file = SegmentFile.open(directory, number)
        except FileNotFoundError:
            continue
        with file:
            return Position(number, _end_of_segment(file))
    return Position(1, 0)


def _end_of_segment(file: SegmentFile) -> int:
    start = next_record(max(file.size - 1, 0) // BLOCK * BLOCK)
    end = start
    for record in records_in(file.read(BLOCK - start % BLOCK, start), start):
        end = start + record.end
    return end


def position_at(directory: StrPath, time: int) -> Position:
    """Where to begin reading for ``since``: at or shortly before the first record of this time or later.

    Looks at one header per segment and at a logarithmic number of blocks. The order of times is taken for granted; if
    the clock was set back while the log was written, the place is approximate.

    :param time: nanoseconds since the epoch.
    """
    position = BEGINNING
    for number in segments_of(directory):
        try:
            file = SegmentFile.open(directory, number)
        except FileNotFoundError:
            continue
        with file:
            begun = time_of_segment(file.read(SEGMENT_HEADER.size, 0))
            if begun is not None and begun > time:
                break
            position = Position(number, _block_before(file, time))
    return position


def begin_of_segment(directory: StrPath, number: int) -> int | None:
    """When a segment was begun, nanoseconds since the epoch; None when it is gone or damaged."""
    try:
        with SegmentFile.open(directory, number) as file:
            return time_of_segment(file.read(SEGMENT_HEADER.size, 0))
    except FileNotFoundError:
        return None


def _block_before(file: SegmentFile, time: int) -> int:
    """The offset of the last block that begins before this time."""
    low, high = 0, max(file.size - 1, 0) // BLOCK
    while low < high:
        middle = (low + high + 1) // 2
        begun = _time_of_block(file, middle)
        if begun is not None and begun < time:
            low = middle
        else:
            high = middle - 1
    return low * BLOCK


def _time_of_block(file: SegmentFile, block: int) -> int | None:
    header = file.read(RECORD_HEADER.size, next_record(block * BLOCK))
    return int(RECORD_HEADER.unpack(header)[4]) if len(header) == RECORD_HEADER.size else None


def _count(text: bytes) -> int:
    """The number in a note; 0 for a damaged one."""
    return int(text) if text.isdigit() and len(text) < 20 else 0
