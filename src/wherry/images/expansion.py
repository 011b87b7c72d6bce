"""Expansion of Dockerfile words: quotes, escapes and variables, as the builder does it.

``$NAME``, ``${NAME}``, ``${NAME:-other}``, ``${NAME:+other}``, both without the colon, ``${NAME:?complaint}``; not in
single quotes, and not behind a backslash (Dockerfile reference, "Environment replacement").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from wherry.errors import InvalidInput, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["expand", "expand_words"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
_LONGEST: Final = 1 << 20  # characters: a variable of itself twice doubles with every instruction
_DEEPEST: Final = 16


def expand(word: str, variables: Mapping[str, str]) -> str:
    """One word, without its quotes and with the values of its variables.

    :raises InvalidInput: something is not closed, or a variable that has to be there is not.
    :raises TooLarge: it becomes too long.
    """
    return _Reader(word, variables).whole()


def expand_words(text: str, variables: Mapping[str, str]) -> list[str]:
    """Several words; a variable's value may be several as well."""
    words = re.findall(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*'|["'\\])+""", text)
    return [part for word in words for part in expand(word, variables).split()]


class _Reader:
    """One word, read from its left to its right."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self._text = text
        self._variables = variables
        self._at = 0
        self._made = 0  # characters that came from variables

    def whole(self) -> str:
        return self._until("", 0)

    def _until(self, end: str, depth: int) -> str:
        """Up to a character that is not quoted; up to the text's end without one."""
        if depth > _DEEPEST:
            raise InvalidInput("variables are nested too deeply")
        found: list[str] = []
        while self._at < len(self._text):
            letter = self._next()
            if letter == end:
                return "".join(found)
            found.append(self._piece(letter, depth))
        if end:
            raise InvalidInput(f"syntax error: missing {end!r} in {self._text[:100]!r}")
        return "".join(found)

    def _piece(self, letter: str, depth: int) -> str:
        if letter == "'":
            return self._literal()
        if letter == '"':
            return self._double(depth)
        if letter == "\\":
            return self._next()
        return self._variable(depth) if letter == "$" else letter

    def _next(self) -> str:
        letter = self._text[self._at : self._at + 1]
        self._at += 1
        return letter

    def _literal(self) -> str:
        end = self._text.find("'", self._at)
        end = len(self._text) if end < 0 else end
        found, self._at = self._text[self._at : end], end + 1
        return found

    def _double(self, depth: int) -> str:
        found = []
        while (letter := self._next()) not in ("", '"'):
            if letter == "\\":
                after = self._next()
                found.append(after if after in ('"', "\\", "$") else letter + after)
            else:
                found.append(self._variable(depth) if letter == "$" else letter)
        return "".join(found)

    def _variable(self, depth: int) -> str:
        """Expand the variable after a dollar sign."""
        braced = self._text[self._at : self._at + 1] == "{"
        match = _NAME.match(self._text, self._at + braced)
        if match is None:
            if braced:
                raise InvalidInput(f"syntax error: bad substitution in {self._text[:100]!r}")
            return "$"
        self._at = match.end()
        value = self._variables.get(match[0])
        self._made += len(value or "")
        if self._made > _LONGEST:
            raise TooLarge(f"what variables make is longer than {_LONGEST} characters")
        return self._modified(match[0], value, depth) if braced else value or ""

    def _modified(self, name: str, value: str | None, depth: int) -> str:
        """The rest of what stands in braces."""
        letter = self._next()
        if letter == "}":
            return value or ""
        empty_counts = letter != ":"
        kind = letter if empty_counts else self._next()
        if kind not in ("-", "+", "?") or not kind:
            raise InvalidInput(f"unsupported modifier ({letter}{kind if not empty_counts else ''}) in substitution")
        other = self._until("}", depth + 1)
        is_there = value is not None and (empty_counts or value != "")
        if kind == "?" and not is_there:
            raise InvalidInput(f"{name}: {other or 'not set'}")
        if kind == "+":
            return other if is_there else ""
        return (value or "") if is_there else other
