"""Text in quotes, as Docker's messages have it."""

from __future__ import annotations

from typing import Final

__all__ = ["quoted"]

_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\"
}  # fmt: skip


def quoted(text: str) -> str:
    """In double quotes, as Go's ``%q``."""
    return '"' + "".join(map(_shown, text)) + '"'


def _shown(character: str) -> str:
    if known := _ESCAPES.get(character):
        return known
    if character == " " or character.isprintable():
        return character
    number = ord(character)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
