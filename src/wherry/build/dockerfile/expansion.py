"""Variables in the words of a Dockerfile: ``$name``, ``${name:-word}``, ``${name#pattern}``; quotes, escapes, words.

The rules are those of BuildKit's lexer (``frontend/dockerfile/shell``), which are nearly a shell's. What it takes is
bounded: a word grows by a limit, nests to a depth, and a lexer's patterns share one amount of work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from wherry.build.dockerfile.characters import split_spaces
from wherry.build.dockerfile.globs import GlobWork
from wherry.docker.quoting import quoted
from wherry.errors import InvalidInput

__all__ = ["GROWTH_LIMIT", "Expansion", "Lexer"]

GROWTH_LIMIT: Final = 1 << 20
"""By how many characters a word may grow: eight times what the kernel takes as a variable of the environment."""
_DEPTH_LIMIT: Final = 50
_SHOWN: Final = 200  #: characters of a word in an error
_SPECIAL_PARAMETERS: Final = "@*#?-$!0"
_NOTHING: Final[Mapping[str, str]] = {}


class Expansion(Struct, frozen=True):
    """A word, expanded.

    :param matched: names of the variables that it has and that are set, in order.
    :param unmatched: names of those that are not set, a default in the word or not.
    """

    text: str
    matched: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()


class Lexer:
    """Expands words.

    :param escape: the escape character.
    :param raw_quotes: quotes stay in the result.
    :param raw_escapes: escape characters stay in the result.
    :param process_quotes: whether quotes mean anything (in heredocs they do not).
    :param skip_unset: variables that are not set stay as they were written.
    :param work: bounds what patterns take, for all lexers of a build together; None: for this one alone.
    :param spend: is told how many characters each variable has brought; what it raises ends the expansion.
    """

    def __init__(
        self,
        escape: str = "\\",
        *,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        process_quotes: bool = True,
        skip_unset: bool = False,
        work: GlobWork | None = None,
        spend: Callable[[int], None] | None = None,
    ) -> None:
        self.escape = escape
        self.raw_quotes = raw_quotes
        self.raw_escapes = raw_escapes
        self.process_quotes = process_quotes
        self.skip_unset = skip_unset
        self.work = work or GlobWork()
        self.spend = spend
        special = re.escape("$<" + escape) + ("'\"" if process_quotes else "")
        self.plain = re.compile(f"[^{special}]+")
        self.plain_until = {end: re.compile(f"[^{special}{end}]+") for end in "/}"}
        self.plain_quoted = re.compile(f'[^"$<{re.escape(escape)}]+')

    def word(self, text: str, env: Mapping[str, str]) -> Expansion:
        """Expand a word; spaces within are kept.

        :raises InvalidInput: it is wrong, in BuildKit's words; or more than the bounds allow.
        """
        reading = _Reading(self, text, env)
        return Expansion(reading.whole(_Unsplit()), tuple(reading.matched), tuple(reading.unmatched))

    def words(self, text: str, env: Mapping[str, str] = _NOTHING) -> tuple[str, ...]:
        """Expand, then split at spaces that are not quoted; there are no empty words.

        :raises InvalidInput: as `word`.
        """
        words = _Words()
        _Reading(self, text, env).whole(words)
        return tuple(words.all())


class _Unsplit:
    """Collects nothing."""

    def raw(self, text: str) -> None:
        """Take text that is one word."""

    def split(self, text: str) -> None:
        """Take text that is split at spaces."""

    def all(self) -> list[str]:
        """The words."""
        return []


class _Words(_Unsplit):
    """Collects words: expanded and plain text is split at spaces, quoted text is not."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._current: list[str] = []

    def raw(self, text: str) -> None:
        if text:
            self._current.append(text)

    def split(self, text: str) -> None:
        if text.isalnum():
            self._current.append(text)
            return
        first, *others = split_spaces(text)
        self.raw(first)
        for word in others:
            self._end()
            self.raw(word)

    def _end(self) -> None:
        if self._current:
            self._done.append("".join(self._current))
            self._current.clear()

    def all(self) -> list[str]:
        self._end()
        return self._done


