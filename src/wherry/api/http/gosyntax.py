"""JSON syntax errors in the words of Go's `encoding/json`: people search for them, and clients pass them on.

Only asked for when a text has been found to be none, so it may take its time; but it keeps no stack of Python's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[], "Step | None"]  # what is looked at next

__all__ = ["fault"]

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_DIGITS: Final = re.compile(r"[0-9]*")
_DECIMAL: Final = frozenset("0123456789")
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_CLOSING: Final = {"{": "}", "[": "]"}
_AFTER: Final = {"{": "after object key:value pair", "[": "after array element"}
_LITERALS: Final = {"t": "true", "f": "false", "n": "null"}
_SHOWN: Final = {"'": r"\'", "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v",
                 "\\": r"\\"}  # fmt: skip
_DEPTH: Final = 10_000  #: of Go's decoder


class _Fault(Exception):
    """Where a text ends to be JSON."""


def fault(data: bytes) -> str:
    """Return the sentence for what could not be read.

    Like Go's it is about bytes, of which a letter can have several.
    """
    scanner = _Scanner(data.decode("latin-1"))
    try:
        scanner.scan()
    except _Fault as found:
        return str(found)
    return "unexpected content after JSON" if scanner.has_more() else too_deep()


def too_deep() -> str:
    """Return the sentence for what is nested deeper than it is read."""
    return "invalid JSON: exceeded max depth"


class _Scanner:
    """Walks over one value of JSON; what compound values are open is in a list."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[str] = []

    def scan(self) -> None:
        """Find the end of the first value.

        :raises _Fault: there is none.
        """
        if not self.has_more():
            raise _Fault("invalid JSON: got EOF while reading request body")
        step: Step | None = self._value
        while step:
            step = step()

    def has_more(self) -> bool:
        """Whether anything follows but space."""
        self._at = self._end_of(_SPACE)
        return self._at < len(self._text)

    # --- steps; each returns the next one, or None at the end of the value

    def _value(self) -> Step:
        character = self._next()
        if character in _CLOSING:
            return self._begin(character)
        if character == '"':
            self._string()
        elif character in _LITERALS:
            self._literal(_LITERALS[character])
        elif character in "-0123456789":
            self._number(character)
        else:
            raise self._unexpected("looking for beginning of value")
        return self._after

    def _begin(self, character: str) -> Step:
        self._open.append(character)
        if len(self._open) > _DEPTH:
            raise self._unexpected("exceeded max depth")
        if self.has_more() and self._text[self._at] == _CLOSING[character]:
            return self._after
        return self._member if character == "{" else self._value

    def _member(self) -> Step:
        if self._next() != '"':
            raise self._unexpected("looking for beginning of object key string")
        self._string()
        if self._next() != ":":
            raise self._unexpected("after object key")
        return self._value

    def _after(self) -> Step | None:
        if not self._open:
            return None
        character, around = self._next(), self._open[-1]
        if character == _CLOSING[around]:
            self._open.pop()
            return self._after
        if character != ",":
            raise self._unexpected(_AFTER[around])
        return self._member if around == "{" else self._value

    # --- simple values; their first character has been taken

    def _string(self) -> None:
        while True:
            self._at = self._end_of(_PLAIN)
            character = self._take()
            if character == '"':
                return
            if character != "\\":
                raise self._unexpected("in string literal")
            escape = self._take()
            if escape == "u":
                self._expect(_HEX, 4, "in \\u hexadecimal character escape")
            elif escape not in '"\\/bfnrt':
                raise self._unexpected("in string escape code")

    def _literal(self, word: str) -> None:
        for expected in word[1:]:
            self._expect(frozenset(expected), 1, f"in literal {word} (expecting '{expected}')")

    def _number(self, first: str) -> None:
        if first == "-":
            first = self._expect(_DECIMAL, 1, "in numeric literal")
        if first != "0":
            self._at = self._end_of(_DIGITS)
        if self._peek() == ".":
            self._at += 1
            self._expect(_DECIMAL, 1, "after decimal point in numeric literal")
            self._at = self._end_of(_DIGITS)
        if self._peek() in ("e", "E"):
            self._at += 1
            self._at += self._peek() in ("+", "-")
            self._expect(_DECIMAL, 1, "in exponent of numeric literal")
            self._at = self._end_of(_DIGITS)

    # --- characters

    def _end_of(self, run: re.Pattern[str]) -> int:
        match = run.match(self._text, self._at)
        return match.end() if match else self._at

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        self._at = self._end_of(_SPACE)
        return self._take()

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise _Fault("invalid JSON: unexpected EOF")
        self._at += 1
        return self._text[self._at - 1]

    def _expect(self, allowed: frozenset[str], times: int, where: str) -> str:
        character = ""
        for _ in range(times):
            character = self._take()
            if character not in allowed:
                raise self._unexpected(where)
        return character

    def _unexpected(self, where: str) -> _Fault:
        character = self._text[self._at - 1]
        shown = _SHOWN.get(character) or (character if character.isprintable() else _coded(character))
        return _Fault(f"invalid JSON: invalid character '{shown}' {where}")


def _coded(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
