"""Values of flags that hold several: comma-separated fields with quotes, booleans, numbers. As Go reads them."""

from __future__ import annotations

from typing import Final

from wherry.errors import InvalidInput

__all__ = ["comma_separated", "parse_bool", "unsigned"]

_TRUE: Final = ("1", "t", "T", "TRUE", "true", "True")
_FALSE: Final = ("0", "f", "F", "FALSE", "false", "False")


def parse_bool(text: str) -> bool:
    """A boolean, as Go's ``strconv.ParseBool`` reads it.

    :raises ValueError: it is none.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(text)


def unsigned(text: str, base: int) -> int:
    """A number of 32 bits without a sign.

    :raises ValueError: it is none.
    """
    if not text.isascii() or not text.isalnum() or len(text) > 32:  # Python would take signs, blanks and underscores
        raise ValueError(text)
    number = int(text, base)
    if number >= 1 << 32:
        raise ValueError(text)
    return number


def comma_separated(line: str) -> list[str]:
    """The fields of one line of CSV: a field in double quotes may hold commas, and ``""`` for a quote.

    :raises InvalidInput: quotes are where none may be; in Go's words.
    """
    line = line.removesuffix("\n").removesuffix("\r")
    if not line:
        raise InvalidInput("EOF")
    fields, position = [], 0
    while True:
        if line.startswith('"', position):
            field, position = _quoted(line, position + 1)
        else:
            end = line.find(",", position)
            field, start, position = line[position : end if end >= 0 else None], position, end
            if '"' in field:
                raise _bad(start + field.index('"'), 'bare " in non-quoted field')
            position = len(line) if end < 0 else end
        fields.append(field)
        if position == len(line):
            return fields
        position += 1


def _quoted(line: str, position: int) -> tuple[str, int]:
    """A field behind its opening quote, and the position behind its closing one."""
    pieces = []
    while True:
        end = line.find('"', position)
        if end < 0:
            raise _bad(len(line), 'extraneous or missing " in quoted-field')
        pieces.append(line[position:end])
        if line.startswith('""', end):
            pieces.append('"')
            position = end + 2
        elif end + 1 == len(line) or line[end + 1] == ",":
            return "".join(pieces), end + 1
        else:
            raise _bad(end, 'extraneous or missing " in quoted-field')


def _bad(position: int, message: str) -> InvalidInput:
    return InvalidInput(f"parse error on line 1, column {position + 1}: {message}")
