"""White space as Go has it, which differs from Python's in some characters."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["SPACE", "is_space", "split_spaces", "strip"]

SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Go's ``unicode.IsSpace``, as the inside of a regular expression's set."""

_SPACES: Final = "".join(
    chr(number) for number in (*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F)
) + "\u205f\u3000"  # fmt: skip
_BETWEEN: Final = re.compile(f"[{SPACE}]+")


def is_space(character: str) -> bool:
    """Whether a character is white space."""
    return character in _SPACES


def strip(text: str) -> str:
    """Without white space at both ends."""
    return text.strip(_SPACES)


def split_spaces(text: str, times: int = 0) -> list[str]:
    """Split at white space; there may be empty words at both ends. `times`: how often at most, 0: everywhere."""
    return _BETWEEN.split(text, times)
