"""The world compared to the database, and the difference repaired.

Called when the daemon has found its keeper, and right after ``kill -9`` of the daemon, the keeper or both at any
instruction. What runs is what the keeper says; the database says what ought to exist.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from wherry.engine import clock, files
from wherry.engine.container import Container
from wherry.engine.launcher import Launcher
from wherry.engine.lifecycle import Lifecycle
from wherry.engine.networking import Networking
from wherry.engine.registry import Registry
from wherry.engine.state import Status
from wherry.errors import WherryError
from wherry.linux import process
from wherry.linux.fd import Fd
from wherry.runtime import cgroups

__all__ = ["Reconciler", "empty_directory"]

_log: Final = logging.getLogger(__name__)
_LOST: Final = 255  # the exit code of a container that ended while nobody could see it


class Reconciler:
    """Brings containers, cgroups and directories in step with the database after a start."""

    def __init__(
        self,
        registry: Registry,
        launcher: Launcher,
        lifecycle: Lifecycle,
        networking: Networking,
        *,
        data_root: Path,
        exec_root: Path,
    ) -> None:
        self._registry = registry
        self._launcher = launcher
        self._lifecycle = lifecycle
        self._networking = networking
        self._networking = networking
        self._data = data_root / "containers"
        self._run = exec_root / "containers"

    async def reconcile(self, processes: list[dict[str, Any]], ended: frozenset[str] = frozenset()) -> None:
        """Adopt what runs, finish what ended, remove what nobody owns.

        :param processes: those that the keeper knows, from its answer to ``hello``.
        :param ended: those of which it has told the exit since then; that is worked on by whoever calls.
        """
        known = {entry["key"]: entry for entry in processes if entry["kind"] == "container"}
        for each in processes:
            if each["kind"] == "exec" and each.get("exited"):
                await self._launcher.forget(each["key"])
        for container in self._registry:
            entry = known.pop(container.id, None)
            if container.id not in ended:
                await self._settle(container, entry)
            elif entry is not None:
                self._launcher.feed(container)
                self._was_running(container, entry)
        for stranger in known.values():
            if stranger["key"] not in ended:
                await self._end_stranger(stranger)
        self._remove_strangers()

    async def _settle(self, container: Container, entry: dict[str, Any] | None) -> None:
        self._launcher.feed(container)
        if container.state.status is Status.REMOVING:
            await self._lifecycle.remove_rest(container)
        elif entry is not None and not entry.get("exited"):
            await self._adopt(container, entry)
        elif entry is not None and _is_recorded(container, entry):
            await self._launcher.forget(container.id)
            self._clean(container)
        elif entry is not None:
            self._was_running(container, entry)
            self._lifecycle.exited(container, {**entry["exited"], "log": entry.get("log")})
        elif container.state.is_alive:
            self._lifecycle.exited(container, {"status": _LOST, "at": time.time_ns(), "oom": False})
        else:
            self._clean(container)

    async def _adopt(self, container: Container, entry: dict[str, Any]) -> None:
        self._was_running(container, entry)
        if container.pidfd is None:
            container.pidfd = _pidfd(entry["pid"])
        self._launcher.hold_streams(container)
        self._networking.adopt(container)
        container.started.set()
        self._registry.save_state(container)
        assert container.feed is not None
        await container.feed.has_started()

    @staticmethod
    def _was_running(container: Container, entry: dict[str, Any]) -> None:
        """The daemon may have ended after the process was started and before it wrote that down."""
        state = container.state
        state.pid = entry["pid"]
        if not state.is_alive:
            state.status, state.started_at = Status.RUNNING, clock.rfc3339(entry["started"])

    def _clean(self, container: Container) -> None:
        """A start that was cut short may have left a process without a keeper, a cgroup, a directory."""
        remove_cgroup(self._launcher.cgroup_path(container))
        files.remove_run_directory(container)
        if container.state.status is Status.RESTARTING:
            self._lifecycle.resume_restart(container)

    async def _end_stranger(self, entry: dict[str, Any]) -> None:
        """A container that the database does not know: its creation or removal was cut short."""
        _log.warning("ending a process that no container owns key=%s pid=%s", entry["key"], entry["pid"])
        if not entry.get("exited"):
            descriptor = _pidfd(entry["pid"])
            if descriptor is not None:
                with descriptor:
                    process.pidfd_send_signal(descriptor.fileno(), 9)
        await self._launcher.forget(entry["key"])

    def _remove_strangers(self) -> None:
        """Directories of containers that are not in the database, and their cgroups."""
        for folder in (self._run, self._data):
            for name in os.listdir(folder) if folder.is_dir() else []:
                if self._registry.find(name) is None:
                    remove_cgroup(f"{self._launcher.cgroup_parent}/{name}")
                    files.remove_tree(folder / name)


def _is_recorded(container: Container, entry: dict[str, Any]) -> bool:
    """Whether the exit that the keeper remembers is written down: the daemon ended before it could say so."""
    return not container.state.is_alive and container.state.finished_at == clock.rfc3339(entry["exited"]["at"])


def _pidfd(pid: int) -> Fd | None:
    try:
        return process.pidfd_open(pid)
    except WherryError:
        return None


def remove_cgroup(path: str) -> None:
    """End what is in a cgroup and remove it; a missing one is no error."""
    group = cgroups.open(path)
    try:
        group.kill_all()
        group.destroy()
    except (WherryError, OSError) as exc:
        _log.warning("cannot remove a cgroup path=%s error=%s", path, exc)


def remove_empty_cgroup(path: str) -> None:
    """Remove the cgroup that containers' cgroups are in, unless another engine has containers in it."""
    for directory in cgroups.open(path).paths().values():
        with suppress(OSError):  # in use, or not there
            os.rmdir(directory)


def empty_directory(path: Path) -> None:
    """Make a directory, or remove what is in it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            files.remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)
