"""The moves in a container's life: start, stop, exit, pause, remove.

Every move holds the container's lock. An exit is such a move too: it comes from the keeper at any time and waits for
the lock, so that a start that is still being carried out is finished first.
"""

from __future__ import annotations

import asyncio
import logging
import signal as signals
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from wherry.content.durable import disk_errors
from wherry.docker import times
from wherry.engine.container.container import Container
from wherry.engine.container.events import ContainerEvents
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.create.validate import parse_signal
from wherry.engine.keeper.connection import KeeperConnection
from wherry.engine.keeper.reports import ExitReport
from wherry.engine.lifecycle import other_runtimes
from wherry.engine.lifecycle.copies import Copies
from wherry.engine.lifecycle.exit_facts import (
    failure_code,
    linger,
    oom_kills,
    oom_was_published,
    seconds_run,
    was_expected,
)
from wherry.engine.lifecycle.listener import Listener
from wherry.engine.lifecycle.removal import Removal
from wherry.engine.lifecycle.restart_policy import RestartManager, starts_with_daemon
from wherry.engine.lifecycle.start import Starter
from wherry.engine.lifecycle.tasks import BackgroundTasks
from wherry.engine.lifecycle.trash import Trash
from wherry.engine.lifecycle.unmount import LazyUnmount
from wherry.engine.threads.bounded_call import call_bounded
from wherry.engine.volumes.container_volumes import ContainerVolumes
from wherry.errors import (
    Conflict,
    NotModified,
    SystemCallError,
    Unsupported,
    WherryError,
)
from wherry.keeper.records import Position
from wherry.linux import process
from wherry.linux.fd import Fd
from wherry.runtime import cgroups

__all__ = ["Lifecycle"]

_log: Final = logging.getLogger(__name__)
_DEFAULT_STOP_TIMEOUT: Final = 10
_AT_ONCE: Final = 1.0  # seconds in which a process that was killed has ended, unless something holds it
_END_PATIENCE: Final = 60.0  # seconds that a container's processes get to stop, or to end, when they have to
_FIRST_WHAT_IS_NEXT: Final = 0.002  # seconds that what an exit leaves may lie: the next request is faster than that
_FAILED_START: Final = 128  # the exit code of a container whose process could not be started at all


