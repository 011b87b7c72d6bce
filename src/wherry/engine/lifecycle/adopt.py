"""A container that runs already when the daemon starts, or finds another keeper: its state becomes what is seen."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from wherry.docker import times
from wherry.engine.container.state import Status
from wherry.engine.lifecycle.start import Starter
from wherry.errors import WherryError
from wherry.linux.process import pidfd_open
from wherry.runtime import cgroups

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.keeper.reports import KeptProcess

__all__ = ["adopt", "note_running"]


def note_running(container: Container, entry: KeptProcess) -> None:
    """The daemon may have ended after the process was started and before it wrote that down.

    :param entry: what the keeper knows of the process.
    """
    state = container.state
    state.pid = entry.pid
    if not state.is_alive:
        state.status, state.started_at = Status.RUNNING, times.rfc3339(entry.started)


def adopt(container: Container, entry: KeptProcess, cgroup: str) -> None:
    """Take over a container that runs.

    :param entry: what the keeper knows of its process.
    :param cgroup: its path in the cgroup hierarchies.
    """
    if container.pidfd is None:
        with suppress(WherryError):
            container.pidfd = pidfd_open(entry.pid)
    Starter.hold_streams(container)
    container.started.set()
    with suppress(WherryError, OSError):  # pausing may be the one thing that could not be written down
        container.state.status = Status.PAUSED if cgroups.open(cgroup).is_frozen() else Status.RUNNING
