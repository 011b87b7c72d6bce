"""A step that has failed, and what may be done with it before the build ends: a person looks around there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from wherry.build.model.snapshot import Snapshot
from wherry.docker.streams import LogChunk
from wherry.oci.digest import Digest

__all__ = ["Attend", "Console", "FailedMount", "FailedStep", "Leftover", "OnFailure", "StepStreams"]


class Leftover(Struct, frozen=True):
    """What a step that failed has left in one of its mounts, or what was there before; the build has it to its end.

    :param cache: of a cache mount: the key of its directory.
    """

    snapshot: Snapshot
    cache: str = ""


class FailedMount(Struct, frozen=True):
    """One of the mounts of a step that failed.

    :param before: None: it had no input.
    :param after: None: nothing that could be mounted elsewhere.
    """

    before: Leftover | None = None
    after: Leftover | None = None


class Console(Struct, frozen=True):
    """What a process is given beside its program.

    :param terminal: whether its streams are a terminal's; else they are three pipes.
    :param size: of the terminal, in characters: height and width; 0: not known.
    """

    terminal: bool = False
    size: tuple[int, int] = (0, 0)


class StepStreams(Protocol):
    """The streams of a process that somebody attends to."""

    @property
    def tty(self) -> bool:
        """Whether detach keys are looked for: never."""
        ...

    @property
    def detached(self) -> asyncio.Future[Any]:
        """Never done."""
        ...

    def output(self) -> AsyncIterator[LogChunk]:
        """Yield output until the process has ended and everything was read."""
        ...

    async def write(self, data: bytes) -> None:
        """Give the process input; waits while it does not read.

        :raises BrokenPipeError: it does not read any more.
        """
        ...

    async def close_stdin(self) -> None:
        """Let the process see the end of its input, which is a pipe."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...

    def resize(self, height: int, width: int) -> None:
        """Tell the terminal its size, in characters; nothing happens where there is none, or none any more."""
        ...

    def signal(self, number: int) -> None:
        """Send the process a signal; nothing happens where it has ended."""
        ...


Attend = Callable[[StepStreams], Awaitable[None]]
"""Called once a process runs; when it returns before the process has ended, the process is killed."""


class FailedStep(Protocol):
    """A step whose command ended with an error. What it has written is there until `OnFailure` returns."""

    @property
    def vertex(self) -> Digest:
        """In the progress of the build."""
        ...

    @property
    def shell(self) -> tuple[str, ...]:
        """The shell that the step's command was given to; ``/bin/sh`` where it was given to none."""
        ...

    def announce(self) -> None:
        """Show in the build's progress that something waits for a person (`progress.ShellProgress`)."""
        ...

    async def run(self, command: Sequence[str], console: Console, attend: Attend) -> None:
        """Run a command as the step was run, upon what it has left; returns when nothing of it is left.

        Being cancelled ends it at once.

        :raises WherryError: there is no such program, or the machine refused; or nobody attends to it any more.
        """
        ...


OnFailure = Callable[[FailedStep], Awaitable[None]]
"""Called for each step of a build that fails, before the build does; several may come at once."""
