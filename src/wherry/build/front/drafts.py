"""The graph while it is written: what is copied from the client's directory is known only at the end.

A draft is a vertex to be. Its operation may be a function that is called when the graph is made: a directory of the
client's gets the list of the paths in use that way. What nothing needs is never made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wherry.build.model.graph import Edge, Metadata, Op, Vertex
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = ["Draft", "Source", "Workshop"]


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A vertex to be, of which the first output is used.

    :param op: the operation, or what gives it at the end.
    """

    op: Op | Callable[[], Op]
    inputs: tuple[Draft | Edge, ...] = ()
    platform: Platform | None = None
    metadata: Metadata = field(default_factory=Metadata)


Source = Draft | Edge | None
"""A file system in a graph that is written; None: an empty one."""


class Workshop:
    """Makes vertices of drafts, each once; equal ones become one."""

    def __init__(self) -> None:
        self._made: dict[int, Vertex] = {}
        self._by_digest: dict[Digest, Vertex] = {}
        self._drafts: list[Draft] = []  # alive, so that no other can have the number of one

    def edge(self, source: Source) -> Edge | None:
        """The edge that a draft becomes; no recursion, however deep."""
        if not isinstance(source, Draft):
            return source
        stack = [source]
        while stack:
            draft = stack[-1]
            pending = [one for one in draft.inputs if isinstance(one, Draft) and id(one) not in self._made]
            if id(draft) in self._made:
                stack.pop()
            elif pending:
                stack += reversed(pending)
            else:
                self._make(draft)
                stack.pop()
        return self._made[id(source)].output()

    def _make(self, draft: Draft) -> None:
        op = draft.op if not callable(draft.op) else draft.op()
        vertex = Vertex.of(op, self._edges(draft.inputs), platform=draft.platform, metadata=draft.metadata)
        self._made[id(draft)] = self._by_digest.setdefault(vertex.digest, vertex)
        self._drafts.append(draft)

    def _edges(self, inputs: Iterable[Draft | Edge]) -> Iterable[Edge]:
        for one in inputs:
            yield self._made[id(one)].output() if isinstance(one, Draft) else one
