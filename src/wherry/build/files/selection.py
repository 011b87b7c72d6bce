"""Which files below a source an operation takes: include and exclude patterns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from wherry.build.model.patterns import NO_MATCH, PatternMatcher

__all__ = ["ALL", "TOP", "Selection", "States", "Verdict"]

States = tuple[int, int]
"""What the patterns have to say of a directory, for what is in it."""

#: Of a source itself, which is always taken.
TOP: Final = (NO_MATCH, NO_MATCH)


class Verdict(NamedTuple):
    """About one path.

    :param taken: it is taken.
    :param entered: where it is a directory: something below it may be taken.
    :param below: for `Selection.judge` of what is in it.
    """

    taken: bool
    entered: bool
    below: States


_TAKEN: Final = Verdict(True, True, TOP)


class Selection:
    """Include and exclude patterns of one source.

    :param include: empty: everything is included.
    :raises InvalidInput: a pattern is none.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = PatternMatcher(include) if include else None
        self._exclude = PatternMatcher(exclude) if exclude else None

    def judge(self, path: bytes, above: States) -> Verdict:
        """Whether a path is taken.

        :param path: from the source.
        :param above: `Verdict.below` of its directory.
        """
        included, excluded = self._include, self._exclude
        if included is None and excluded is None:
            return _TAKEN
        text = os.fsdecode(path)
        taken = entered = True
        first = second = NO_MATCH
        if included is not None:
            first = included.state(text, above[0])
            taken = included.is_match(first)
            entered = taken or included.may_change_below(text, first)
        if excluded is not None:
            second = excluded.state(text, above[1])
            if excluded.is_match(second):
                taken = False
                entered = entered and excluded.may_change_below(text, second)
        return Verdict(taken, entered, (first, second))


ALL: Final = Selection()
"""Takes everything."""
