"""The encoding of Protocol Buffers, as far as criu's messages need it: varints, and bytes with their length.

The page "Encoding" of its documentation describes it. A library for it takes longer to import than criu to start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wherry.errors import CorruptData

__all__ = ["Field", "decode", "encode", "signed"]

#: A field's number, and its value: a number, or bytes, text, or a message's fields.
Field = tuple[int, "int | bool | str | bytes | list[Field]"]

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_LONGEST: Final = 10
_NEGATIVE: Final = 1 << 64


def encode(fields: list[Field]) -> bytes:
    """Return a message's bytes, with its fields in the given order."""
    return b"".join(_encoded(number, value) for number, value in fields)


def _encoded(number: int, value: int | str | bytes | list[Field]) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value % _NEGATIVE)
    if isinstance(value, list):
        value = encode(value)
    data = value.encode(errors="surrogateescape") if isinstance(value, str) else value
    return _varint(number << 3 | _LEN) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def decode(data: bytes) -> dict[int, int | bytes]:
    """Return a message's fields by number; of one that occurs more often, the last.

    :raises CorruptData: that is no message.
    """
    try:
        return dict(_fields(data))
    except IndexError:
        raise CorruptData("a message of criu's ends in the middle") from None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _number(data, place)
            yield key >> 3, value
            continue
        size = {_I64: 8, _I32: 4}.get(kind)
        if kind == _LEN:
            size, place = _number(data, place)
        if size is None:
            raise CorruptData(f"a message of criu's has a field of the unknown kind {kind}")
        if place + size > len(data):
            raise IndexError
        yield key >> 3, data[place : place + size]
        place += size


def _number(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(_LONGEST):
        digit = data[place + count]
        value |= (digit & 0x7F) << 7 * count
        if digit < 0x80:
            return value % _NEGATIVE, place + count + 1
    raise CorruptData("a message of criu's has a number that is too long")


def signed(value: int) -> int:
    """Return what an ``int32`` or ``int64`` stands for."""
    return value - _NEGATIVE if value >> 63 else value
