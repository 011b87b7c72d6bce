"""Compressed streams: detection by magic bytes, and decompression in bounded pieces.

However small the input, no piece of output is much larger than `PIECE`: memory does not depend on what an archive
claims. Gzip goes through isal, several times faster than zlib.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from wherry.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["PIECE", "Compression", "decompress", "detect"]

PIECE: Final = 1024 * 1024


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
    from wherry.layers.decompressors import ERRORS, MAKERS  # noqa: PLC0415 - packages, see there

    return _translated(kind, _members(kind, MAKERS[kind], chunks), ERRORS)


def _translated(kind: Compression, pieces: Iterator[bytes], errors: tuple[type[Exception], ...]) -> Iterator[bytes]:
    try:
        yield from pieces
    except errors as exc:
        raise CorruptData(f"the {kind} data is corrupt", cause=str(exc).lower() or None) from exc


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
