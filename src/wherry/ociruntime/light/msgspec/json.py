"""JSON, read into values with types, and written."""

from __future__ import annotations

import json as plain

from msgspec.values import DecodeError, convert, to_builtins

__all__ = ["Decoder", "Encoder", "decode", "encode"]


def decode(data, *, type=None):
    """Read JSON.

    :raises DecodeError: it is none, or of another type.
    """
    try:
        value = plain.loads(data)
    except UnicodeDecodeError:
        raise DecodeError("JSON is malformed: invalid utf-8") from None
    except ValueError as error:
        raise DecodeError(str(error)) from None
    return value if type is None else convert(value, type)


def encode(value):
    """Write JSON."""
    return plain.dumps(to_builtins(value)).encode()


class Decoder:
    """Reads values of one type."""

    def __init__(self, type):
        self._type = type

    def decode(self, data):
        """Read one."""
        return decode(data, type=self._type)


class Encoder:
    """Writes values."""

    def encode(self, value):
        """Write one."""
        return encode(value)
