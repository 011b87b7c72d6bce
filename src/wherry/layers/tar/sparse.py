"""Files with holes, in GNU tar's old format and its three pax formats (GNU tar manual, "Storing Sparse Files")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wherry.errors import CorruptData
from wherry.layers.tar.entry import Entry
from wherry.layers.tar.numeric import parse_number
from wherry.layers.tar.pax import Records

__all__ = ["apply_pax_sparse", "read_old_map"]

_SLOT: Final = 24
_MAX_FRAGMENTS: Final = 100_000
_LONGEST_LINE: Final = 20  # of a map: a number, and the end of the line

Take = Callable[[int], bytes]


def read_old_map(entry: Entry, header: bytes, take: Take) -> None:
    """The old format: four fragments in the header, more in blocks that follow it.

    :param take: reads the blocks that follow.
    """
    fragments = _slots(header, 386, 4)
    more = header[482]
    while more:
        block = take(512)
        if len(block) < 512:
            raise CorruptData("the archive ends too early")
        fragments += _slots(block, 0, 21)
        more = block[504]
        if len(fragments) > _MAX_FRAGMENTS:
            raise CorruptData("the archive has a sparse file of too many fragments")
    _set_map(entry, fragments, parse_number(header[483:495]))


def apply_pax_sparse(entry: Entry, records: Records, take: Take) -> None:
    """The pax formats 0.0, 0.1 and 1.0, where `records` announce one; nothing otherwise.

    :param take: reads the map of format 1.0, which stands before the file's data.
    """
    keys = dict(records)
    real_size = keys.get(b"GNU.sparse.realsize", keys.get(b"GNU.sparse.size"))
    if real_size is None:
        return
    entry.name = keys.get(b"GNU.sparse.name") or entry.name
    if keys.get(b"GNU.sparse.major") == b"1":
        numbers = _read_data_map(entry, take)
    elif b"GNU.sparse.map" in keys:
        numbers = [_decimal(part) for part in keys[b"GNU.sparse.map"].split(b",") if part]
    else:
        wanted = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        numbers = [_decimal(value) for key, value in records if key in wanted]
    if len(numbers) % 2:
        raise CorruptData("the archive has a sparse file with half a fragment")
    _set_map(entry, list(zip(numbers[::2], numbers[1::2], strict=True)), _decimal(real_size))


def _slots(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    slots = (block[at : at + _SLOT] for at in range(start, start + count * _SLOT, _SLOT))
    return [(parse_number(slot[:12]), parse_number(slot[12:])) for slot in slots if slot[0]]


def _read_data_map(entry: Entry, take: Take) -> list[int]:
    """Format 1.0: decimal lines, first their number, filled up to a block."""
    text = bytearray(_read_block(entry, take))
    count = _decimal(bytes(text.partition(b"\n")[0]))
    if count > _MAX_FRAGMENTS:
        raise CorruptData("the archive has a sparse file of too many fragments")
    lines = text.count(b"\n")
    while lines < 1 + 2 * count:
        block = _read_block(entry, take)
        lines += block.count(b"\n")
        text += block
        if len(text) > (1 + 2 * count) * _LONGEST_LINE + len(block):
            raise CorruptData("the archive has a sparse file with a map that is no list of numbers")
    return [_decimal(line) for line in bytes(text).split(b"\n")[1 : 1 + 2 * count]]


def _read_block(entry: Entry, take: Take) -> bytes:
    if entry.size < 512:
        raise CorruptData("the archive has a sparse file with a map that does not end")
    entry.size -= 512
    return take(512)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise CorruptData("the archive has a sparse file with a map that is no list of numbers")
    return int(text)


def _set_map(entry: Entry, fragments: list[tuple[int, int]], full_size: int) -> None:
    """Check a map before anything is written by it: in order, without overlap, within the file, as long as the data."""
    position = stored = 0
    for offset, length in fragments:
        if offset < position or length < 0:
            raise CorruptData("the archive has a sparse file whose fragments overlap")
        position = offset + length
        stored += length
    if position > full_size or stored != entry.size:
        raise CorruptData("the archive has a sparse file whose map does not fit its size")
    entry.sparse, entry.full_size = fragments, full_size
