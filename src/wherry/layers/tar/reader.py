"""A strict, streaming reader of tar archives: v7, ustar, GNU, pax.

The standard library's reader isn't used, for three reasons. It reads extended headers of any claimed size into memory,
so that a "4-GB name" becomes 4 GB; names pass through an encoding; and it takes twice the time (6,800 entries,
measured: 0.2 s against 0.11 s, with pax headers 0.5 s against 0.2 s).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.errors import CorruptData, TooLarge, Unsupported
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.layers.tar import pax
from wherry.layers.tar.entry import Entry, Kind, shown
from wherry.layers.tar.numeric import byte_sum, parse_number
from wherry.layers.tar.sparse import apply_pax_sparse, read_old_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.layers.source import Source

__all__ = ["BLOCK", "TarReader", "is_header"]

BLOCK: Final = 512
_ZERO: Final = bytes(BLOCK)
# What Go's archive/tar, and with it every container engine, accepts.
_MAX_HEADER: Final = 1024 * 1024
# Bytes of all extended headers of one entry: one of each kind, and some room.
_MAX_HEADERS: Final = 4 * _MAX_HEADER
# Farther from 1970 than any file system, and utimensat(2), goes.
_MAX_SECONDS: Final = 1 << 62
# Of either number of a device, as mknod(2) takes them.
_MAX_DEVICE: Final = (1 << 32) - 1

_FILES: Final = frozenset({b"0", b"\0", b"7", b"S"})
_LONG_NAME, _LONG_TARGET, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_EXTENDED: Final = frozenset({_LONG_NAME, _LONG_TARGET, _PAX, _PAX_GLOBAL})
_KINDS: Final = {kind.value: kind for kind in Kind} | dict.fromkeys(_FILES, Kind.FILE)


class TarReader:
    """The entries of an archive, in order; between two of them, the body of the former can be read.

    :param source: the archive's uncompressed bytes.
    :param limits: how many entries there may be.
    """

    def __init__(self, source: Source, limits: Limits = DEFAULT_LIMITS) -> None:
        self._source = source
        self._limits = limits
        self._unread = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield every entry.

        :raises CorruptData: it is no tar archive, or ends in the middle of something.
        :raises TooLarge: it has too many entries, or an extended header beyond reason.
        :raises Unsupported: an entry is of a kind that files don't have.
        """
        for count, header in enumerate(self._headers()):
            if count >= self._limits.max_entries:
                raise TooLarge(f"the archive has more than the {self._limits.max_entries} entries allowed")
            yield header

    def body(self) -> Iterator[memoryview]:
        """The bytes of the current entry that were not read yet.

        :raises CorruptData: the archive ends within them.
        """
        for piece in self._source.pieces(self._unread):
            self._unread -= len(piece)
            yield piece
        if self._unread:
            raise CorruptData("the archive ends too early")

    def _headers(self) -> Iterator[Entry]:
        """Put each entry together with the headers that stand before it and speak about it."""
        records: pax.Records = []
        size = 0
        while (header := self._next_header()) is not None:
            kind = header[156:157]
            if kind not in _EXTENDED:
                yield self._entry(header, kind, records)
                records, size = [], 0
                continue
            text = self._text(header)
            if kind == _PAX_GLOBAL:
                continue  # defaults for all entries: Docker ignores them as well (git archive writes a comment)
            records += _records(kind, text)
            size += BLOCK + len(text)
            if size > _MAX_HEADERS or len(records) > self._limits.max_entries:
                raise TooLarge("the archive has too many extended headers")
        if records:
            raise CorruptData("the archive ends too early")

    def _next_header(self) -> bytes | None:
        """The next header block that is sound; None at the end, which two zero blocks or the stream's end mark.

        :raises CorruptData: something follows one zero block, which some readers would see and others not.
        """
        for _ in self.body():
            pass
        for _ in self._source.pieces(self._padding):
            pass  # the last file's may be missing: so ends what the docker command sends for ``build -f - DIRECTORY``
        self._padding = 0
        block = self._source.take(BLOCK)
        if block == _ZERO:
            block = self._source.take(BLOCK)
            if len(block) == BLOCK and block != _ZERO:
                raise CorruptData("this is no tar archive, or it is damaged", cause="an entry follows a block of zeros")
        if not block or block == _ZERO:
            return None
        if len(block) < BLOCK:
            raise CorruptData("the archive ends too early")
        _check_sum(block)
        return block

    def _text(self, header: bytes) -> bytes:
        """The body of an extended header."""
        size = parse_number(header[124:136])
        if size > _MAX_HEADER:
            raise TooLarge(f"the archive has an extended header of {size} bytes, where {_MAX_HEADER} are allowed")
        text = self._source.take(size)
        if len(text) < size:
            raise CorruptData("the archive ends too early")
        self._source.skip(-size % BLOCK)
        return text

    def _entry(self, header: bytes, type_flag: bytes, records: pax.Records) -> Entry:
        entry = _parse(header, type_flag)
        if records:
            pax.apply(entry, records)
        if type_flag == b"\0" and entry.name.endswith(b"/"):
            entry.kind = Kind.DIRECTORY  # v7 archives have no type of their own for directories
        if abs(entry.mtime) > _MAX_SECONDS * 1_000_000_000 or max(entry.device) > _MAX_DEVICE:
            raise CorruptData(f"the archive has a time, or a device, that cannot be: {shown(entry.name)}")
        if entry.kind is not Kind.FILE:
            entry.size = entry.full_size = 0  # star and old BSDs write a link's target's size; no data follows
        self._padding = -entry.size % BLOCK
        if type_flag == b"S":
            read_old_map(entry, header, self._source.take)
        elif records:
            apply_pax_sparse(entry, records, self._source.take)
        self._unread = entry.size
        return entry


