"""What work stands on, and who keeps it there: results of the cache, and clients' directories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wherry.build.cache.cache import BuildCache, Held
from wherry.build.solver.node import Node
from wherry.build.solver.shared_fetch import SharedFetch

__all__ = ["Grounds"]


@dataclass(frozen=True)
class Grounds:
    """What a job reads, in use by the job itself: the build that began it may end before it.

    :param helds: each held once.
    :param fetches: of clients' directories, each held once.
    """

    helds: tuple[Held, ...]
    fetches: tuple[SharedFetch, ...]

    @classmethod
    def hold(cls, cache: BuildCache, nodes: Iterable[Node], copies: Mapping[Node, Held]) -> Grounds:
        """Hold the outputs of some vertices, which their build holds.

        :param copies: of clients' directories, in layers.
        """
        helds: list[Held] = []
        fetches: list[SharedFetch] = []
        seen: set[Node] = set()
        pending = list(nodes)
        while pending:
            one = pending.pop()
            if one in seen:
                continue
            seen.add(one)
            helds += one.held.values()
            if one in copies:
                helds.append(copies[one])
            if one.is_volatile and one.fetch is not None:
                fetches.append(one.fetch)
            elif not one.held:
                pending += one.inputs  # a merge, which has no record of its own
        for held in helds:
            cache.hold_again(held)
        for fetch in fetches:
            fetch.hold()
        return cls(tuple(helds), tuple(fetches))

    async def release(self, cache: BuildCache) -> None:
        """They are not read any more; also while being cancelled."""
        for fetch in self.fetches:
            await fetch.release()
        await cache.release(self.helds)
