"""A vertex in one build: what is known of it by now, and how far it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from wherry.build.cache.cache import Held
from wherry.build.cache.keys import ContentUse
from wherry.build.model.graph import SourceOp, Vertex
from wherry.build.model.progress import Cost, Progress, VertexProgress
from wherry.build.model.snapshot import Snapshot
from wherry.build.solver.leftovers import Leftovers
from wherry.build.solver.names import name_of
from wherry.build.solver.shared_fetch import SharedFetch
from wherry.build.sources.contract import SourceKey

__all__ = ["Node", "Pass"]


class Node:
    """One vertex of a build.

    :param inputs: by the vertex's edges.
    :param show: takes its progress.
    """

    def __init__(self, vertex: Vertex, inputs: Sequence[Node], show: Callable[[Progress], None]) -> None:
        self.vertex: Final = vertex
        self.inputs: Final = tuple(inputs)
        self.consumers: Final[list[Node]] = []
        self._show = show
        # what it is
        self.identity: str | None = None
        self.fast_key: str | None = None
        self.content_key: str | None = None
        # the same as if nothing had been imported (`cache.remote`); None: not known
        self.pure: str | None = None
        self.pure_key: str | None = None
        self.pure_content_key: str | None = None
        self.is_imported = False
        self.is_volatile = False
        self.source: SourceKey | None = None
        self.fetch: SharedFetch | None = None
        self.uses: Mapping[int, Sequence[ContentUse]] = {}
        self.checksums: dict[int, list[str]] = {}
        # what comes out
        self.held: dict[int, Held] = {}
        self.snapshots: dict[int, Snapshot] | None = None
        self.error: Exception | None = None
        self.leftovers: Final[list[Leftovers]] = []
        # how far it is
        self.identified: Final = Pass()
        self.realised: Final = Pass()
        self.is_identifying = self.is_wanted = self.is_slow = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.explain: Callable[[Node, bool], str] = lambda node, cached: ""
        self.explanation: str | None = None  # where it was found already
        self.progress = VertexProgress(
            digest=vertex.digest,
            name=name_of(vertex),
            inputs=tuple(dict.fromkeys(edge.vertex.digest for edge in vertex.inputs)),
            group=vertex.metadata.group,
        )
        for node in self.inputs:
            node.consumers.append(self)

    @property
    def is_source(self) -> bool:
        """Whether its files come from elsewhere."""
        return isinstance(self.vertex.op, SourceOp)

    def snapshot(self, output: int) -> Snapshot:
        """One of its outputs; it is realised."""
        assert self.snapshots is not None
        return self.snapshots[output]

    # --- progress ---------------------------------------------------------------------------------

    def announce(self) -> None:
        """It is part of the build."""
        self._show(self.progress)

    def start(self) -> None:
        """It begins to be worked at."""
        if self.progress.started is None or self.progress.completed is not None:
            self.progress = msgspec.structs.replace(self.progress, started=time.time_ns(), completed=None)
            self._show(self.progress)

    def complete(self, *, cached: bool = False, error: str = "", cost: Cost | None = None) -> None:
        """It is done; what was said of it before stays."""
        now = time.time_ns()
        before = self.progress
        self.progress = msgspec.structs.replace(
            before,
            started=before.started or now,
            completed=now,
            cached=cached,
            error=error,
            explanation=before.explanation if error else self._explained(cached),
            cost=cost or before.cost,
        )
        self._show(self.progress)

    def _explained(self, cached: bool) -> str:
        return self.explain(self, cached) if self.explanation is None else self.explanation

    @property
    def is_complete(self) -> bool:
        """Whether that was shown."""
        return self.progress.completed is not None

    def show(self, event: Progress) -> None:
        """Show something of its work, which may be another build's vertex that does the same."""
        digest = self.vertex.digest
        if not isinstance(event, VertexProgress):
            if event.vertex != digest:
                event = msgspec.structs.replace(event, vertex=digest)
            self._show(event)
        elif event.cost is not None:
            self.progress = msgspec.structs.replace(self.progress, cost=event.cost)
        elif event.started is not None and event.completed is None:
            self.start()


class Pass:
    """Something that is waited for by many, and comes once; no cancellation of one who waits touches the others."""

    __slots__ = ("_waiting", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._waiting: list[asyncio.Future[None]] = []

    def open(self) -> None:
        """It is there."""
        self.is_open = True
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self) -> None:
        """Wait for it."""
        if self.is_open:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future
