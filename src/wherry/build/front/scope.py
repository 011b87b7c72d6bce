"""What all instructions of a Dockerfile share while they become a graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from wherry.build.dockerfile.expansion import Lexer
from wherry.build.dockerfile.instructions import Instruction
from wherry.build.front.budget import Budget
from wherry.build.front.drafts import Source
from wherry.build.front.environment import Environment
from wherry.build.front.image import Image
from wherry.build.front.lint import Lint
from wherry.build.front.names import numbered
from wherry.build.front.options import FrontOptions
from wherry.build.front.stages import Command, Stage
from wherry.build.model.graph import Metadata
from wherry.oci.platform import Platform
from wherry.oci.times import rfc3339

__all__ = ["Scope", "Work"]

_DESCRIPTION = "com.docker.dockerfile.v1.command"
_SECOND = 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Scope:
    """Of one conversion: for one platform.

    :param context: the build's context.
    :param context_paths: those of its paths that are in use.
    :param arguments: those before the first FROM, and those that are always there.
    :param epoch: SOURCE_DATE_EPOCH, in seconds; None: not given.
    """

    file: str
    options: FrontOptions
    lint: Lint
    lexer: Lexer
    raw_lexer: Lexer
    name_lexer: Lexer
    budget: Budget
    target: Platform
    build: Platform
    context: Source
    context_paths: set[str]
    arguments: dict[str, str]
    proxies: tuple[str, ...] = ()
    epoch: int | None = None
    excludes: tuple[str, ...] = ()

    @property
    def created(self) -> str | None:
        """The date of everything that is new, if it was given."""
        return rfc3339(self.epoch * _SECOND) if self.epoch is not None else None

    @property
    def timestamp(self) -> int:
        """The time of files that are new, in nanoseconds; -1: now."""
        return self.epoch * _SECOND if self.epoch is not None else -1

    def metadata(self, name: str, instruction: Instruction | None = None, *, ignore_cache: bool = False) -> Metadata:
        """That of a vertex which an instruction asks for."""
        if instruction is None:
            return Metadata(name=name, ignore_cache=ignore_cache)
        return Metadata(
            name=name,
            ignore_cache=ignore_cache,
            file=self.file,
            ranges=instruction.ranges,
            description={_DESCRIPTION: instruction.original},
        )


@dataclass(slots=True)
class Work:
    """One instruction of a stage that is being carried out."""

    scope: Scope
    stage: Stage
    command: Command
    environment: Environment = field(init=False)
    image: Image = field(init=False)

    def __post_init__(self) -> None:
        assert self.stage.environment is not None
        assert self.stage.image is not None
        self.environment = self.stage.environment
        self.image = self.stage.image

    @property
    def platform(self) -> Platform:
        """The stage's."""
        return self.stage.platform or self.scope.target

    @property
    def directory(self) -> str:
        """The working directory."""
        return self.image.working_directory or "/"

    def title(self, name: str, *, again: bool = False) -> str:
        """A step's name with its stage and its number there; `again`: the same number as the step before."""
        platform = self.platform if self.scope.options.multi_platform else None
        trigger = self.command.trigger
        return numbered(self.stage, name, platform=platform, env=self.environment, trigger=trigger, again=again)

    def history(self, text: str, *, layer: bool = False) -> None:
        """What the image says about this instruction."""
        self.scope.budget.spend(len(text), 1)
        self.image.add_history(text, layer=layer, created=self.scope.created)

    def expand(self, text: str) -> str:
        """Expand a word; variables that are not set are reported."""
        expansion = self.scope.lexer.word(text, self.environment)
        self._report(expansion.unmatched)
        return expansion.text

    def expand_raw(self, text: str) -> str:
        """Expand a heredoc's content."""
        expansion = self.scope.raw_lexer.word(text, self.environment)
        self._report(expansion.unmatched)
        return expansion.text

    def _report(self, unmatched: tuple[str, ...]) -> None:
        names = [name for name in unmatched if name not in self.stage.arguments]
        if names:
            self.scope.lint.undefined_variables(self.command.instruction, names, self.environment)
