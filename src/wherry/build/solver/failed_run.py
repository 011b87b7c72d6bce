"""A step that has failed, as `build.model.failure.FailedStep`: another command runs where its own has failed."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Final

from msgspec.structs import replace

from wherry.build.model.executor import Executor
from wherry.build.model.failure import Attend, Console
from wherry.build.model.progress import Progress, ShellProgress
from wherry.build.solver.steps import PreparedStep
from wherry.oci.digest import Digest

__all__ = ["FailedRun"]

_SHELL: Final = ("/bin/sh",)
_COMMAND: Final = re.compile(r"-\w*c")  # an option of shells: a command follows


class FailedRun:
    """The step, prepared as it was: its mounts, its secrets and its writable directories are there.

    :param error: why it failed.
    :param show: shows something of it.
    """

    def __init__(
        self,
        prepared: PreparedStep,
        executor: Executor,
        vertex: Digest,
        error: str,
        show: Callable[[Progress], object],
    ) -> None:
        assert prepared.step is not None, "it was run"
        self.vertex: Final = vertex
        self._step = prepared.step
        self._executor = executor
        self._error = error
        self._show = show

    @property
    def shell(self) -> tuple[str, ...]:
        """The shell that the command was given to, without its options: ``-e`` is not for a person who types."""
        args = self._step.op.args
        words = tuple(takewhile(lambda word: not word.startswith("-"), args))  # several: ``/usr/bin/env bash``
        is_given = len(args) > len(words) + 1 and _COMMAND.fullmatch(args[-2]) and words and words[-1].endswith("sh")
        return words if is_given else _SHELL

    def announce(self) -> None:
        """Show that something waits for a person."""
        self._show(ShellProgress(self.vertex, self._error, time.time_ns()))

    async def run(self, command: Sequence[str], console: Console, attend: Attend) -> None:
        """Run a command as the step was run; see `FailedStep.run`."""
        op = replace(self._step.op, args=tuple(command))
        step = replace(self._step, id=secrets.token_hex(32), op=op)
        await self._executor.interact(step, console, attend)
