"""Stages: which there are, what each needs of the others, and how far each has been made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from wherry.build.dockerfile.instructions import ArgPair, Copy, From, Instruction, Onbuild, Run
from wherry.build.dockerfile.mounts import Mount
from wherry.build.front.bases import Base
from wherry.build.front.drafts import Source
from wherry.build.front.environment import Environment
from wherry.build.front.image import Image
from wherry.build.front.named_contexts import NamedContext
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import SourceRange
from wherry.errors import InvalidInput
from wherry.oci.platform import Platform

__all__ = ["SCRATCH", "Command", "Needs", "Stage", "Stages", "reachable", "refuse_cycles", "triggers_of"]

SCRATCH: Final = "scratch"
_MOST_SHOWN: Final = 50
"""Places of a circle of stages that an error names."""


@dataclass(slots=True, eq=False)
class Command:
    """An instruction of a stage.

    :param sources: the stages that it takes files from: of COPY's ``--from``, and of each of RUN's mounts (None: it
        has no ``from``).
    :param trigger: whether it is of ONBUILD.
    """

    instruction: Instruction
    sources: tuple[Stage | None, ...] = ()
    trigger: bool = False


@dataclass(slots=True)
class Needs:
    """What a stage asks the client for; for the outline.

    :param arguments: the ranges and values of the arguments that it declares.
    """

    arguments: dict[str, tuple[ArgPair, str, tuple[SourceRange, ...]]] = field(default_factory=dict)
    used: dict[str, None] = field(default_factory=dict)
    secrets: dict[str, tuple[bool, tuple[SourceRange, ...]]] = field(default_factory=dict)
    ssh: dict[str, tuple[bool, tuple[SourceRange, ...]]] = field(default_factory=dict)


@dataclass(slots=True, eq=False, kw_only=True)
class Stage:
    """A stage, or an image or context that COPY or RUN takes files from.

    :param from_: its FROM; None: it has none, and is not in the Dockerfile.
    :param base_name: what it comes from, variables expanded; later the image's whole name.
    :param title: how it is called in the names of its steps: its name, or ``stage-1``.
    :param base: the stage that it comes from.
    :param platform: the one that FROM says; later the one that it has.
    :param context: the named context that it is replaced by.
    :param needs: the stages that it takes files from, and the instruction that does.
    :param origin: the image, or named context, that it comes from.
    :param steps: how many of its steps are shown with a number.
    :param paths: what others take from it; of stages that come of each other it is one and the same.
    """

    from_: From | None = None
    base_name: str
    ranges: tuple[SourceRange, ...] = ()
    title: str = ""
    base: Stage | None = None
    platform: Platform | None = None
    context: NamedContext | None = None
    commands: list[Command] = field(default_factory=list)
    needs: dict[Stage, Instruction] = field(default_factory=dict)
    outline: Needs = field(default_factory=Needs)
    ignore_cache: bool = False
    steps: int = 0
    step: int = 0

    resolved: bool = False
    has_triggers: bool = False
    done: bool = False

    origin: Base | None = None
    root: Source = None
    image: Image | None = None
    base_config: bytes = b""
    environment: Environment | None = None
    hostname: str = ""
    arguments: dict[str, str | None] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)
    has_working_directory: bool = False
    set_once: dict[str, Instruction] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As FROM says; empty: it has none."""
        return self.from_.alias if self.from_ is not None else ""

    @property
    def is_scratch(self) -> bool:
        """Whether it comes from nothing."""
        return self.base_name == SCRATCH and self.context is None


