"""A segment that is open for reading, as it was written or compressed.

A segment that has a successor is not changed any more, and may be exchanged for the same in a compressed form::

    magic  8 bytes   b"wherrlgz"
    version u16, flags u16, blocks u32
    time   i64       when the segment was begun, as in its own header
    size   u64       of the segment
    lengths          u32 for each of its blocks: what that takes here
    blocks           each of them compressed by itself (zlib, RFC 1950)

So a reader goes to any place of it at the cost of one block, and positions are those in the segment. Damage is never
larger than a block.
"""

from __future__ import annotations

import os
from array import array
from itertools import accumulate
from struct import Struct
from typing import Final, Self

from wherry.keeper.records import BLOCK, VERSION, segment_name
from wherry.linux.fd import Fd

__all__ = ["COMPRESSED", "SegmentFile", "compress", "is_compressed", "open_segment"]

COMPRESSED: Final = b"wherrlgz"
_HEADER: Final = Struct("<8sHHIqQ")
_LENGTH: Final = 4  # bytes


def is_compressed(header: bytes) -> bool:
    """Whether a file that begins so is a compressed segment."""
    return header.startswith(COMPRESSED)


class SegmentFile:
    """One segment. Use it in a ``with`` block, or close it.

    :param fd: owned from now on.
    """

    __slots__ = ("_ends", "_fd", "_last", "_size")

    def __init__(self, fd: Fd) -> None:
        self._fd = fd
        self._ends: list[int] | None = None  # of the compressed blocks; None: it is as it was written
        self._size = 0
        self._last = (-1, b"")  # the block that was read last
        header = os.pread(fd.fileno(), _HEADER.size, 0)
        if is_compressed(header) and len(header) == _HEADER.size:
            self._open_compressed(header)

    def _open_compressed(self, header: bytes) -> None:
        _, _, _, blocks, _, self._size = _HEADER.unpack(header)
        lengths = array("I")
        lengths.frombytes(os.pread(self._fd.fileno(), blocks * _LENGTH, _HEADER.size)[: blocks * _LENGTH // 4 * 4])
        start = _HEADER.size + blocks * _LENGTH
        self._ends = [start + end for end in accumulate(lengths, initial=0)]

    @classmethod
    def open(cls, directory: str | os.PathLike[str], number: int) -> SegmentFile:
        """Open one by its number.

        :raises FileNotFoundError: it was rotated away.
        """
        return cls(open_segment(directory, number))

    @property
    def size(self) -> int:
        """Its size as it was written, at present."""
        return os.fstat(self._fd.fileno()).st_size if self._ends is None else self._size

    @property
    def is_deleted(self) -> bool:
        """Whether it has no name any more: it was rotated away, or is there in a compressed form."""
        return os.fstat(self._fd.fileno()).st_nlink == 0

    def read(self, size: int, offset: int) -> bytes:
        """Bytes from a place of the segment on; less than `size` at its end, or at the end of a block."""
        if self._ends is None:
            return os.pread(self._fd.fileno(), size, offset)
        at = offset % BLOCK
        return self._block(offset // BLOCK)[at : at + max(size, 0)]

    def _block(self, number: int) -> bytes:
        import zlib  # noqa: PLC0415 - few logs are compressed

        ends = self._ends or [0]
        if number >= len(ends) - 1:
            return b""
        if self._last[0] != number:
            stored = os.pread(self._fd.fileno(), ends[number + 1] - ends[number], ends[number])
            wanted = min(BLOCK, self._size - number * BLOCK)
            try:
                found = zlib.decompressobj().decompress(stored, wanted)
            except zlib.error:
                found = b""
            self._last = number, found.ljust(wanted, b"\0")  # what is damaged is no record
        return self._last[1]

    def close(self) -> None:
        """Close it."""
        self._fd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_segment(directory: str | os.PathLike[str], number: int) -> Fd:
    """The file of a segment, as it is stored.

    :raises FileNotFoundError: it was rotated away.
    """
    return Fd(os.open(os.path.join(directory, segment_name(number)), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))


def compress(source: int, target: int, size: int, time: int) -> int:
    """Write a segment into an empty file in its compressed form; returns how large that is.

    :param source: a descriptor of it, as it was written.
    :param time: of its header.
    """
    import zlib  # noqa: PLC0415 - as above

    lengths = array("I")
    blocks = -(-size // BLOCK)
    end = _HEADER.size + blocks * _LENGTH
    for number in range(blocks):
        packed = zlib.compress(os.pread(source, min(BLOCK, size - number * BLOCK), number * BLOCK))
        _write(target, packed, end)
        lengths.append(len(packed))
        end += len(packed)
    _write(target, _HEADER.pack(COMPRESSED, VERSION, 0, blocks, time, size) + lengths.tobytes(), 0)
    return end


def _write(target: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        count = os.pwrite(target, rest, offset)
        rest, offset = rest[count:], offset + count