class _Reading:
    """One pass over one word."""

    def __init__(self, lexer: Lexer, text: str, env: Mapping[str, str]) -> None:
        self.lexer = lexer
        self.text = text
        self.env = env
        self.position = 0
        self.depth = 0
        self.room = len(text) + GROWTH_LIMIT
        self.raw_escapes = lexer.raw_escapes
        self.matched: dict[str, None] = {}
        self.unmatched: dict[str, None] = {}

    def whole(self, words: _Unsplit) -> str:
        """The result; its words are collected."""
        try:
            return self._until("", self.raw_escapes, words)
        except InvalidInput as exc:
            shown = self.text if len(self.text) <= _SHOWN else self.text[:_SHOWN] + "..."
            raise InvalidInput(f"failed to process {quoted(shown)}: {exc.message}") from exc

    # --- a piece up to a character ---

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _next(self) -> str:
        character = self._peek()
        self.position += len(character)
        return character

    def _until(self, end: str, raw_escapes: bool, words: _Unsplit) -> str:
        """Everything up to a character, which is left behind, or to the end of the text where it is empty."""
        outer, self.raw_escapes = self.raw_escapes, raw_escapes
        self.depth += 1
        if self.depth > _DEPTH_LIMIT:
            raise InvalidInput("syntax error: bad substitution: nested too deep")
        result: list[str] = []
        while (character := self._peek()) != end:
            if not character:
                raise InvalidInput(f"unexpected end of statement while looking for matching {end}")
            self._piece(character, end, result, words)
        self.position += len(end)
        self.raw_escapes = outer
        self.depth -= 1
        return "".join(result)

    def _piece(self, character: str, end: str, result: list[str], words: _Unsplit) -> None:
        lexer = self.lexer
        if character == "$":
            piece = self._grown(self._dollar())
            words.split(piece)
        elif character == lexer.escape:
            piece = self._escaped()
            words.raw(piece)
        elif character in "'\"" and lexer.process_quotes:
            piece = self._single_quoted() if character == "'" else self._double_quoted()
            words.raw(piece)
        elif character == "<":
            piece = self._angle()
            words.raw(piece)
        else:
            plain = lexer.plain_until[end] if end else lexer.plain
            match = plain.match(self.text, self.position)
            piece = match[0] if match else character
            self.position += len(piece)
            words.split(piece)
        result.append(piece)

    def _grown(self, piece: str) -> str:
        """Take account of what a variable brought."""
        self.room -= len(piece)
        if self.room < 0:
            raise InvalidInput(f"the expansion is more than {GROWTH_LIMIT} characters longer than the word")
        if self.lexer.spend is not None:
            self.lexer.spend(len(piece))
        return piece

    def _escaped(self) -> str:
        """An escape character, and the next one; at the end it means nothing."""
        self.position += 1
        character = self._next()
        return self.lexer.escape + character if self.raw_escapes else character

    def _angle(self) -> str:
        """``<``, or what may begin a heredoc: with the blanks behind it, so that its word is not split off."""
        start = self.position
        self.position += 1
        if self._peek() == "<":
            self.position += 1
            while self._peek() and self._peek() in "\t\r ":
                self.position += 1
        return self.text[start : self.position]

    # --- quotes ---

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            raise InvalidInput("unexpected end of statement while looking for matching single-quote")
        piece = self.text[self.position : end + 1]
        self.position = end + 1
        return piece if self.lexer.raw_quotes else piece[1:-1]

    def _double_quoted(self) -> str:
        quote = '"' if self.lexer.raw_quotes else ""
        pieces = [quote]
        self.position += 1
        while (character := self._peek()) != '"':
            if not character:
                raise InvalidInput("unexpected end of statement while looking for matching double-quote")
            if character == "$":
                pieces.append(self._grown(self._dollar()))
            elif character == self.lexer.escape:
                pieces.append(self._escaped_in_quotes())
            else:
                match = self.lexer.plain_quoted.match(self.text, self.position)
                pieces.append(match[0] if match else character)
                self.position += len(pieces[-1])
        self.position += 1
        return "".join(pieces) + quote

    def _escaped_in_quotes(self) -> str:
        """Only quotes, dollars and the escape character itself can be escaped in double quotes."""
        escape = self._next()
        following = self._peek()
        if following and following in ('"', "$", escape):
            self.position += 1
            return escape + following if self.raw_escapes else following
        if not following:  # at the end of the text
            return escape if self.raw_escapes else ""
        return escape * 2 if self.raw_escapes else escape

    # --- variables ---

    def _dollar(self) -> str:
        self.position += 1
        if self._peek() != "{":
            return self._bare()
        self.position += 1
        if not self._peek():
            raise InvalidInput("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise InvalidInput("syntax error: bad substitution")
        name = self._name()
        modifier = self._next()
        if modifier == "}":
            value = self._value(name)
            return f"${{{name}}}" if value is None and self.lexer.skip_unset else value or ""
        if modifier == "/":
            return self._replaced(name)
        if modifier == ":":
            return self._modified(name, self._next(), empty_is_unset=True)
        if modifier and modifier in "+-?#%":
            return self._modified(name, modifier, empty_is_unset=False)
        raise _unsupported(modifier)

    def _bare(self) -> str:
        name = self._name()
        if not name:
            return "$"
        value = self._value(name)
        return f"${name}" if value is None and self.lexer.skip_unset else value or ""

    def _name(self) -> str:
        start = self.position
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self.position += 1
        elif first and first in _SPECIAL_PARAMETERS:
            self.position += 1
        else:
            while (character := self._peek()) and (character.isalpha() or character.isdecimal() or character == "_"):
                self.position += 1
        return self.text[start : self.position]

    def _value(self, name: str) -> str | None:
        value = self.env.get(name)
        (self.unmatched if value is None else self.matched)[name] = None
        return value

    def _word(self, end: str, raw_escapes: bool, missing: str) -> str:
        try:
            return self._until(end, raw_escapes, _Unsplit())
        except InvalidInput:
            if not self._peek():
                raise InvalidInput(missing) from None
            raise

    def _modified(self, name: str, modifier: str, *, empty_is_unset: bool) -> str:
        shown = ":" * empty_is_unset + modifier
        is_pattern = modifier in ("#", "%")
        if empty_is_unset and is_pattern:
            raise _unsupported(shown)
        word = self._word("}", is_pattern, "syntax error: missing '}'")
        value = self._value(name)
        if value is None and self.lexer.skip_unset:
            return f"${{{name}{shown}{word}}}"
        is_set = value is not None and not (empty_is_unset and value == "")
        if modifier == "-":
            return value or "" if is_set else word
        if modifier == "+":
            return word if is_set else ""
        if modifier == "?":
            return value or "" if is_set else self._missing(name, word, value)
        if is_pattern:
            greedy = word.startswith(modifier)
            pattern = word[1:] if greedy else word
            return self.lexer.work.without(value or "", pattern, greedy=greedy, suffix=modifier == "%")
        raise _unsupported(shown)

    def _missing(self, name: str, message: str, value: str | None) -> str:
        state = "unset" if value is None else "empty"
        raise InvalidInput(f"{name}: {message or f'is not allowed to be {state}'}")

    def _replaced(self, name: str) -> str:
        every = self._peek() == "/"
        self.position += every
        pattern = self._word("/", True, "syntax error: missing '/' in ${}")
        replacement = self._word("}", True, "syntax error: missing '}'")
        value = self._value(name)
        if value is None and self.lexer.skip_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        return self.lexer.work.replaced(value or "", pattern, replacement, every=every, limit=self.room)


def _unsupported(modifier: str) -> InvalidInput:
    return InvalidInput(f"unsupported modifier ({modifier}) in substitution")
