r"""Patterns within ``${}``: ``*`` and ``?``, and ``\`` before what is meant as it is. In linear time, by RE2."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any, Final

from wherry.errors import InvalidInput

__all__ = ["WORK_LIMIT", "GlobWork"]

WORK_LIMIT: Final = 1 << 27
"""Characters of texts times characters of patterns."""
_PATTERN_LIMIT: Final = 4096


class GlobWork:
    """Matches patterns, until all together would take too long. Several threads may share one."""

    def __init__(self) -> None:
        self._left = WORK_LIMIT
        self._lock = Lock()

    def without(self, text: str, pattern: str, *, greedy: bool, suffix: bool) -> str:
        """A text without what a pattern matches at its beginning, or at its end.

        :param greedy: the longest match, not the shortest.
        :raises InvalidInput: the pattern is wrong, or it is too much.
        """
        self._spend(text, pattern)
        if suffix:  # the shortest match at an end is not to be had from an expression: both are turned around
            return _without(text[::-1], _reversed(pattern), greedy)[::-1]
        return _without(text, pattern, greedy)

    def replaced(self, text: str, pattern: str, replacement: str, *, every: bool, limit: int) -> str:
        """A text with a replacement for the first match of a pattern, or for every one.

        :param limit: characters that the result may have.
        :raises InvalidInput: as `without`.
        """
        self._spend(text, pattern)
        data = text.encode()
        pieces: list[bytes] = []
        size, position, previous_end = len(data), 0, -1
        for match in _compiled(pattern, True, False).finditer(data):
            start, end = match.span()
            if start == end == previous_end:  # nothing, right behind something: Go passes over it
                continue
            size += len(replacement) - (end - start)
            if size > limit:
                raise InvalidInput("the expansion is too long")
            pieces += (data[position:start], replacement.encode())
            position = previous_end = end
            if not every:
                break
        pieces.append(data[position:])
        return b"".join(pieces).decode(errors="replace")

    def _spend(self, text: str, pattern: str) -> None:
        with self._lock:
            self._left -= (len(text) + 64) * (len(pattern) + 1)  # with something for the compilation
            left = self._left
        if left < 0:
            raise InvalidInput("patterns in substitutions take too long")


def _without(text: str, pattern: str, greedy: bool) -> str:
    data = text.encode()
    match = _compiled(pattern, greedy, True).search(data)
    return data[match.end() :].decode(errors="replace") if match else text


def _reversed(pattern: str) -> str:
    """A pattern backwards; an escape stays before what it escapes."""
    pieces = []
    position = 0
    while position < len(pattern):
        length = 2 if pattern[position] == "\\" and position + 1 < len(pattern) else 1
        pieces.append(pattern[position : position + length])
        position += length
    return "".join(reversed(pieces))


@lru_cache(maxsize=64)
def _compiled(pattern: str, greedy: bool, anchored: bool) -> Any:
    if len(pattern) > _PATTERN_LIMIT:
        raise _invalid(pattern[:64] + "...", f"it is longer than {_PATTERN_LIMIT} characters")
    import re2  # noqa: PLC0415 - 5 ms and 3 MB, for what few use

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(("^" * anchored + _expression(pattern, greedy)).encode(), options)
    except re2.error as exc:
        raise _invalid(pattern, str(exc.args[0])) from exc
    finally:
        re2.purge()  # it would keep the last 128, each with its automaton


def _expression(pattern: str, greedy: bool) -> str:
    pieces = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "\\":
            following = pattern[position : position + 1]
            if following not in ("}", "/"):  # those are escaped for the sake of the braces, not of the pattern
                if following not in ("*", "?", "\\"):
                    raise _invalid(pattern, f"invalid escape '\\{following}'")
                pieces.append("\\" + following)
                position += 1
        elif character == "*":
            pieces.append(".*" if greedy else ".*?")
        elif character == "?":
            pieces.append(".")
        else:
            pieces.append("\\" + character if character in "[]{}.+()|^$" else character)
    return "".join(pieces)


def _invalid(pattern: str, reason: str) -> InvalidInput:
    return InvalidInput(f"invalid pattern ({pattern}) in substitution: {reason}")
