"""The moves in a container's life: start, stop, exit, pause, remove.

Every move holds the container's lock. An exit is such a move too: it comes from the keeper at any time and waits for
the lock, so that a start that is still being carried out is finished first.
"""

from __future__ import annotations

import asyncio
import logging
import signal as signals
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from wherry.engine import clock, files
from wherry.engine.container import Container
from wherry.engine.events import EventBus
from wherry.engine.launcher import Launcher
from wherry.engine.registry import Registry
from wherry.engine.restart import next_delay, wants_restart
from wherry.engine.state import Status
from wherry.engine.unmounting import Unmounting
from wherry.engine.validate import parse_signal
from wherry.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    NotModified,
    OutOfSpace,
    SystemCallError,
    WherryError,
)
from wherry.linux import process
from wherry.linux.fd import Fd
from wherry.runtime import cgroups

__all__ = ["Lifecycle", "failure_code"]

_log: Final = logging.getLogger(__name__)
_DEFAULT_STOP_TIMEOUT: Final = 10
_FAILED_START: Final = 128  # the exit code of a container whose process could not be started at all


class Lifecycle:
    """Carries out moves and tells about them.

    :param trash: where directories go that are about to be deleted.
    """

    def __init__(self, registry: Registry, launcher: Launcher, events: EventBus, trash: Path) -> None:
        self._registry = registry
        self._launcher = launcher
        self._events = events
        self._trash = trash
        self._unmounting = Unmounting()
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_start: Callable[[Container], None] = lambda container: None
        self.on_exit: Callable[[Container], None] = lambda container: None
        self.on_removal: Callable[[Container], Coroutine[Any, Any, None]] = _nothing

    # --- start ------------------------------------------------------------------------------------

    async def start(self, container: Container) -> None:
        """Start it.

        :raises NotModified: it runs already.
        :raises Conflict: it is paused or being removed.
        :raises WherryError: the start failed; the container keeps the error.
        """
        async with container.lock:
            container.state.check_can_start()
            self._cancel_restart(container)
            container.state.stopped_by_hand = False
            container.state.restart_count = 0
            await self._start(container)

    async def _start(self, container: Container) -> None:
        await self._unmounting.now(container.id)
        try:
            pid = await self._launcher.launch(container)
        except WherryError as exc:
            await self._start_failed(container, exc)
            raise
        state = container.state
        state.status, state.pid, state.exit_code, state.error = Status.RUNNING, pid, 0, ""
        state.started_at, state.oom_killed = clock.now(), False
        container.doomed = container.stopping = False
        container.started.set()
        self.on_start(container)
        self._registry.save_state(container)
        self.tell(container, "start")
        assert container.feed is not None
        await container.feed.has_started()

    async def _start_failed(self, container: Container, error: WherryError) -> None:
        state = container.state
        state.exit_code = failure_code(error, _FAILED_START)
        state.error, state.pid = str(error), 0
        if state.status is Status.RESTARTING:
            state.status = Status.EXITED
        assert container.feed is not None
        container.feed.has_failed_to_start()
        await self._launcher.release(container)
        await self._clean_up(container)
        self._registry.save_state(container)
        self.tell(container, "die", exitCode=str(state.exit_code))
        self._wake(container.exit_waiters, state.exit_code)
        if container.host.auto_remove:
            await self._remove(container)

    # --- exit -------------------------------------------------------------------------------------

    def exited(self, container: Container, report: dict[str, Any]) -> None:
        """Take note of an exit that the keeper reports; the rest happens when the container's lock is free."""
        self._spawn(self._exited(container, report))

    async def _exited(self, container: Container, report: dict[str, Any]) -> None:
        async with container.lock:
            if not container.state.is_alive:
                await self._launcher.forget(container.id)
                return
            root, container.root = container.root, None
            self._record_exit(container, report)
            self._after_exit(container)
            await self._launcher.release(container)  # who hears of the end may want its ports
            if container.stopping:
                self.tell(container, "stop")
            removed = container.host.auto_remove and container.state.status is not Status.RESTARTING
            if removed:
                await asyncio.sleep(0)  # followers open what is left of the log, before its directory goes
                await self._remove(container, root)
            else:
                self._registry.save_state(container)
                self._wake(container.exit_waiters, container.state.exit_code)
                if root is not None:
                    self._unmounting.later(container.id, root)
            await self._clean_up(container)
            self.run(self._launcher.forget(container.id))  # a start that comes after it finds it done

    def _record_exit(self, container: Container, report: dict[str, Any]) -> None:
        state = container.state
        oom = report.get("oom")
        state.oom_killed = _oom_kills(self._launcher.cgroup_path(container)) > 0 if oom is None else bool(oom)
        state.exit_code, state.pid = report["status"], 0
        state.status, state.finished_at = Status.EXITED, clock.rfc3339(report["at"])
        container.started.clear()
        for descriptor in (container.pidfd, container.terminal, *container.held.values()):
            if descriptor is not None:
                descriptor.close()
        container.pidfd = container.terminal = None
        container.held.clear()
        self.on_exit(container)
        assert container.feed is not None
        container.feed.has_finished()

    def _after_exit(self, container: Container) -> None:
        state = container.state
        if state.oom_killed:
            self.tell(container, "oom")
        self.tell(container, "die", exitCode=str(state.exit_code), execDuration=str(_seconds_run(container)))
        if not container.doomed and wants_restart(container):
            self._schedule_restart(container)

    async def _clean_up(self, container: Container) -> None:
        """Remove what a container leaves in the kernel and in the exec-root when it has no processes any more.

        Nobody waits for it but who wants to start or remove the container again: it comes after the news of the exit.
        """
        await asyncio.to_thread(self._remove_remains, container)

    def _remove_remains(self, container: Container) -> None:
        group = cgroups.open(self._launcher.cgroup_path(container))
        try:
            group.kill_all()
            group.destroy()
        except (WherryError, OSError) as exc:
            _log.warning("cannot remove a cgroup container=%s error=%s", container.id, exc)
        files.remove_run_directory(container)

    @staticmethod
    def _wake(waiters: list[asyncio.Future[int]], code: int) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(code)
        waiters.clear()

    # --- restart policy ---------------------------------------------------------------------------

    def _schedule_restart(self, container: Container) -> None:
        container.state.status = Status.RESTARTING
        container.state.restart_count += 1
        container.restart_delay = next_delay(container)
        container.restart = self._spawn(self._restart_later(container))

    async def _restart_later(self, container: Container) -> None:
        await asyncio.sleep(container.restart_delay)
        async with container.lock:
            container.restart = None
            if container.state.status is Status.RESTARTING:
                try:
                    await self._start(container)
                except WherryError as exc:
                    _log.warning("cannot restart container=%s error=%s", container.id, exc)

    @staticmethod
    def _cancel_restart(container: Container) -> None:
        if container.restart is not None:
            container.restart.cancel()
            container.restart = None
            container.state.status = Status.EXITED

    # --- stop, kill, pause ------------------------------------------------------------------------

    async def stop(self, container: Container, signal: str | None, timeout: int | None) -> None:
        """Ask it to end, and end it by force after the timeout in seconds (-1: never).

        :raises NotModified: it does not run.
        :raises InvalidInput: there is no such signal.
        """
        number = parse_signal(signal or container.config.stop_signal or "SIGTERM")
        if not container.state.is_alive:
            if container.restart is None:
                raise NotModified("container is already stopped")
            self._cancel_restart(container)
            self._registry.save_state(container)
            return
        container.doomed = container.stopping = container.state.stopped_by_hand = True
        if timeout is None:
            timeout = container.config.stop_timeout
        timeout = _DEFAULT_STOP_TIMEOUT if timeout is None else timeout
        gone = self.exit_of(container)
        self._kill(container, number)
        try:
            await asyncio.wait_for(asyncio.shield(gone), None if timeout < 0 else timeout)
        except TimeoutError:
            self._kill(container, signals.SIGKILL)
            await gone

    async def restart(self, container: Container, signal: str | None, timeout: int | None) -> None:
        """Stop it if it runs, and start it."""
        if container.state.is_alive or container.restart is not None:
            await self.stop(container, signal, timeout)
        async with container.lock:
            container.state.check_can_start()
            container.state.stopped_by_hand = False
            await self._start(container)
        self.tell(container, "restart")

    async def kill(self, container: Container, signal: str) -> None:
        """Send a signal; a SIGKILL is waited for.

        :raises Conflict: it does not run.
        :raises InvalidInput: there is no such signal.
        """
        number = parse_signal(signal or "SIGKILL")
        if not container.state.is_alive:
            raise Conflict(f"cannot kill container: {container.name}: container {container.id} is not running")
        gone = self.exit_of(container)
        if number in (signals.SIGKILL, parse_signal(container.config.stop_signal or "SIGTERM")):
            container.doomed = container.state.stopped_by_hand = True
        self._kill(container, number)
        if number == signals.SIGKILL:
            await gone

    def exit_of(self, container: Container) -> asyncio.Future[int]:
        """A future of the exit code of the run that is under way."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        container.exit_waiters.append(future)
        return future

    def _kill(self, container: Container, number: int) -> None:
        """Send a signal, and tell; whatever the reason, as Docker's event ``kill`` does."""
        if container.pidfd is None:
            return  # it has just exited
        self.tell(container, "kill", signal=str(number))
        try:
            process.pidfd_send_signal(container.pidfd.fileno(), number)
        except SystemCallError as exc:
            _log.debug("a signal came too late container=%s error=%s", container.id, exc)
        if container.state.status is Status.PAUSED:  # a frozen process takes a signal when it thaws
            cgroups.open(self._launcher.cgroup_path(container)).thaw()
            container.state.status = Status.RUNNING
            self._registry.save_state(container)

    async def pause(self, container: Container) -> None:
        """Freeze all its processes.

        :raises Conflict: it does not run, or is paused.
        """
        async with container.lock:
            container.state.check_running(container.id)
            if container.state.status is Status.PAUSED:
                raise Conflict(f"container {container.id} is already paused")
            await asyncio.to_thread(cgroups.open(self._launcher.cgroup_path(container)).freeze)
            container.state.status = Status.PAUSED
            self._registry.save_state(container)
        self.tell(container, "pause")

    async def unpause(self, container: Container) -> None:
        """Let its processes go on.

        :raises Conflict: it is not paused.
        """
        async with container.lock:
            if container.state.status is not Status.PAUSED:
                raise Conflict(f"Container {container.id} is not paused")
            await asyncio.to_thread(cgroups.open(self._launcher.cgroup_path(container)).thaw)
            container.state.status = Status.RUNNING
            self._registry.save_state(container)
        self.tell(container, "unpause")

    # --- remove -----------------------------------------------------------------------------------

    async def remove(self, container: Container, *, force: bool) -> None:
        """Remove it with all that is its own.

        :raises Conflict: it runs and `force` is not given, or it is being removed.
        """
        if container.state.status is Status.REMOVING:
            raise Conflict(f"removal of container {container.name} is already in progress")
        if container.state.is_alive:
            await self._end_for_removal(container, force=force)
        self._cancel_restart(container)
        async with container.lock:
            if self._registry.find(container.id) is container:  # an automatic removal may have come first
                if container.state.is_alive:
                    raise Conflict(f'cannot remove container "{container.name}": it was started meanwhile')
                await self._remove(container)

    async def _end_for_removal(self, container: Container, *, force: bool) -> None:
        if not force:
            what = "running: stop the container before removing or force remove"
            if container.state.status is Status.PAUSED:
                what = "paused and must be unpaused first"
            raise Conflict(f'cannot remove container "{container.name}": container is {what}')
        container.doomed = container.state.stopped_by_hand = True
        gone = self.exit_of(container)
        self._kill(container, signals.SIGKILL)
        await gone

    async def _remove(self, container: Container, root: Fd | None = None) -> None:
        """The row goes first: that is the point of no return, and what a crash then leaves is nobody's directory."""
        container.state.status = Status.REMOVING
        try:
            self._registry.forget(container)
        except OutOfSpace:  # even a deletion needs room in the database's log: make some
            await asyncio.to_thread(files.remove_tree, container.directory)
            self._registry.forget(container)
        leftovers = files.set_aside(container, self._trash)
        self._launcher.forget_feed(container)
        self.tell(container, "destroy")
        self._wake(container.exit_waiters, container.state.exit_code)
        self._wake(container.removal_waiters, container.state.exit_code)
        self.run(self._delete(container, leftovers, root))

    async def _delete(self, container: Container, leftovers: Path | None, root: Fd | None) -> None:
        """What need not be waited for. Files that are deleted first need not be written to the disk at the end."""
        if leftovers is not None:
            await asyncio.to_thread(files.remove_tree, leftovers)
        await asyncio.to_thread(files.remove_run_directory, container)
        if root is not None:
            self._unmounting.later(container.id, root)
        await self.on_removal(container)

    async def remove_rest(self, container: Container) -> None:
        """Finish a removal that was cut short."""
        async with container.lock:
            await self._clean_up(container)
            await self._remove(container)

    def resume_restart(self, container: Container) -> None:
        """The restart policy's wait was cut short by the daemon's end: it begins again."""
        container.restart_delay = next_delay(container)
        container.restart = self._spawn(self._restart_later(container))

    # --- telling ----------------------------------------------------------------------------------

    def tell(self, container: Container, action: str, **attributes: str) -> None:
        """Publish an event of this container."""
        known = {**(container.config.labels or {}), "image": container.definition.image, "name": container.name}
        self._events.publish("container", action, container.id, {**known, **attributes})

    def tell_prune(self, reclaimed: int) -> None:
        """Publish that all containers without processes were removed, and how many bytes that gave back."""
        self._events.publish("container", "prune", "", {"reclaimed": str(reclaimed)})

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry something out in the background; what goes wrong is logged."""
        self._spawn(work)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a move failed error=%r", error, exc_info=error)

    async def settle(self) -> None:
        """Wait until every move that is under way has come to its end."""
        while pending := {task for task in self._tasks if task is not asyncio.current_task()}:
            await asyncio.gather(*pending, return_exceptions=True)
        await self._unmounting.finish()

    async def close(self) -> None:
        """Let moves that are under way come to their end; waiting restarts are left to the next daemon."""
        for container in self._registry:
            if container.restart is not None:
                container.restart.cancel()
        await self.settle()


async def _nothing(container: Container) -> None:
    """What is done after a removal until somebody else says so."""


def failure_code(error: WherryError, otherwise: int) -> int:
    """The exit code of a process that never was: 127 for a missing program, 126 for one that cannot be executed."""
    if isinstance(error, CommandNotFound):
        return 127
    return 126 if isinstance(error, CommandNotExecutable) else otherwise


def _oom_kills(path: str) -> int:
    try:
        return cgroups.open(path).oom_count()
    except (WherryError, OSError):
        return 0  # the cgroup is gone, or the memory controller is not there


def _seconds_run(container: Container) -> int:
    state = container.state
    return max(0, (clock.from_rfc3339(state.finished_at) - clock.from_rfc3339(state.started_at)) // 1_000_000_000)
