r"""Patterns of paths, as .dockerignore has them: ``*``, ``?``, ``[a-z]``, ``**`` over directories, ``!`` takes back.

A path matches when the last pattern that matches it, or a directory above it, is not one with ``!``. The rules are
moby/patternmatcher's. Patterns come from clients: they are bounded, and matched in linear time, by RE2; literal ones,
which most are, without it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from wherry.errors import InvalidInput

__all__ = ["NO_MATCH", "Pattern", "PatternMatcher", "parse_ignore_file"]

NO_MATCH: Final = -1
"""The state of a path that no pattern has to do with; also that of the root."""
_COUNT_LIMIT: Final = 10_000  #: patterns of a matcher
_SIZE_LIMIT: Final = 1 << 20  #: characters of them together
_LENGTH_LIMIT: Final = 4096  #: characters of a pattern, like those of a path
_WILDCARDS_EACH: Final = 64
_WILDCARDS_LIMIT: Final = 30_000
_LINE_LIMIT: Final = 65_536
_EXPRESSION_LIMIT: Final = 16_384  #: characters of patterns that are compiled as one
_SHOWN: Final = 200  #: characters of one that is wrong
_DEEP: Final = 32  #: components of directories below which anything is held possible


def parse_ignore_file(data: bytes) -> list[str]:
    """The patterns of a .dockerignore file.

    :raises InvalidInput: a line is too long, or there are more patterns than a `PatternMatcher` takes.
    """
    patterns: list[str] = []
    for line in data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").split("\n"):
        if len(line) >= _LINE_LIMIT:
            raise InvalidInput("a line of the .dockerignore file is too long")
        if line.startswith("#") or not line.strip():
            continue
        text = line.strip()
        inverts = text.startswith("!")
        text = text[inverts:].strip()
        if text:
            text = _cleaned(text)
            text = text[1:] if text.startswith("/") and len(text) > 1 else text
        if len(patterns) == _COUNT_LIMIT:
            raise InvalidInput(f"too many patterns: {_COUNT_LIMIT} are the most")
        patterns.append("!" * inverts + text)
    return patterns


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, cleaned; `inverts`: it had an exclamation mark, which `text` has no more."""

    text: str
    inverts: bool = False


