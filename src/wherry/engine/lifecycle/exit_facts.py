"""How a run ended: OOM kills, duration, the exit code of a failed start, whether the end was expected."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from wherry.docker import times
from wherry.engine.container.container import Container
from wherry.errors import CommandNotExecutable, CommandNotFound, WherryError
from wherry.runtime import cgroups

__all__ = ["failure_code", "linger", "oom_kills", "oom_was_published", "seconds_run", "was_expected"]

_LINGER: Final = 0.5  # seconds


def failure_code(error: WherryError, otherwise: int) -> int:
    """The exit code of a process that never was: 127 for a missing program, 126 for one that cannot be executed."""
    if isinstance(error, CommandNotFound):
        return 127
    return 126 if isinstance(error, CommandNotExecutable) else otherwise


def oom_kills(path: str) -> int:
    """The number of processes of a cgroup that the OOM killer has ended; 0 if it is not known."""
    try:
        return cgroups.open(path).oom_count()
    except (WherryError, OSError):
        return 0  # the cgroup is gone, or the memory controller is not there


def oom_was_published(container: Container, cgroup: str) -> bool:
    """Whether all OOM kills of its run were published while it ran."""
    return container.oom_kills > 0 and oom_kills(cgroup) <= container.oom_kills


def seconds_run(container: Container) -> int:
    """The duration of its last run, in whole seconds."""
    state = container.state
    return max(0, (times.from_rfc3339(state.finished_at) - times.from_rfc3339(state.started_at)) // 1_000_000_000)


def was_expected(container: Container) -> bool:
    """Whether somebody waited for its end, or brought it about."""
    return container.end_requested or bool(container.exit_waiters or container.removal_waiters)


async def linger(container: Container) -> None:
    """Wait until a container with ``--rm`` that ended unexpectedly may go.

    Clients that start first and ask then (docker-py's `run` for its output, Ansible's module for its exit code) come
    in time under Docker, whose removals take as long.
    """
    with suppress(TimeoutError):
        await asyncio.wait_for(container.unneeded.wait(), _LINGER)
