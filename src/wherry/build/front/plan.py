"""Which instructions are carried out, in the order in which they are written: for clients that count them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wherry.build.dockerfile.instructions import Arg, Instruction
from wherry.build.front.drafts import Source, Workshop
from wherry.build.front.stages import Command, Stage
from wherry.build.model.graph import Edge
from wherry.build.model.request import PlannedStep
from wherry.oci.digest import Digest

__all__ = ["Plan"]


class _Entry(NamedTuple):
    """An instruction, and the files of its stage after it."""

    instruction: Instruction
    stage: int
    root: Source
    changes: bool
    trigger: bool = False


class Plan:
    """Takes the instructions of one conversion.

    :ivar declared: the names of all arguments that they declare.
    """

    def __init__(self) -> None:
        self.declared: set[str] = set()
        self._entries: list[_Entry] = []
        self._stage = -1
        self._root: Source = None

    def stage(self, stage: Stage) -> None:
        """A stage begins."""
        self._stage += 1
        self._root = stage.root
        if stage.from_ is not None:
            self._entries.append(_Entry(stage.from_, self._stage, stage.root, stage.base is None))

    def instruction(self, stage: Stage, command: Command) -> None:
        """The next instruction of that stage was carried out."""
        instruction = command.instruction
        if isinstance(instruction, Arg):
            self.declared.update(pair.name for pair in instruction.pairs)
        changes = stage.root is not self._root
        self._root = stage.root
        self._entries.append(_Entry(instruction, self._stage, stage.root, changes, command.trigger))

    def steps(self, before: Iterable[Arg], labels: Mapping[str, str], workshop: Workshop) -> list[PlannedStep]:
        """All of them.

        :param before: what is written before the first FROM.
        :param labels: the client's: the classic builder has an instruction for each at the end.
        :param workshop: has made the result.
        """
        steps = [PlannedStep(arg.original, "ARG", -1) for arg in before]
        vertex = None
        for entry in self._entries:
            vertex = _vertex(workshop.edge(entry.root))
            text, keyword = entry.instruction.original, entry.instruction.keyword.upper()
            steps.append(
                PlannedStep(text, keyword, entry.stage, vertex, entry.changes and vertex is not None, entry.trigger)
            )
        steps += (PlannedStep(f"LABEL {name}={labels[name]}", "LABEL", self._stage, vertex) for name in sorted(labels))
        return steps


def _vertex(edge: Edge | None) -> Digest | None:
    return edge.vertex.digest if edge is not None else None
