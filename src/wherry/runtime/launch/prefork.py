"""Children that are cloned before they are needed: at most one at a time, and only on cgroup version 1.

Chromium has the same pair of words: a *zygote* clones *spare* processes.
"""

from __future__ import annotations

from wherry.linux.process import CLONE
from wherry.runtime import cgroups
from wherry.runtime.launch.inherited import ignored_signals
from wherry.runtime.launch.spare import Spare
from wherry.runtime.launch.zygote import Zygote
from wherry.runtime.plan import Plan

__all__ = ["Prefork", "Streams"]

Streams = tuple[int, int, int]


class Prefork:
    """Keep one child ready for the next start, and the zygote that it is cloned from."""

    def __init__(self) -> None:
        self._zygote: Zygote | None = None
        self._spare: Spare | None = None
        self._example: tuple[Plan, bytes] | None = None

    @property
    def zygote(self) -> Zygote | None:
        """The process that clones the children."""
        return self._zygote

    @property
    def spare(self) -> Spare | None:
        """The child that waits, if there is one; where one was asked for, this waits until it is there."""
        if self._spare is None and self._zygote is not None and self._zygote.is_asked:
            self._spare = self._zygote.receive()
            if self._spare is None:
                self._end_zygote()
        return self._spare

    def take(self, plan: Plan, encoded: bytes, streams: Streams, size: tuple[int, int] | None) -> Spare | None:
        """Return the child that carries out this plan from now on; None if there is none that could.

        :param encoded: the same plan's bytes.
        """
        spare = self.spare
        if spare is None or not spare.fits(plan, encoded):
            return None
        self._spare = None
        if spare.give(encoded, streams, size):
            return spare
        spare.end()
        return None

    def note(self, plan: Plan, encoded: bytes) -> None:
        """Note a plan as an example of the next one."""
        if plan.cgroup and Spare.could_be(plan) and cgroups.open(plan.cgroup).version == 1:
            self._example = plan, encoded

    def fill(self) -> None:
        """Have a child cloned for a plan like the last one, unless one is ready."""
        if self._example is None or self._spare is not None:
            return
        if self._zygote is None:
            self._zygote = Zygote.make(ignored_signals())
        if self._zygote.is_asked:
            return
        plan, encoded = self._example
        self._example = None
        if not self._zygote.ask(plan.namespaces & ~CLONE.NEWNS, encoded):
            self._end_zygote()

    def drain(self) -> None:
        """End the waiting child and the zygote."""
        self._end_zygote()
        if self._spare is not None:
            self._spare.end()
            self._spare = None

    def _end_zygote(self) -> None:
        if self._zygote is not None:
            self._zygote.end()
            self._zygote = None