def _records(kind: bytes, text: bytes) -> pax.Records:
    """What an extended header says."""
    if kind == _PAX:
        return pax.parse_records(text)
    return [(b"path" if kind == _LONG_NAME else b"linkpath", text.partition(b"\0")[0])]


def is_header(block: bytes) -> bool:
    """Whether a block is what an uncompressed archive begins with; an empty one begins with zeros."""
    if block == _ZERO:
        return True
    try:
        _check_sum(block)
    except CorruptData:
        return False
    return len(block) == BLOCK


def _check_sum(block: bytes) -> None:
    """Compare a header with its checksum; some old writers added up signed bytes."""
    try:
        expected = parse_number(block[148:156])
    except CorruptData:
        expected = -1
    block = b"%b        %b" % (block[:148], block[156:])  # its own field counts as eight blanks
    total = byte_sum(block)
    if total != expected and total - 256 * sum(byte > 127 for byte in block) != expected:
        raise CorruptData("this is no tar archive, or it is damaged", cause="a header's checksum is wrong")


def _parse(header: bytes, type_flag: bytes) -> Entry:
    """A header block by itself (POSIX.1-2017, pax, "ustar Interchange Format")."""
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    kind = _KINDS.get(type_flag)
    if kind is None:
        raise Unsupported(f"the archive has an entry of the unknown type {type_flag!r}: {shown(name)}")
    size = parse_number(header[124:136])
    is_device = kind in (Kind.CHARACTER, Kind.BLOCK)
    return Entry(
        name,
        kind,
        parse_number(header[100:108]) & 0o7777,
        parse_number(header[108:116]),
        parse_number(header[116:124]),
        size,
        _mtime(header[136:148]),
        header[157:257].partition(b"\0")[0],
        (parse_number(header[329:337]), parse_number(header[337:345])) if is_device else (0, 0),
        full_size=size,
    )


def _mtime(field: bytes) -> int:
    """Seconds to nanoseconds; times before 1970 are written as negative numbers in base 256."""
    if field[0] == 0xFF:
        return int.from_bytes(field, "big", signed=True) * 1_000_000_000
    return parse_number(field) * 1_000_000_000
