"""What was probably meant: the known word that is nearest to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["did_you_mean", "nearest"]

_NEAR: Final = 3
"""Changes that are too many (as in BuildKit)."""


def nearest(word: str, known: Iterable[str], *, case_sensitive: bool = True) -> str:
    """The known word that differs in the fewest letters, at most two; empty: there is none, or it is the word itself.

    Where case makes no difference, the answer has the word's.
    """
    sought = word if case_sensitive else word.lower()
    found, distance = "", _NEAR
    for option in known:
        candidate = option if case_sensitive else option.lower()
        if candidate == sought:
            return ""
        if (changes := _distance(sought, candidate, distance)) < distance:
            found, distance = candidate, changes
    return found if case_sensitive else _in_case_of(found, word)


def did_you_mean(message: str, word: str, known: Iterable[str], *, case_sensitive: bool = True) -> str:
    """A message with a suggestion, if there is one."""
    found = nearest(word, known, case_sensitive=case_sensitive)
    return f"{message} (did you mean {found}?)" if found else message


def _in_case_of(found: str, word: str) -> str:
    return found.upper() if word == word.upper() and word != word.lower() else found


def _distance(left: str, right: str, limit: int) -> int:
    """Levenshtein's distance, or any number from `limit` on: the time is that of the shorter word."""
    if abs(len(left) - len(right)) >= limit:
        return limit
    row = list(range(len(right) + 1))
    for number, letter in enumerate(left, 1):
        previous, row[0] = row[0], number
        best = number
        first, last = max(1, number - limit), min(len(right), number + limit)
        if first > 1:
            previous, row[first - 1] = row[first - 1], number
        for column in range(first, last + 1):
            above = row[column] if column < number + limit else limit
            row[column], previous = min(above + 1, row[column - 1] + 1, previous + (letter != right[column - 1])), above
            best = min(best, row[column])
        if best >= limit:
            return limit
    return row[len(right)]
