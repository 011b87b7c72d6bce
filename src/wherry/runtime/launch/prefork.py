"""Children that are cloned before they are needed: one for each kind of start.

They come from vfork servers, and from a *zygote* where there is no machine code for these (Chromium's word, as is
*spare*).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from wherry.linux._libc import ARCHITECTURE
from wherry.linux.fd import Fd
from wherry.linux.vfork_code import LISTINGS
from wherry.runtime import cgroups
from wherry.runtime.launch.inherited import ignored_signals
from wherry.runtime.launch.spare import Handed, Spare, kind_of
from wherry.runtime.launch.vfork_server import VforkServers
from wherry.runtime.launch.zygote import Zygote
from wherry.runtime.plan import Plan

__all__ = ["MOST_KINDS", "Prefork", "Source"]

#: Kinds of starts that a child is kept ready for: without a network, with one, an exec, and another.
MOST_KINDS: Final = 4


class Source(Protocol):
    """Clones children."""

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that do it."""

    @property
    def asked(self) -> Sequence[int]:
        """The new namespaces of the spares that are on their way, in the order in which they come."""

    @property
    def is_able(self) -> bool:
        """Whether one could make a spare now."""

    @property
    def is_dead(self) -> bool:
        """Whether it will make no more spares."""

    @property
    def is_supported(self) -> bool:
        """False once it is known that this machine does not allow it."""

    def ask(self, flags: int, example: bytes, cgroup: Fd | None = None) -> bool:
        """Have a spare made; False if that cannot be.

        :param flags: the new namespaces.
        :param example: an encoded plan of the kind that is expected, of at most `LARGEST_PLAN` bytes.
        :param cgroup: the cgroup (v2) directory to be born into.
        """

    def receive(self) -> Spare | None:
        """Return the spare that was asked for first; None if it could not be made."""

    def end(self) -> None:
        """End what clones, and the spares that are on their way."""


class Prefork:
    """Keep a child ready for the next start of each kind, and what they are cloned from.

    On cgroup version 2 a process is best born in its control group. So no child is kept ready there; it is cloned when
    its plan has come.

    :param vfork: whether children may share memory with who clones them, where that can be.
    """

    def __init__(self, *, vfork: bool = True) -> None:
        self._vfork = vfork and ARCHITECTURE in LISTINGS
        self._source: Source | None = None
        self._spares: Final[dict[int, Spare]] = {}
        self._examples: Final[dict[int, bytes]] = {}
        """A plan of each kind, the one that was started last at the end."""
        self._is_wanted = False
        self._asked: tuple[bytes, int | None] = b"", None

    @property
    def source(self) -> Source | None:
        """What clones the children."""
        return self._source

    @property
    def spares(self) -> tuple[Spare, ...]:
        """The children that wait; where some were asked for, this waits until they are there."""
        self._receive_all()
        return tuple(self._spares.values())

    def take(self, plan: Plan, encoded: bytes, handed: Handed, cgroup: Fd | None = None) -> Spare | None:
        """Return the child that carries out this plan from now on; None if there is none that could.

        :param encoded: the same plan's bytes.
        :param cgroup: the cgroup (v2) directory to be born into.
        """
        kind = self._kind(plan, encoded, handed.flags)
        if kind is None:
            return None
        spare = self._ready(kind) if cgroup is None else None
        if spare is None:
            spare = self._made(kind, encoded, cgroup)
        if spare is None or spare.give(encoded, handed):
            return spare
        spare.end()
        return None

    def _kind(self, plan: Plan, encoded: bytes, flags: int | None) -> int | None:
        """Its kind, looked up once for `note` and `take`."""
        if self._asked[0] is not encoded:
            self._asked = encoded, kind_of(plan, encoded, flags)
        return self._asked[1]

    def _ready(self, kind: int) -> Spare | None:
        while kind not in self._spares and self._source is not None and kind in self._source.asked:
            self._receive(self._source)
        return self._spares.pop(kind, None)

    def _made(self, kind: int, encoded: bytes, cgroup: Fd | None) -> Spare | None:
        """A child that is made now."""
        self._receive_all()  # what was asked for before comes before
        source = self._source
        if source is None or not source.is_able or not source.ask(kind, encoded, cgroup):
            return None
        spare = source.receive()
        if source.is_dead:
            self._end_source()
        return spare

    def note(self, plan: Plan, encoded: bytes, flags: int | None = None) -> None:
        """Note a plan as an example of the next ones of its kind.

        :param flags: for an exec: the namespaces of the container to join.
        """
        kind = self._kind(plan, encoded, flags)
        if kind is None or not plan.cgroup:
            return
        self._is_wanted = True
        if cgroups.open(plan.cgroup).version != 1:
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
        if self._is_wanted and self._source is None:
            self._source = VforkServers.make(ignored_signals()) if self._vfork else Zygote.make(ignored_signals())
        for kind, example in self._examples.items():
            if kind in self._spares or self._source is None or kind in self._source.asked:
                continue
            if self._source.is_able and not self._source.ask(kind, example):
                self._end_source()

    def drain(self) -> None:
        """End the waiting children and what they are cloned from."""
        self._end_source()
        for spare in self._spares.values():
            spare.end()
        self._spares.clear()
        self._examples.clear()
        self._is_wanted = False

    def _receive_all(self) -> None:
        while self._source is not None and self._source.asked:
            self._receive(self._source)

    def _receive(self, source: Source) -> None:
        """Take in the child that was asked for first."""
        kind = source.asked[0]
        spare = source.receive()
        if source.is_dead:
            self._end_source()
        if spare is None:
            return
        if kind in self._examples:
            self._spares[kind] = spare
        else:  # other kinds were wanted meanwhile
            spare.end()

    def _end_source(self) -> None:
        if self._source is not None:
            self._vfork &= self._source.is_supported
            self._source.end()
            self._source = None
