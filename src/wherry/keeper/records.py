"""The format of a log segment, known to its writer and its reader.

A segment is a sequence of blocks of 256 KiB; the last one is short. The first block begins with the segment's header::

    magic  8 bytes   b"wherrlog"
    version u16, flags u16, reserved u32
    time   i64       when the segment was begun, nanoseconds since the epoch

Records follow; no record crosses the end of a block, and fewer than 17 bytes left in a block are filled with zeros::

    stream u8        1 stdout, 2 stderr, 0 a note by the keeper
    flags  u8        Flag
    mark   u16       0x5EA1, so that zeros or foreign bytes are not taken for a record
    length u32       of the bytes that follow
    time   i64       when the keeper read them, nanoseconds since the epoch
    bytes            as the container wrote them, without any framing

Numbers are little-endian. Because every block begins with a record, no index is needed: a search by time is a binary
search over blocks, reading backwards goes block by block, and damage is never larger than the rest of one block.
(LevelDB's log does it in this way.) It is also why nothing a container writes can be mistaken for a record: nobody ever
*searches* for a header.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

BLOCK: Final = 256 * 1024
MAGIC: Final = b"wherrlog"
VERSION: Final = 1
MARK: Final = 0x5EA1

NOTE: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

SEGMENT_HEADER: Final = Struct("<8sHHIq")
RECORD_HEADER: Final = Struct("<BBHIq")
SMALLEST: Final = RECORD_HEADER.size + 1
"""Bytes that a record takes at least; a block's rest shorter than this stays empty."""

# Flags are plain integers and not an IntFlag: they are read once per record, and the keeper writes one per read(2).
BEGINS_LINE: Final = 1
"""The stream's bytes before this record ended with a newline, or there were none."""
DROPPED: Final = 2
"""A note: as many bytes of output as its text says (decimal digits) were dropped, because the disk was full."""


class Position(NamedTuple):
    """A place in a log: at a record's beginning, or at the end.

    Positions of one log compare in the order in which its bytes were written.
    """

    segment: int
    offset: int


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"{number}.log"


def segment_number(name: str) -> int | None:
    """The number of the segment with this file name; None for a file that is no segment."""
    stem, dot, suffix = name.partition(".")
    if dot and suffix == "log" and stem.isascii() and stem.isdigit() and stem[0] != "0":
        return int(stem)
    return None


def header_of_segment(time: int) -> bytes:
    """The header of a segment begun at ``time``."""
    return SEGMENT_HEADER.pack(MAGIC, VERSION, 0, 0, time)


def time_of_segment(header: bytes) -> int | None:
    """When a segment with this header was begun; None when the header is damaged or of another version."""
    if len(header) < SEGMENT_HEADER.size:
        return None
    magic, version, _, _, time = SEGMENT_HEADER.unpack_from(header)
    return int(time) if magic == MAGIC and version == VERSION else None


def next_record(offset: int) -> int:
    """Where the record that would begin at ``offset`` begins: behind the segment's header, or in the next block."""
    if offset < SEGMENT_HEADER.size:
        return SEGMENT_HEADER.size
    left = BLOCK - offset % BLOCK
    return offset + left if left < SMALLEST else offset


def is_record(mark: int, length: int, offset: int) -> bool:
    """Whether a header with this mark and length can stand at ``offset`` of a segment."""
    return mark == MARK and 0 < length <= BLOCK - offset % BLOCK - RECORD_HEADER.size


class Record(NamedTuple):
    """Where a record stands in a buffer, and what its header says."""

    start: int
    """Index of its first byte of data in the buffer."""
    end: int
    stream: int
    flags: int
    time: int


def records_in(buffer: bytes | bytearray, offset: int) -> Iterator[Record]:
    """The whole records in a piece of one block.

    Ends at the first thing that is no whole record: the block's empty rest, a record that is still being
    written, or damage. Which of them it is the caller sees from how much of the block is there.

    :param buffer: bytes of one block, not beyond its end.
    :param offset: where in the segment they stand; a record begins there.
    """
    at, size = 0, len(buffer)
    while at + SMALLEST <= size:
        stream, flags, mark, length, time = RECORD_HEADER.unpack_from(buffer, at)
        start = at + RECORD_HEADER.size
        at = start + length
        if not is_record(mark, length, offset + start - RECORD_HEADER.size) or at > size:
            return
        yield Record(start, at, stream, flags, time)
