"""Hooks on a container's way to its program: those outside are the parent's to run, those inside the child's."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.runtime import hooks
from wherry.runtime.channel import await_hooks
from wherry.runtime.steps.step import Context

__all__ = ["PID", "AwaitHooks", "RunHooks"]

#: Stands in a hook's state for the number of the container's process, as the hook sees it.
PID: Final = b"@PID@"
#: The number of a PID namespace's first process, there.
_FIRST: Final = 1


class AwaitHooks(NamedTuple):
    """Let the parent run its hooks (``prestart``, ``createRuntime``), which find all mounted."""

    def describe(self) -> str:
        return "wait for the hooks"

    def apply(self, context: Context) -> None:
        await_hooks(context.channel)


class RunHooks(NamedTuple):
    """Run hooks in the container's namespaces, while paths are still the host's (``createContainer``).

    What they leave behind in a new PID namespace is ended: it has all rights, and the program could trace it.

    :param state: the container's state as JSON, with :data:`PID` in it.
    """

    hooks: tuple[hooks.Hook, ...]
    state: bytes

    def describe(self) -> str:
        return f"run {len(self.hooks)} hooks in the container's namespaces"

    def apply(self, context: Context) -> None:
        state = self.state.replace(PID, str(os.getpid()).encode())
        hooks.run_all((hooks.Hook(*one) for one in self.hooks), state)
        if os.getpid() == _FIRST:
            _end_all_others()


def _end_all_others() -> None:
    """In the first process of a PID namespace: kill and reap all others; all orphans are its children."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.wait()
