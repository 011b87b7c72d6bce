"""Compressed streams: detection by magic bytes, and decompression in bounded pieces.

However small the input, no piece of output is much larger than `PIECE`: memory does not depend on what an archive
claims. Gzip goes through isal, several times faster than zlib.
"""

from __future__ import annotations

import bz2
import lzma
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import zstandard
from isal import igzip_lib

from wherry.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["PIECE", "Compression", "decompress", "detect"]

PIECE: Final = 1024 * 1024

# One compressed block of four bytes can stand for 128 KiB, and the decoder has no limit on its output: so it's fed by
# the spoon.
_ZSTD_SPOON: Final = 2048
# zstd's own default for decoders; more would let an archive claim gigabytes of memory.
_ZSTD_WINDOW: Final = 128 * 1024 * 1024
_XZ_MEMORY: Final = 256 * 1024 * 1024


class Compression(StrEnum):
    """How a stream is compressed."""

    PLAIN = "plain"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


_MAGIC: Final = (
    (b"\x1f\x8b", Compression.GZIP),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
    (b"BZh", Compression.BZIP2),
    (b"\xfd7zXZ\0", Compression.XZ),
)
# RFC 8878, 3.1.2: a zstd stream may begin with a frame that is to be skipped; its last four bits are free.
_ZSTD_SKIPPABLE: Final = frozenset(bytes((low, 0x2A, 0x4D, 0x18)) for low in range(0x50, 0x60))


def detect(head: bytes) -> Compression:
    """Tell the kind of a stream by its first six bytes."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return Compression.ZSTD if head[:4] in _ZSTD_SKIPPABLE else Compression.PLAIN


def decompress(kind: Compression, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of a compressed stream.

    :raises CorruptData: it is damaged, or ends too early.
    """
    if kind is Compression.PLAIN:
        return iter(chunks)
    return _translated(kind, _members(kind, _MAKERS[kind], chunks))


_ERRORS: Final[tuple[type[Exception], ...]] = (
    igzip_lib.IsalError,  # type: ignore[assignment]  # isal's stub calls it an instance
    zstandard.ZstdError,
    lzma.LZMAError,
    OSError,
    EOFError,
    ValueError,
)


def _translated(kind: Compression, pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except _ERRORS as exc:
        raise CorruptData(f"the {kind} data is corrupt", cause=str(exc).lower() or None) from exc


class _Zstd:
    """One zstd frame, in the shape of the standard library's decompressors."""

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._pending = memoryview(b"")
        self.eof = False
        self.unused_data = b""
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """As ``bz2.BZ2Decompressor.decompress``; the result may be longer by what one spoonful of input gives."""
        if data:
            self._pending = memoryview(data)
        pieces, length = [], 0
        while self._pending and length < max_length and not self.eof:
            spoonful, self._pending = self._pending[:_ZSTD_SPOON], self._pending[_ZSTD_SPOON:]
            piece = self._frame.decompress(spoonful)
            pieces.append(piece)
            length += len(piece)
            self.eof = self._frame.eof
        if self.eof:
            self.unused_data = self._frame.unused_data + bytes(self._pending)
        self.needs_input = not self._pending
        return b"".join(pieces)


_MAKERS: Final[dict[Compression, Callable[[], Any]]] = {
    Compression.GZIP: lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
    Compression.ZSTD: _Zstd,
    Compression.BZIP2: bz2.BZ2Decompressor,
    Compression.XZ: lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY),
}


def _members(kind: Compression, make: Callable[[], Any], chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A stream of one or more members (RFC 1952, 2.2; RFC 8878, 3); zeros between and behind them are padding."""
    member: Any = None
    first = True
    for chunk in chunks:
        rest = chunk
        while rest:
            if member is None:
                rest = rest if first else rest.lstrip(b"\0")
                if not rest:
                    break
                member, first = make(), False
            yield from _feed(member, rest)
            rest = b""
            if member.eof:
                rest, member = member.unused_data, None
    if member is not None:
        raise CorruptData(f"the {kind} data ends too early")


def _feed(member: Any, data: bytes) -> Iterator[bytes]:
    """Give a member some input and take out all that it makes of it."""
    while True:
        piece = member.decompress(data, PIECE)
        data = b""
        if piece:
            yield piece
        if member.eof or (member.needs_input and len(piece) < PIECE):
            return