class Stages:
    """All stages, in order; images that are taken from come behind them."""

    def __init__(self) -> None:
        self.all: list[Stage] = []
        self._by_name: dict[str, Stage] = {}
        self._others: dict[str, Stage] = {}

    def add(self, stage: Stage, *, independent: bool = False) -> None:
        """Add a stage; one with the name of its base before it comes from that one, if it is written in lower case.

        So it is in BuildKit: elsewhere, case makes no difference to the names of stages.

        :param independent: it does not, whatever the name.
        """
        self.all.append(stage)
        if not independent:
            stage.base = self._by_name.get(stage.base_name)
        if stage.name:
            self._by_name[stage.name.lower()] = stage

    def named(self, name: str) -> Stage | None:
        """The last stage of that name."""
        return self._by_name.get(name.lower())

    def numbered(self, number: int) -> Stage:
        """A stage by its number.

        :raises InvalidInput: there is none.
        """
        if not 0 <= number < len(self.all):
            raise InvalidInput(f"invalid stage index {number}")
        return self.all[number]

    def outside(self, name: str, ranges: tuple[SourceRange, ...]) -> Stage:
        """An image or a named context that files are taken from; one for each name."""
        stage = self._others.get(name)
        if stage is None:
            stage = self._others[name] = Stage(base_name=name, ranges=ranges)
            self.all.append(stage)
        return stage

    def names(self) -> list[str]:
        """The names that can be meant, in order."""
        return [stage.title for stage in self.all if stage.title]

    # --- what a command needs ---

    def command(self, stage: Stage, instruction: Instruction, mounts: Iterable[Mount] = ()) -> Command:
        """A command of a stage, with the stages that it takes files from.

        :param mounts: of RUN, as far as they are known.
        :raises InvalidInput: there is no such stage.
        """
        sources: tuple[Stage | None, ...] = ()
        if isinstance(instruction, Copy) and instruction.from_:
            sources = (self._copied_from(instruction),)
        elif isinstance(instruction, Run):
            sources = tuple(self._mounted_from(mount, instruction) for mount in mounts)
        for source in sources:
            if source is not None:
                stage.needs.setdefault(source, instruction)
        return Command(instruction, sources)

    def _copied_from(self, copy: Copy) -> Stage:
        if re.fullmatch(r"[+-]?[0-9]{1,9}", copy.from_):
            return self.numbered(int(copy.from_))
        return self.named(copy.from_) or self.outside(copy.from_, copy.ranges)

    def _mounted_from(self, mount: Mount, run: Run) -> Stage | None:
        if not mount.from_:
            return None
        return self.named(mount.from_) or self.outside(mount.from_, run.ranges)


def reachable(target: Stage) -> list[Stage]:
    """A stage, and all that it needs."""
    found = {target: None}
    pending = [target]
    while pending:
        stage = pending.pop()
        for one in _needed(stage):
            if one not in found:
                found[one] = None
                pending.append(one)
    return list(found)


def _needed(stage: Stage) -> Iterator[Stage]:
    if stage.base is not None:
        yield stage.base
    yield from stage.needs


def refuse_cycles(stages: Iterable[Stage]) -> None:
    """Refuse stages that need each other.

    :raises DockerfileError: some do.
    """
    finished: set[Stage] = set()
    for first in stages:
        if first not in finished:
            _refuse_cycle(first, finished)


def _refuse_cycle(first: Stage, finished: set[Stage]) -> None:
    """A walk into the depth, without recursion."""
    path: dict[Stage, Instruction | None] = {first: None}
    stack = [(first, iter(first.needs.items()))]
    while stack:
        stage, pending = stack[-1]
        following = next(pending, None)
        if following is None:
            finished.add(stage)
            del path[stage]
            stack.pop()
            continue
        other, instruction = following
        if other in path:
            ranges = [*(one.ranges for one in path.values() if one is not None), instruction.ranges][-_MOST_SHOWN:]
            raise DockerfileError(
                f"circular dependency detected on stage: {first.title}", ranges=tuple(sum(ranges, ()))
            )
        if other not in finished:
            path[other] = instruction
            stack.append((other, iter(other.needs.items())))


def triggers_of(stage: Stage) -> list[str]:
    """What ONBUILD says to a stage that comes of another one, or of an image."""
    if stage.base is not None:
        return [
            command.instruction.trigger for command in stage.base.commands if isinstance(command.instruction, Onbuild)
        ]
    return stage.image.triggers if stage.image is not None else []
