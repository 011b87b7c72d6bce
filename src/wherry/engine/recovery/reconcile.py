"""Brings the database and what runs into agreement after a restart.

Called when the daemon has found its keeper, and right after ``kill -9`` of the daemon, the keeper or both at any
instruction. What runs is what the keeper says; the database says what ought to exist.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.docker import times
from wherry.engine.build.running import RunningSteps
from wherry.engine.container import directories
from wherry.engine.container.container import Container
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.keeper.connection import KeeperConnection
from wherry.engine.keeper.reports import ExitReport, KeptProcess
from wherry.engine.lifecycle.adopt import adopt, note_running
from wherry.engine.lifecycle.lifecycle import Lifecycle
from wherry.engine.lifecycle.start import Starter
from wherry.engine.network.attachments import Attachments
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import Unavailable, WherryError
from wherry.linux import process
from wherry.linux.fd import Fd
from wherry.runtime import cgroups

__all__ = ["Reconciler"]

_log: Final = logging.getLogger(__name__)
_PATIENCE: Final = 30.0  # seconds
_LOST: Final = 255  # the exit code of a container that ended while nobody could see it


class Reconciler:
    """Brings containers, cgroups and directories in step with the database after a start."""

    def __init__(
        self,
        containers: ContainerStore,
        starter: Starter,
        keeper: KeeperConnection,
        lifecycle: Lifecycle,
        attachments: Attachments,
        *,
        steps: RunningSteps,
        data_root: Path,
        exec_root: Path,
    ) -> None:
        self._containers = containers
        self._starter = starter
        self._keeper = keeper
        self._lifecycle = lifecycle
        self._attachments = attachments
        self._steps = steps
        self._left_alone: dict[str, int] = {}  # process IDs by keys
        self._data = data_root / "containers"
        self._run = exec_root / "containers"

    async def reconcile(self, processes: Sequence[KeptProcess], ended: frozenset[str] = frozenset()) -> None:
        """Adopt what runs, finish what ended, leave alone what the database does not know.

        :param processes: those that the keeper knows, from its answer to ``hello``.
        :param ended: those whose exits it has reported since; the caller handles these.
        """
        known = {entry.key: entry for entry in processes if entry.kind == "container"}
        traces = _Traces(self._run)
        for container in self._containers:
            entry = known.pop(container.id, None)
            if container.id not in ended:
                await self._reconcile_one(container, entry, traces)
            elif entry is not None:
                note_running(container, entry)
        for orphan in known.values():
            if not orphan.exited:
                self._leave_alone(orphan)
            elif orphan.key not in ended and not self._containers.has_row(orphan.key):
                await self._keeper.forget(orphan.key)
        steps = {entry.key: entry for entry in processes if entry.kind == "step"}
        await self._end_steps(steps)
        await asyncio.to_thread(self._remove_orphans, steps)
        self._log_orphans()

    async def _reconcile_one(self, container: Container, entry: KeptProcess | None, traces: _Traces) -> None:
        if container.state.status is Status.REMOVING:
            await self._lifecycle.remove_rest(container)
        elif entry is not None and entry.exited is None:
            await self._adopt(container, entry)
        elif entry is not None and entry.exited is not None and _is_recorded(container, entry.exited):
            await self._keeper.forget(container.id)
            await self._clean(container, traces)
        elif entry is not None and entry.exited is not None:
            note_running(container, entry)
            self._lifecycle.exited(container, entry.exited)
        elif container.state.is_alive:
            self._lifecycle.exited(container, ExitReport(status=_LOST, at=time.time_ns(), oom=False))
        else:
            await self._clean(container, traces)

    async def _adopt(self, container: Container, entry: KeptProcess) -> None:
        note_running(container, entry)
        self._attachments.adopt(container)
        adopt(container, entry, self._starter.cgroup_path(container))
        self._containers.save_state(container)
        container.log.has_started()

    async def _clean(self, container: Container, traces: _Traces) -> None:
        """A start that was cut short may have left a process without a keeper, a cgroup, a directory."""
        path = self._starter.cgroup_path(container)
        if traces.has_cgroup(path):  # what is in it may take its time to end
            try:
                await call_bounded(f"end what is left of {container.name}", lambda: remove_cgroup(path), _PATIENCE)
            except Unavailable as exc:
                _log.warning("something is left of a container container=%s error=%s", container.id, exc)
        if traces.has_run_directory(container):
            directories.remove_run_directory(container)
        if container.state.status is Status.RESTARTING:
            self._lifecycle.resume_restart(container)

    async def _end_steps(self, steps: Mapping[str, KeptProcess]) -> None:
        """Builds end with their daemon."""
        await asyncio.gather(*(self._steps.end_left_over(key) for key in steps))
        for entry in steps.values():
            if entry.exited is not None:  # of the others the keeper is about to tell
                self._steps.exited(entry.exited)

    def _leave_alone(self, entry: KeptProcess) -> None:
        """A container runs that the database does not have, or not in words that are understood.

        A row comes before the process, and goes after it: so the database was damaged, and not what runs.
        """
        _log.warning("a process is left alone whose container is not known key=%s pid=%s", entry.key, entry.pid)
        self._left_alone[entry.key] = entry.pid

    def end_left_alone(self) -> None:
        """End them all the same: everything is to end."""
        for pid in self._left_alone.values():
            descriptor = _pidfd(pid)
            if descriptor is not None:
                with descriptor:
                    process.pidfd_send_signal(descriptor.fileno(), 9)
        for key in self._left_alone:
            remove_cgroup(f"{self._starter.cgroup_parent}/{key}")

    def _remove_orphans(self, steps: Collection[str]) -> None:
        """What containers that are not in the database had while they ran, and their cgroups.

        :param steps: keys of build steps, whose directories go when the keeper has told of their ends.
        """
        for name in os.listdir(self._run) if self._run.is_dir() else []:
            if not self._containers.has_row(name) and name not in self._left_alone and name not in steps:
                remove_cgroup(f"{self._starter.cgroup_parent}/{name}")
                directories.remove_tree(self._run / name)

    def _log_orphans(self) -> None:
        """Directories with data whose containers are not in the database: no crash leaves such, so it was damaged."""
        orphans = [name for name in os.listdir(self._data) if not self._containers.has_row(name)]
        for name in orphans:
            _log.warning(
                "a directory is kept whose container the database does not know; "
                "`wherry system fsck --repair` removes it path=%s",
                self._data / name,
            )


class _Traces:
    """What there is of containers outside of the database, looked up once for all of them.

    :param run: the directory of their run directories.
    """

    def __init__(self, run: Path) -> None:
        self._run = frozenset(os.listdir(run) if run.is_dir() else ())
        self._groups: dict[str, frozenset[str]] = {}

    def has_cgroup(self, path: str) -> bool:
        """Whether a cgroup is there, in any hierarchy."""
        parent, _, name = path.rpartition("/")
        if parent not in self._groups:
            self._groups[parent] = cgroups.names_below(parent)
        return name in self._groups[parent]

    def has_run_directory(self, container: Container) -> bool:
        """Whether there is a run directory."""
        return container.id in self._run


def _is_recorded(container: Container, report: ExitReport) -> bool:
    """Whether the exit that the keeper remembers is written down: the daemon ended before it could say so."""
    return not container.state.is_alive and container.state.finished_at == times.rfc3339(report.at)


def _pidfd(pid: int) -> Fd | None:
    try:
        return process.pidfd_open(pid)
    except WherryError:
        return None


def remove_cgroup(path: str) -> None:
    """End what is in a cgroup and remove it; a missing one is no error."""
    group = cgroups.open(path)
    try:
        cgroups.end_all(group)
        group.destroy()
    except (WherryError, OSError) as exc:
        _log.warning("cannot remove a cgroup path=%s error=%s", path, exc)


def remove_empty_cgroup(path: str) -> None:
    """Remove the cgroup that containers' cgroups are in, unless another engine has containers in it."""
    for directory in cgroups.open(path).paths().values():
        with suppress(OSError):  # in use, or not there
            os.rmdir(directory)
