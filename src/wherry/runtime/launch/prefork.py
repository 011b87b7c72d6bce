"""Children that are cloned before they are needed: one for each kind of start, and only on cgroup version 1.

Chromium has the same pair of words: a *zygote* clones *spare* processes.
"""

from __future__ import annotations

from typing import Final

from wherry.runtime import cgroups
from wherry.runtime.launch.inherited import ignored_signals
from wherry.runtime.launch.spare import Spare, kind_of
from wherry.runtime.launch.zygote import Zygote
from wherry.runtime.plan import Plan

__all__ = ["MOST_KINDS", "Prefork", "Streams"]

Streams = tuple[int, int, int]

#: Kinds of starts that a child is kept ready for: without a network, with one, and another. Each costs a megabyte.
MOST_KINDS: Final = 3


class Prefork:
    """Keep a child ready for the next start of each kind, and the zygote that they are cloned from."""

    def __init__(self) -> None:
        self._zygote: Zygote | None = None
        self._spares: Final[dict[int, Spare]] = {}
        self._examples: Final[dict[int, bytes]] = {}
        """A plan of each kind, the one that was started last at the end."""

    @property
    def zygote(self) -> Zygote | None:
        """The process that clones the children."""
        return self._zygote

    @property
    def spares(self) -> tuple[Spare, ...]:
        """The children that wait; where some were asked for, this waits until they are there."""
        while self._zygote is not None and self._zygote.asked:
            self._receive(self._zygote)
        return tuple(self._spares.values())

    def take(self, plan: Plan, encoded: bytes, streams: Streams, size: tuple[int, int] | None) -> Spare | None:
        """Return the child that carries out this plan from now on; None if there is none that could.

        :param encoded: the same plan's bytes.
        """
        kind = kind_of(plan, encoded)
        if kind is None:
            return None
        while kind not in self._spares and self._zygote is not None and kind in self._zygote.asked:
            self._receive(self._zygote)
        spare = self._spares.pop(kind, None)
        if spare is None:
            return None
        if spare.give(encoded, streams, size):
            return spare
        spare.end()
        return None

    def note(self, plan: Plan, encoded: bytes) -> None:
        """Note a plan as an example of the next ones of its kind."""
        kind = kind_of(plan, encoded)
        if kind is None or not plan.cgroup or cgroups.open(plan.cgroup).version != 1:
            return
        self._examples.pop(kind, None)
        self._examples[kind] = encoded
        if len(self._examples) > MOST_KINDS:
            oldest = next(iter(self._examples))
            del self._examples[oldest]
            spare = self._spares.pop(oldest, None)
            if spare is not None:
                spare.end()

    def fill(self) -> None:
        """Have a child cloned for each kind of start that there was, unless one is ready."""
        for kind, example in self._examples.items():
            if kind in self._spares:
                continue
            if self._zygote is None:
                self._zygote = Zygote.make(ignored_signals())
            if kind not in self._zygote.asked and not self._zygote.ask(kind, example):
                self._end_zygote()
                return

    def drain(self) -> None:
        """End the waiting children and the zygote."""
        self._end_zygote()
        for spare in self._spares.values():
            spare.end()
        self._spares.clear()
        self._examples.clear()

    def _receive(self, zygote: Zygote) -> None:
        """Take in the child that was asked for first; without an answer the zygote ends."""
        kind = zygote.asked[0]
        spare = zygote.receive()
        if spare is None:
            self._end_zygote()
        elif kind in self._examples:
            self._spares[kind] = spare
        else:  # other kinds were wanted meanwhile
            spare.end()

    def _end_zygote(self) -> None:
        if self._zygote is not None:
            self._zygote.end()
            self._zygote = None
