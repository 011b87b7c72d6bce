"""The lexer: from a template's text to tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from wherry.docker.gotemplate.errors import TemplateError

__all__ = ["Token", "tokens"]


class Token(NamedTuple):
    """One token.

    :ivar kind: ``"text"``, ``"open"``, ``"close"``, ``"space"``, or what it is inside an action.
    :ivar text: as it stands in the template.
    :ivar line, column: where it begins; lines count from 1, columns from 0, as in Go's messages.
    """

    kind: str
    text: str
    line: int
    column: int


_INSIDE = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<raw>`[^`]*`)
  | (?P<char>'(?:[^'\\\n]|\\.[^']*)')
  | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
      |(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))
  | (?P<field>\.[^\W\d]\w*)
  | (?P<dot>\.)
  | (?P<variable>\$\w*)
  | (?P<name>[^\W\d]\w*)
  | (?P<declare>:=)
  | (?P<assign>=)
  | (?P<pipe>\|)
  | (?P<comma>,)
  | (?P<left>\()
  | (?P<right>\))
    """,
    re.VERBOSE,
)
_COMMENT = re.compile(r"\{\{(- )?\s*/\*.*?\*/\s*( -)?\}\}", re.DOTALL)
_TRIM_LEFT = re.compile(r"\{\{-(?=[ \t\r\n])")
_TRIM_RIGHT = re.compile(r"[ \t\r\n]-\}\}")
_BLANK = " \t\r\n"


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._trim = False
        self._counted = 0
        self._line, self._line_start = 1, 0

    def _token(self, kind: str, text: str, at: int) -> Token:
        # tokens come in order, so that no part of the text is looked through twice for its lines
        self._line += self._text.count("\n", self._counted, at)
        self._line_start = max(self._line_start, self._text.rfind("\n", self._counted, at) + 1)
        self._counted = at
        return Token(kind, text, self._line, at - self._line_start)

    def error(self, message: str, at: int) -> TemplateError:
        return TemplateError(f"template: :{self._text[:at].count(chr(10)) + 1}: {message}")

    def run(self) -> Iterator[Token]:
        while self._at < len(self._text):
            start = self._text.find("{{", self._at)
            yield from self._plain(len(self._text) if start < 0 else start)
            if start < 0:
                return
            comment = _COMMENT.match(self._text, start)
            if comment:
                self._at = comment.end()
                self._trim = bool(comment.group(2))
                continue
            yield from self._action(start)

    def _plain(self, end: int) -> Iterator[Token]:
        text = self._text[self._at : end]
        at = self._at
        if self._trim:
            text = text.lstrip(_BLANK)
        if _TRIM_LEFT.match(self._text, end):
            text = text.rstrip(_BLANK)
        self._at, self._trim = end, False
        if text:
            yield self._token("text", text, at)

    def _action(self, start: int) -> Iterator[Token]:
        self._at = start + (3 if _TRIM_LEFT.match(self._text, start) else 2)
        yield self._token("open", "{{", start)
        while not self._close():
            found = _INSIDE.match(self._text, self._at)
            if found is None:
                raise self._unexpected(start)
            yield self._token(str(found.lastgroup), found.group(), self._at)
            self._at = found.end()
        yield self._token("close", "}}", self._at)

    def _close(self) -> bool:
        trimmed = _TRIM_RIGHT.match(self._text, self._at)
        if trimmed:
            self._at, self._trim = trimmed.end(), True
            return True
        if self._text.startswith("}}", self._at):
            self._at += 2
            return True
        return False

    def _unexpected(self, start: int) -> TemplateError:
        rest = self._text[self._at : self._at + 1]
        if not rest:
            return self.error("unclosed action", start)
        if rest in "\"'`":
            return self.error("unterminated quoted string", self._at)
        return self.error(f"unexpected {rest!r} in operand", self._at)


def tokens(text: str) -> Iterator[Token]:
    """Split a template into tokens.

    :raises TemplateError: an action or a string in it has no end, or there is a character that means nothing.
    """
    return _Lexer(text).run()