class PatternMatcher:
    """Matches paths with slashes, relative to the root that the patterns are for.

    A walk keeps the *state* of each directory, a number, and asks for those of what is in it: so no directory is
    looked at again for each of its files. The root's state is `NO_MATCH`.

    :param patterns: as they were written; empty ones are left out.
    :raises InvalidInput: one is wrong, in Go's words, or they are too many.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns: Final = tuple(_patterns(patterns))
        self._groups: Final = _groups(self.patterns)

    @property
    def has_inverting(self) -> bool:
        """Whether one of the patterns has an exclamation mark."""
        return any(pattern.inverts for pattern in self.patterns)

    def state(self, path: str, directory: int) -> int:
        """The state of a path.

        :param directory: the state of the directory that it is in.
        """
        groups = self._groups
        for number in range(len(groups) - 1, directory, -1):
            if groups[number].matches(path):
                return number
        return directory

    def is_match(self, state: int) -> bool:
        """Whether a path of that state matches."""
        return state >= 0 and not self._groups[state].inverts

    def matches(self, path: str) -> bool:
        """Whether a path matches; the directories above it are looked at, too."""
        state, end = NO_MATCH, path.find("/")
        while end >= 0:
            state = self.state(path[:end], state)
            end = path.find("/", end + 1)
        return self.is_match(self.state(path, state))

    def may_change_below(self, directory: str, state: int) -> bool:
        """Whether anything below a directory may match otherwise than the directory itself.

        If not, a walk need not go into it: into one that is excluded, or not included.

        :param directory: its path; empty: the root.
        :param state: its state.
        """
        is_match = self.is_match(state)
        return any(
            group.inverts == is_match and group.may_match_below(directory) for group in self._groups[state + 1 :]
        )


# --- groups ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Group:
    """Patterns in a row that all invert, or all do not: which of them matches makes no difference."""

    inverts: bool
    literals: set[str] = field(default_factory=set)
    prefixes: list[str] = field(default_factory=list)
    suffixes: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    parents: set[str] = field(default_factory=set)  #: directories that a literal pattern leads through
    openings: list[str] = field(default_factory=list)  #: expressions of directories that another one leads through
    reaches_everywhere: bool = False
    _starts: tuple[str, ...] | None = None
    _ends: tuple[str, ...] = ()
    _matching: list[Any] | None = None
    _opening: list[Any] | None = None

    def matches(self, path: str) -> bool:
        """Whether one of the patterns matches the path itself."""
        if path in self.literals:
            return True
        if self._matching is None:
            self._compile()
        if self._starts and path.startswith(self._starts):
            return True
        if self._ends and path.endswith(self._ends):
            return True
        return bool(self._matching) and _any_fits(self._matching, path)

    def may_match_below(self, directory: str) -> bool:
        """Whether one of the patterns may match something below a directory; true, if in doubt."""
        if self.reaches_everywhere or not directory or directory in self.parents or directory.count("/") >= _DEEP - 1:
            return True
        if self._opening is None:
            self._opening = _compiled(self.openings)
        return _any_fits(self._opening, directory)

    def add(self, text: str) -> None:
        """Take one more pattern."""
        kind, rest = _kind(text)
        getattr(self, kind).append(rest) if kind != "literals" else self.literals.add(rest)
        if kind == "suffixes" and rest.startswith("/"):
            self.literals.add(rest[1:])
        self._add_parents(text, is_literal=kind == "literals")

    def _compile(self) -> None:
        self._starts, self._ends = tuple(self.prefixes), tuple(self.suffixes)
        self._matching = _compiled([_expression(text) for text in self.others])

    def _add_parents(self, text: str, *, is_literal: bool) -> None:
        components = text.split("/", _DEEP + 1)[: _DEEP + 1]
        if is_literal:
            self.parents.update("/".join(components[:count]) for count in range(1, len(components)))
            return
        pieces, closing = [], 0
        for number, component in enumerate(components):
            is_open = "**" in component or "[" in component or "\\" in component  # the latter two may hide slashes
            if is_open and number == 0:
                self.reaches_everywhere = True
                return
            if is_open or number == len(components) - 1:
                if is_open:
                    pieces.append("(?:/(?s:.*))?")
                break
            pieces.append(("(?:/" if number else "") + _expression(component))
            closing += number > 0
        if pieces:
            self.openings.append("".join(pieces) + ")?" * closing)


def _patterns(texts: Iterable[str]) -> Iterable[Pattern]:
    count = size = wildcards = 0
    for text in texts:
        count, size = count + 1, size + len(text)
        wildcards += _wildcards(text)
        if count > _COUNT_LIMIT or size > _SIZE_LIMIT or wildcards > _WILDCARDS_LIMIT:
            raise InvalidInput("too many patterns")
        if pattern := _pattern(text):
            yield pattern


def _pattern(text: str) -> Pattern | None:
    text = text.strip()
    if not text:
        return None
    inverts = text.startswith("!")
    text = text[inverts:].strip()
    if not text:
        raise InvalidInput('illegal exclusion pattern: "!"')
    cleaned = _cleaned(text)
    try:
        _check(cleaned)
    except InvalidInput as exc:
        raise InvalidInput(f'{exc.message} "{text[:_SHOWN]}"') from exc
    return Pattern(cleaned, inverts)


def _wildcards(text: str) -> int:
    """How many wildcards a pattern has: with their number grows what a path takes."""
    if len(text) > _LENGTH_LIMIT:
        raise InvalidInput(f"a pattern is longer than {_LENGTH_LIMIT} characters")
    count = sum(map(text.count, "*?["))
    if count > _WILDCARDS_EACH:
        raise InvalidInput(f"a pattern has more than {_WILDCARDS_EACH} wildcards")
    return count


def _cleaned(path: str) -> str:
    """Go's ``filepath.Clean``, which knows no path that begins with two slashes."""
    path = posixpath.normpath(path)
    return path[1:] if path.startswith("//") else path


