"""Where the last N lines of a log begin.

Lines of two streams are counted in the order in which they *ended*; what a stream has left without a newline at the
end of the log counts as a line that ended with its last byte. A wanted line may begin far before the place where the
counting ended, because the other stream wrote in between: hence a :class:`~wherry.keeper.log_reader.Start` with a place
for each stream.

Only blocks at the end are read: the cost grows with the lines wanted, not with the log.
"""

from __future__ import annotations

from collections.abc import Iterator

from wherry.keeper.log_reader import BOTH, Start, end_position
from wherry.keeper.log_writer import StrPath, segments_of
from wherry.keeper.records import BEGINS_LINE, BLOCK, Position, Record, next_record, records_in
from wherry.keeper.segment_file import SegmentFile


def start_of_tail(directory: StrPath, lines: int, streams: frozenset[int] = BOTH) -> Start:
    """Where to begin reading for exactly the last lines.

    :param lines: how many; with 0 it is the log's end.
    :raises OSError: a segment cannot be read.
    """
    if lines <= 0:
        return Start(end_position(directory))
    search = _Search(lines, streams)
    for segment, offset, record, data in _records_backwards(directory):
        if record.stream in streams and search.has_enough_with(segment, offset, record, data):
            return search.start()
    return search.start()


class _Search:
    """Counts line ends backwards; then looks, stream by stream, for the beginning of the first wanted line."""

    def __init__(self, lines: int, streams: frozenset[int]) -> None:
        self._missing = lines
        self._cut: Position | None = None
        self._unknown: set[int] = set()
        """Streams of which some output is wanted, but the first wanted line's beginning was not met yet."""
        self._seen: set[int] = set()
        self._begin: dict[int, Position] = {}
        self._streams = streams

    def start(self) -> Start:
        begin = {stream: Position(0, 0) if stream in self._unknown else at for stream, at in self._begin.items()}
        if self._cut is None:
            return Start(Position(0, 0))
        for stream in self._streams - self._seen:
            begin[stream] = self._cut
        first = min(begin.values(), default=self._cut)
        return Start(Position(first.segment, first.offset // BLOCK * BLOCK), begin)

    def has_enough_with(self, segment: int, offset: int, record: Record, data: bytes) -> bool:
        """Take one record more, going backwards; whether all beginnings are known now.

        :param offset: of the record's first byte of data in the segment.
        """
        if self._cut is None:
            self._count(segment, offset, record, data)
        elif record.stream in self._unknown:
            self._begin_at(segment, offset, record, data.rfind(b"\n") + 1)
        return self._cut is not None and not self._unknown

    def _count(self, segment: int, offset: int, record: Record, data: bytes) -> None:
        stream = record.stream
        ends = data.count(b"\n")
        if stream not in self._seen:
            self._seen.add(stream)
            ends += not data.endswith(b"\n")
        if ends > self._missing:
            self._begin_at(segment, offset, record, _after_newline(data, ends - self._missing))
            self._cut = self._begin[stream]
            return
        self._missing -= ends
        self._begin_at(segment, offset, record, 0)
        if not self._missing:
            self._cut = Position(segment, offset)

    def _begin_at(self, segment: int, offset: int, record: Record, first: int) -> None:
        """The stream's first wanted byte is ``first`` in this record, unless that is 0 and the line began earlier."""
        self._begin[record.stream] = Position(segment, offset + first)
        if first or record.flags & BEGINS_LINE:
            self._unknown.discard(record.stream)
        else:
            self._unknown.add(record.stream)


def _after_newline(data: bytes, count: int) -> int:
    """The index after the ``count``-th newline from the front, found from whichever side is nearer."""
    at = -1
    if count <= (total := data.count(b"\n")) // 2:
        for _ in range(count):
            at = data.index(b"\n", at + 1)
        return at + 1
    at = len(data)
    for _ in range(total - count + 1):
        at = data.rindex(b"\n", 0, at)
    return at + 1


def _records_backwards(directory: StrPath) -> Iterator[tuple[int, int, Record, bytes]]:
    """Segment, offset of the data, header and data of every record, the last one first."""
    for segment in reversed(segments_of(directory)):
        try:
            file = SegmentFile.open(directory, segment)
        except FileNotFoundError:
            return  # rotated away: so is all that is older
        with file:
            for block in range(max(file.size - 1, 0) // BLOCK, -1, -1):
                yield from ((segment, *rest) for rest in _block_backwards(file, block))


def _block_backwards(file: SegmentFile, block: int) -> Iterator[tuple[int, Record, bytes]]:
    start = next_record(block * BLOCK)
    buffer = file.read((block + 1) * BLOCK - start, start)
    for record in reversed(list(records_in(buffer, start))):
        yield start + record.start, record, buffer[record.start : record.end]