class Lifecycle:
    """Carries out moves and publishes their events.

    :param listener: is told of starts, exits and removals.
    :param trash: where directories go that are about to be deleted.
    :param tasks: what goes on in the background.
    :param volumes: the volumes of containers.
    :param copies: the copies of files that are under way.
    """

    def __init__(
        self,
        *,
        containers: ContainerStore,
        starter: Starter,
        keeper: KeeperConnection,
        events: ContainerEvents,
        listener: Listener,
        trash: Trash,
        tasks: BackgroundTasks,
        volumes: ContainerVolumes,
        copies: Copies,
    ) -> None:
        self._copies = copies
        self._containers = containers
        self._starter = starter
        self._keeper = keeper
        self._events = events
        self._listener = listener
        self._tasks = tasks
        self._unmounts = LazyUnmount()
        self._removal = Removal(
            containers=containers, events=events, listener=listener, trash=trash, unmounts=self._unmounts, tasks=tasks,
            cgroup_of=starter.cgroup_path, runtime_of=starter.other_runtime, volumes=volumes, copies=copies,
        )  # fmt: skip
        self._restarts = RestartManager(containers.find, self._start, tasks)

    # --- start ------------------------------------------------------------------------------------

    async def start(self, container: Container, images: Path | None = None) -> None:
        """Start it.

        :param images: of a checkpoint to be restored; None to begin at its beginning.
        :raises NotModified: it runs already.
        :raises Conflict: it is paused or being removed.
        :raises WherryError: the start failed; the container keeps the error.
        """
        async with container.lock:
            container.state.check_can_start()
            await self._start_by_hand(container, images)

    async def _start_by_hand(self, container: Container, images: Path | None = None) -> None:
        container.state.stopped_by_hand = False
        container.state.restart_count, container.restart_delay = 0, 0.0
        await self._start(container, images)

    async def let_go(self, container: Container) -> None:
        """Wait until the root of its last run is not mounted any more; the caller holds its lock."""
        root, container.root = container.root, None  # of a run whose end is not noted yet
        if root is not None:
            self._unmounts.later(container.id, root)
        await self._unmounts.now(container.id)

    async def _start(self, container: Container, images: Path | None = None) -> None:
        await self._copies.over(container.id)
        if await self._clean_up(container):
            await self._keeper.forget(container.id)
        await self.let_go(container)
        try:
            pid = await self._launch(container, images)
        except WherryError as exc:
            await self._start_failed(container, exc)
            raise
        state = container.state
        state.status, state.pid, state.exit_code, state.error = Status.RUNNING, pid, 0, ""
        state.started_at, state.oom_killed = times.now(), False
        container.end_requested = container.stop_requested = False
        container.unneeded.clear()
        container.oom_kills = 0
        container.started.set()
        self._listener.started(container)
        self._containers.save_state_soon(container)
        self._events.publish(container, "start")
        container.log.has_started()

    async def _launch(self, container: Container, images: Path | None) -> int:
        with disk_errors("start the container"):
            return await self._starter.start(container, images)

    async def _start_failed(self, container: Container, error: WherryError) -> None:
        state = container.state
        state.exit_code = failure_code(error, _FAILED_START)
        state.error, state.pid = str(error), 0
        if state.status is Status.RESTARTING:
            self._restarts.after_failure(container, error)
        container.log.has_failed_to_start()
        await self._starter.release(container)
        await self._removal.clean_up(container)
        self._containers.save_state(container)
        self._events.publish(container, "die", exitCode=str(state.exit_code))
        container.wake_exit_waiters()
        if container.host.auto_remove:
            await self._removal.remove(container, volumes=True)

    # --- exit -------------------------------------------------------------------------------------

    def exited(self, container: Container, report: ExitReport) -> None:
        """Take note of an exit that the keeper reports; the rest happens when the container's lock is free."""
        self._tasks.start(self._exited(container, report), "exit", container)

    async def _exited(self, container: Container, report: ExitReport) -> None:
        async with container.lock:
            if not container.state.is_alive:  # reported before, or the process of a start that was given up
                await self._keeper.forget(container.id)
                await self._removal.clean_up(container)
                return
            root, container.root = container.root, None
            self._record_exit(container, report)
            self._after_exit(container)
            await self._starter.release(container, ran=True)  # who hears of the end may want its ports
            if container.stop_requested:
                self._events.publish(container, "stop")
            removed = container.host.auto_remove and not container.comes_back
            if removed and was_expected(container):
                await self._removal.remove(container, root, volumes=True)
            else:
                container.wake_exit_waiters()
                if root is not None:
                    self._unmounts.later(container.id, root)
                await asyncio.sleep(0)  # first the answers to those who wait; until it is saved, the keeper knows
                self._containers.save_state(container)
                if removed:
                    self._tasks.start(self._remove_later(container), "remove", container)
            container.has_remains = True
        self._tasks.start(self._clean_up_soon(container), "clean up", container)

    async def _clean_up_soon(self, container: Container) -> None:
        """Remove what it leaves when whoever waited for its end has done with it what comes next, if anything."""
        await asyncio.sleep(_FIRST_WHAT_IS_NEXT)
        async with container.lock:
            if await self._clean_up(container):  # a start that comes after it finds it done
                self._tasks.start(self._keeper.forget(container.id), "forget", container)

    async def _clean_up(self, container: Container) -> bool:
        """Remove what its last run leaves; the caller holds its lock. Returns whether there was something."""
        had, container.has_remains = container.has_remains, False
        if had:
            await self._removal.clean_up(container)
        return had

    def _record_exit(self, container: Container, report: ExitReport) -> None:
        state = container.state
        oom = report.oom
        state.oom_killed = oom_kills(self._starter.cgroup_path(container)) > 0 if oom is None else oom
        state.exit_code, state.pid = report.status, 0
        state.status, state.finished_at = Status.EXITED, times.rfc3339(report.at)
        container.started.clear()
        container.close_descriptors()
        self._listener.exited(container)
        container.log.has_finished(Position(*report.log) if report.log else None)

    def _after_exit(self, container: Container) -> None:
        state = container.state
        if state.oom_killed and not oom_was_published(container, self._starter.cgroup_path(container)):
            self._events.publish(container, "oom")
        self._events.publish(container, "die", exitCode=str(state.exit_code), execDuration=str(seconds_run(container)))
        self._restarts.after_exit(container)

    async def _remove_later(self, container: Container) -> None:
        await linger(container)
        async with container.lock:
            if self._containers.find(container.id) is container and container.state.status is Status.EXITED:
                await self._removal.remove(container, volumes=True)

    # --- restart policy ---------------------------------------------------------------------------

    def resume_restart(self, container: Container) -> None:
        """The restart policy's wait was cut short by the daemon's end: it begins again."""
        self._restarts.resume(container)

    def daemon_started(self) -> None:
        """Start whom the policies want to run from now on, and remove who should have gone at its end."""
        for container in list(self._containers):
            if container.state.status not in (Status.CREATED, Status.EXITED):
                continue
            if starts_with_daemon(container):
                self._restarts.with_daemon(container)
            elif container.host.auto_remove:
                self._tasks.start(self.remove(container, force=False, volumes=True), "remove", container)

    async def _meet_start(self, container: Container) -> None:
        """A start that the policy wanted may be under way: let it come to its end, whatever that is."""
        if container.state.status is Status.RESTARTING and container.restart is None:
            async with container.lock:
                return

    # --- stop, kill, pause ------------------------------------------------------------------------

    async def stop(
        self, container: Container, signal: str | None, timeout: int | None, *, by_hand: bool = True
    ) -> None:
        """Ask it to end, and end it by force after the timeout in seconds (-1: never).

        :param by_hand: whether somebody wants it to stay so; else it comes back with the daemon.
        :raises NotModified: it does not run.
        :raises InvalidInput: there is no such signal.
        """
        number = parse_signal(signal or container.config.stop_signal or "SIGTERM")
        await self._meet_start(container)
        if not container.state.is_alive:
            if container.restart is None:
                container.unneeded.set()
                raise NotModified("container is already stopped")
            self._end_wait(container, by_hand=by_hand)
            return
        container.end_requested = container.stop_requested = True
        container.state.stopped_by_hand |= by_hand
        if timeout is None:
            timeout = container.config.stop_timeout
        timeout = _DEFAULT_STOP_TIMEOUT if timeout is None else timeout
        gone = container.exit_code()
        self._kill(container, number)
        try:
            await asyncio.wait_for(asyncio.shield(gone), None if timeout < 0 else timeout)
        except TimeoutError:
            self._kill(container, signals.SIGKILL)
            await self._await_end(container, gone)

    async def restart(self, container: Container, signal: str | None, timeout: int | None) -> None:
        """Stop it if it runs, and start it."""
        if container.state.is_alive or container.state.status is Status.RESTARTING:
            container.comes_back = True
            try:
                await self.stop(container, signal, timeout, by_hand=False)
            finally:
                container.comes_back = False
        async with container.lock:
            container.state.check_can_start()
            await self._start_by_hand(container)
        self._events.publish(container, "restart")

    def _end_wait(self, container: Container, *, by_hand: bool) -> None:
        """It waits for its next start, and shall not be started."""
        self._restarts.cancel(container)
        container.state.stopped_by_hand = by_hand
        self._containers.save_state(container)

    async def kill(self, container: Container, signal: str) -> None:
        """Send a signal; a SIGKILL is waited for.

        :raises Conflict: it does not run.
        :raises InvalidInput: there is no such signal.
        """
        number = parse_signal(signal or "SIGKILL")
        await self._meet_start(container)
        ends = number in (signals.SIGKILL, parse_signal(container.config.stop_signal or "SIGTERM"))
        if container.restart is not None:  # no process: as in Docker, a signal that would end it ends the wait
            if ends or not container.config.stop_signal:
                self._end_wait(container, by_hand=True)
            return
        if not container.state.is_alive:
            raise Conflict(f"cannot kill container: {container.name}: container {container.id} is not running")
        gone = container.exit_code()
        if ends:
            container.end_requested = container.state.stopped_by_hand = True
        self._kill(container, number)
        if number == signals.SIGKILL:
            await self._await_end(container, gone)

    def _kill(self, container: Container, number: int) -> None:
        """Send a signal, and tell; whatever the reason, as Docker's event ``kill`` does."""
        if container.pidfd is None:
            return  # it has just exited
        self._events.publish(container, "kill", signal=str(number))
        try:
            self._signal(container, container.pidfd, number)
        except SystemCallError as exc:
            _log.debug("a signal came too late container=%s error=%s", container.id, exc)
        if container.state.status is Status.PAUSED:  # a frozen process takes a signal when it thaws
            cgroups.open(self._starter.cgroup_path(container)).thaw()
            container.state.status = Status.RUNNING
            self._containers.save_state(container)

    def _signal(self, container: Container, pidfd: Fd, number: int) -> None:
        try:
            runtime = self._starter.other_runtime(container)
        except Unsupported:  # it was taken away while the container runs
            runtime = None
        if runtime is None:
            process.pidfd_send_signal(pidfd.fileno(), number)
        else:
            self._tasks.start(other_runtimes.send(container, runtime, number), "kill", container)

    async def _await_end(self, container: Container, gone: asyncio.Future[int]) -> None:
        """Wait for the exit of a container that was killed.

        The kernel ends the others of a PID namespace when its first process has ended, and one of them may trace that
        one and hold it just before (ptrace(2), ``PTRACE_O_TRACEEXIT``); or there is too little processor time for so
        many ends. So all are killed that are in the container's cgroup, if the exit does not come at once.

        :raises Unavailable: the keeper stands still.
        :raises SystemFault: it does not end, for what holds it is no process of its own.
        """
        if not (await asyncio.wait([gone], timeout=_AT_ONCE))[0]:
            self._tasks.start(self._kill_all(container), "kill", container)
        await self._keeper.wait_for_exit(gone)

    async def _kill_all(self, container: Container) -> None:
        group = cgroups.open(self._starter.cgroup_path(container))
        with suppress(WherryError):  # who waits for the exit is told
            await call_bounded(f"kill {container.name}", partial(cgroups.end_all, group), _END_PATIENCE)

    async def pause(self, container: Container) -> None:
        """Freeze all its processes.

        :raises Conflict: it does not run, or is paused.
        """
        async with container.lock:
            container.state.check_running(container.id)
            if container.state.status is Status.PAUSED:
                raise Conflict(f"container {container.id} is already paused")
            group = cgroups.open(self._starter.cgroup_path(container))
            await call_bounded(f"pause {container.name}", group.freeze, _END_PATIENCE)
            container.state.status = Status.PAUSED
            self._containers.save_state(container)
        self._events.publish(container, "pause")

    async def unpause(self, container: Container) -> None:
        """Let its processes go on.

        :raises Conflict: it is not paused.
        """
        async with container.lock:
            if container.state.status is not Status.PAUSED:
                raise Conflict(f"Container {container.id} is not paused")
            group = cgroups.open(self._starter.cgroup_path(container))
            await call_bounded(f"unpause {container.name}", group.thaw)
            container.state.status = Status.RUNNING
            self._containers.save_state(container)
        self._events.publish(container, "unpause")

    # --- remove -----------------------------------------------------------------------------------

    async def remove(self, container: Container, *, force: bool, volumes: bool = False) -> None:
        """Remove it with all that is its own.

        :param volumes: with the volumes that nobody has named, too.
        :raises Conflict: it runs and `force` is not given, or it is being removed.
        """
        if container.state.status is Status.REMOVING:
            raise Conflict(f"removal of container {container.name} is already in progress")
        await self._meet_start(container)
        if container.state.is_alive or container.restart is not None:
            await self._end_for_removal(container, force=force)
        async with container.lock:
            if self._containers.find(container.id) is container:  # an automatic removal may have come first
                if container.state.is_alive:
                    raise Conflict(f'cannot remove container "{container.name}": it was started meanwhile')
                await self._removal.remove(container, volumes=volumes)

    async def _end_for_removal(self, container: Container, *, force: bool) -> None:
        if not force:
            what = f"{container.state.status}: stop the container before removing or force remove"
            if container.state.status is Status.PAUSED:
                what = "paused and must be unpaused first"
            raise Conflict(f'cannot remove container "{container.name}": container is {what}')
        self._restarts.cancel(container)
        if not container.state.is_alive:
            return
        container.end_requested = container.state.stopped_by_hand = True
        gone = container.exit_code()
        self._kill(container, signals.SIGKILL)
        await self._await_end(container, gone)

    async def remove_rest(self, container: Container) -> None:
        """Finish a removal that was cut short."""
        async with container.lock:
            await self._removal.clean_up(container)
            await self._removal.remove(container, volumes=container.host.auto_remove or False)

    # --- the engine's end -------------------------------------------------------------------------

    async def close(self) -> None:
        """Let moves that are under way come to their end; waiting restarts are left to the next daemon."""
        self._restarts.close(self._containers)
        await self._drain()

    async def stop_all(self, timeout: int) -> None:
        """Stop every container, and start none: those whose policy wants it come back with the daemon."""
        up = [c for c in self._containers if c.state.is_alive or c.state.status is Status.RESTARTING]
        self._restarts.close(())
        await asyncio.gather(*(self.stop(c, None, timeout, by_hand=False) for c in up), return_exceptions=True)
        await self._drain()

    async def _drain(self) -> None:
        """Wait until every move that is under way has come to its end; files that take longer go at the next start."""
        for container in self._containers:
            container.unneeded.set()
        await self._tasks.drain()
        self._containers.save_unsaved()
        await self._unmounts.finish()