def _groups(patterns: Iterable[Pattern]) -> tuple[_Group, ...]:
    groups: list[_Group] = []
    for pattern in patterns:
        if not groups or groups[-1].inverts != pattern.inverts:
            groups.append(_Group(pattern.inverts))
        groups[-1].add(pattern.text)
    return tuple(groups)


# --- one pattern ----------------------------------------------------------------------------------


def _kind(text: str) -> tuple[str, str]:
    """Where in a group a pattern belongs, and what of it."""
    if not any(letter in text for letter in "*?[]\\"):
        return "literals", text
    inner = text.strip("*")
    if not any(letter in inner for letter in "*?[]\\"):
        if text == inner + "**":
            return "prefixes", inner
        if text == "**" + inner:
            return "suffixes", inner
    return "others", text


def _check(text: str) -> None:
    """Go's ``filepath.Match`` says whether it is a pattern.

    :raises InvalidInput: it is none.
    """
    position = 0
    while position < len(text):
        if text[position] == "[":
            _, position = _set(text, position + 1)
        elif text[position] == "\\":
            _, position = _character(text, position)
        else:
            position += 1


def _expression(text: str) -> str:
    """A pattern as a regular expression."""
    pieces = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "*" and text.startswith("*", position):
            position += 1
            position += text.startswith("/", position)
            pieces.append("(?s:.*)" if position == len(text) else "(?:(?s:.*)/)?")
        elif character in "*?":
            pieces.append("[^/]*" if character == "*" else "[^/]")
        elif character == "[":
            piece, position = _set(text, position)
            pieces.append(piece)
        elif character == "\\":
            character, position = _character(text, position - 1)
            pieces.append(_code(character))
        else:
            pieces.append(character if character.isalnum() or character in "/_- " else _code(character))
    return "".join(pieces)


def _set(text: str, position: int) -> tuple[str, int]:
    """A set of characters, and the position behind it."""
    negated = text.startswith("^", position)
    position += negated
    ranges = ""
    while not ranges or not text.startswith("]", position):
        low, position = _end_of_range(text, position)
        high = low
        if text.startswith("-", position):
            high, position = _end_of_range(text, position + 1)
        ranges += f"{_code(low)}-{_code(high)}" if low <= high else _code("\0")
    return f"[{'^' * negated}{ranges}]", position + 1


def _end_of_range(text: str, position: int) -> tuple[str, int]:
    if text[position : position + 1] in ("-", "]"):
        raise _no_pattern()
    return _character(text, position)


def _character(text: str, position: int) -> tuple[str, int]:
    """A character, escaped or not, and the position behind it."""
    position += text.startswith("\\", position)
    if position >= len(text):
        raise _no_pattern()
    return text[position], position + 1


def _no_pattern() -> InvalidInput:
    return InvalidInput("syntax error in pattern")


def _code(character: str) -> str:
    return f"\\x{{{ord(character) if not 0xD800 <= ord(character) < 0xE000 else 0x3F:x}}}"


# --- expressions ----------------------------------------------------------------------------------


def _any_fits(expressions: list[Any] | None, path: str) -> bool:
    data = path.encode(errors="replace")
    return any(expression.fullmatch(data) is not None for expression in expressions or ())


def _compiled(expressions: list[str]) -> list[Any]:
    """As few as possible, as each is asked about each path."""
    joined: list[list[str]] = []
    room = 0
    for expression in dict.fromkeys(expressions):
        room -= len(expression)
        if room < 0:
            joined.append([])
            room = _EXPRESSION_LIMIT - len(expression)
        joined[-1].append(f"(?:{expression})")
    return [_re2_compiled("|".join(several)) for several in joined]


def _re2_compiled(expression: str) -> Any:
    import re2  # noqa: PLC0415 - 5 ms and 3 MB, for patterns that are not plain

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 64 << 20
    try:
        return re2.compile(expression.encode(errors="replace"), options)
    except re2.error as exc:
        raise InvalidInput("syntax error in pattern") from exc
    finally:
        re2.purge()  # it would keep the last 128, each with its automaton
