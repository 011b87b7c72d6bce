"""Numbers in tar headers: octal digits, or, where those don't suffice, GNU's base 256."""

from __future__ import annotations

from functools import lru_cache
from zlib import adler32

from wherry.errors import CorruptData
from wherry.layers.tar.entry import shown

__all__ = ["byte_sum", "format_number", "parse_number"]


@lru_cache(512)  # modes, owners and times are the same in most entries of an archive
def parse_number(field: bytes) -> int:
    """Read a numeric field; an empty one is 0.

    :raises CorruptData: it's no number, or a negative one.
    """
    if field and field[0] & 0x80:
        if field[0] & 0x40:
            raise CorruptData("the archive has a negative number in a header")
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit():
        raise CorruptData(f"the archive has a header with a number of {shown(digits)}")
    try:
        return int(digits, 8)
    except ValueError:
        raise CorruptData(f"the archive has a header with a number of {shown(digits)}") from None


def format_number(value: int, width: int) -> bytes:
    """Write a numeric field of `width` bytes: octal where it fits, base 256 otherwise."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return bytes([0x80]) + value.to_bytes(width - 1, "big")


def byte_sum(block: bytes) -> int:
    """The sum of a block's 512 bytes, as a header's checksum has it.

    The lower half of Adler-32 (RFC 1950, 8.2) is one more than the sum modulo 65521, which 256 bytes do not reach: that
    takes a third of the time of adding numbers up.
    """
    return (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
