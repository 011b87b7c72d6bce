"""Definitions: a client's graph (LLB, ``pb.Definition``) becomes ours.

A definition is a list of operations, each in bytes of its own, which name their inputs by the digests of those bytes;
the last one is no operation, its only input is the result. Nothing in it is trusted: the numbers of operations, inputs
and outputs are bounded and checked here, and nothing recurses. A circle is impossible: nobody knows an operation whose
digest is in its own bytes; one that claims to be so names an input that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from wherry.api.buildkit.definition_ops import MOST_INPUTS, name_of, op_of, outputs_of, platform_of
from wherry.api.buildkit.proto.llb_pb2 import Definition, Op, OpMetadata
from wherry.build.model.graph import Edge, Metadata, SourceRange, Vertex
from wherry.errors import InvalidInput, TooLarge
from wherry.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MOST_OPS", "Decoded", "decode", "ranges_of"]

MOST_OPS: Final = 50_000
MOST_EDGES: Final = 500_000
MOST_RANGES: Final = 1000


@dataclass(frozen=True)
class Decoded:
    """A definition's graph.

    :param edge: the result; None: an empty directory.
    :param sources: the texts of the files that the vertices were written in, by name.
    """

    edge: Edge | None
    sources: dict[str, bytes] = field(default_factory=dict)


def decode(definition: Definition) -> Decoded:
    """Make a definition's graph ours.

    :raises InvalidInput: it makes no sense.
    :raises TooLarge: it has too many operations.
    """
    if not definition.ops:
        return Decoded(None)
    if len(definition.ops) > MOST_OPS:
        raise TooLarge(f"the definition has too many operations: {len(definition.ops)}")
    return _Reader(definition).read()


class _Reader:
    """Reads one definition."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._ops: dict[str, Op] = {}
        self._vertices: dict[str, Vertex] = {}
        self._outputs: dict[str, frozenset[int]] = {}
        self._edges = 0

    def read(self) -> Decoded:
        last = ""
        for data in self._definition.ops:
            last = str(Digest.from_bytes(data))
            try:
                self._ops[last] = Op.FromString(data)
            except DecodeError as error:
                raise InvalidInput("failed to parse llb proto op", cause=str(error)) from error
        end = self._ops[last]
        if end.WhichOneof("op") is not None or len(end.inputs) != 1:
            raise InvalidInput("invalid LLB: it is empty" if not end.inputs else "invalid LLB: it has no result")
        wanted = end.inputs[0].digest
        self._build(wanted)
        return Decoded(self._edge(wanted, end.inputs[0].index), self._sources())

    def _build(self, wanted: str) -> None:
        """Make the vertices that one needs, inputs first."""
        pending = [wanted]
        while pending:
            digest = pending[-1]
            if digest in self._vertices:
                pending.pop()
                continue
            op = self._op(digest)
            missing = [one.digest for one in op.inputs if one.digest not in self._vertices]
            if missing:
                pending += dict.fromkeys(missing)
                self._bound(len(missing))
            else:
                pending.pop()
                self._vertices[digest] = self._vertex(digest, op)

    def _bound(self, count: int) -> None:
        self._edges += count
        if self._edges > MOST_EDGES:
            raise TooLarge("the definition has too many edges")

    def _op(self, digest: str) -> Op:
        op = self._ops.get(digest)
        if op is None:
            raise InvalidInput(f"invalid missing input digest {digest[:80]}")
        if len(op.inputs) > MOST_INPUTS:
            raise TooLarge(f"an operation has too many inputs: {len(op.inputs)}")
        return op

    def _vertex(self, digest: str, op: Op) -> Vertex:
        inputs = [self._edge(one.digest, one.index) for one in op.inputs]
        ours = op_of(op)
        self._outputs[digest] = outputs_of(ours)
        metadata = self._metadata(digest, name_of(ours))
        return Vertex.of(ours, inputs, platform=platform_of(op), metadata=metadata)

    def _edge(self, digest: str, index: int) -> Edge:
        if index not in self._outputs[digest]:
            raise InvalidInput(f"invalid LLB: {digest[:80]} has no output {index}")
        return Edge(self._vertices[digest], index)

    def _metadata(self, digest: str, name: str) -> Metadata:
        found = self._definition.metadata[digest] if digest in self._definition.metadata else OpMetadata()
        description = dict(found.description)
        group = found.progress_group
        file, ranges = self._location(digest)
        return Metadata(
            name=description.get("llb.customname") or name,
            ignore_cache=found.ignore_cache,
            group=(group.id, group.name, group.weak) if group.id else None,
            file=file,
            ranges=ranges,
            description=description,
        )

    def _location(self, digest: str) -> tuple[str, tuple[SourceRange, ...]]:
        source = self._definition.Source
        if digest not in source.locations:
            return "", ()
        for location in source.locations[digest].locations:
            if 0 <= location.sourceIndex < len(source.infos):
                return source.infos[location.sourceIndex].filename, ranges_of(location.ranges)
        return "", ()

    def _sources(self) -> dict[str, bytes]:
        return {info.filename: info.data for info in self._definition.Source.infos}


def ranges_of(ranges: Iterable[object]) -> tuple[SourceRange, ...]:
    """Places in a file."""
    found = []
    for one in list(ranges)[:MOST_RANGES]:
        start, end = one.start, one.end  # type: ignore[attr-defined]
        found.append(SourceRange(start.line, start.character, end.line, end.character))
    return tuple(found)
