"""Restart policies: who is started again, when, and after whom.

A container that waits for its next start is *restarting*, whether it had exited or a start of it has failed. It waits
longer each time, from 100 ms to a minute; a run of ten seconds makes it begin anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from wherry.docker import times
from wherry.docker.network_mode import joined_container, parse_links
from wherry.engine.container.container import Container
from wherry.engine.container.state import Status
from wherry.engine.lifecycle.tasks import BackgroundTasks
from wherry.errors import Unavailable, WherryError

__all__ = ["RestartManager", "needed_by", "starts_with_daemon", "wants_restart"]

_log: Final = logging.getLogger(__name__)
_FIRST: Final = 0.1  # seconds
_LONGEST: Final = 60.0
_LONG_ENOUGH: Final = 10_000_000_000  # nanoseconds: who ran this long did start properly
_OTHERS_PATIENCE: Final = 5.0  # seconds that a start waits for those which it needs; dockerd's as well


def wants_restart(container: Container) -> bool:
    """Whether the policy wants another start after the exit, or the failed start, that just happened."""
    policy, state = container.host.restart_policy, container.state
    if policy is None or state.stopped_by_hand:
        return False
    if policy.name in ("always", "unless-stopped"):
        return True
    if policy.name != "on-failure" or state.exit_code == 0:
        return False
    return policy.maximum_retry_count == 0 or state.restart_count < policy.maximum_retry_count


def starts_with_daemon(container: Container) -> bool:
    """Whether the policy wants it to run when the daemon starts.

    As dockerd has it: ``always`` also if it was stopped by hand, ``unless-stopped`` not, ``on-failure`` if it failed
    and has tries left; and nobody who never ran.
    """
    policy, state = container.host.restart_policy, container.state
    if policy is None or state.started_at == times.ZERO_TIME or state.status is not Status.EXITED:
        return False
    if policy.name == "on-failure":
        left = policy.maximum_retry_count == 0 or state.restart_count < policy.maximum_retry_count
        return state.exit_code != 0 and left
    return policy.name == "always" or (policy.name == "unless-stopped" and not state.stopped_by_hand)


def needed_by(container: Container) -> list[str]:
    """The IDs of those without which it cannot start: whose namespaces it joins, and to whom it links."""
    host = container.host
    joined = [joined_container(mode) for mode in (host.network_mode, host.pid_mode, host.ipc_mode)]
    return [*filter(None, joined), *(name for name, _ in parse_links(host.links or []))]


class RestartManager:
    """Waits for the moment of each container's next start.

    :param find: the container with an ID.
    :param start: starts one; the caller holds its lock.
    :param tasks: what goes on in the background.
    """

    def __init__(
        self,
        find: Callable[[str], Container | None],
        start: Callable[[Container], Coroutine[Any, Any, None]],
        tasks: BackgroundTasks,
    ) -> None:
        self._find = find
        self._start = start
        self._tasks = tasks
        self._closed = False

    def after_exit(self, container: Container) -> None:
        """It has exited: if the policy wants it, it is restarting now."""
        state = container.state
        if container.end_requested or not wants_restart(container):
            return
        if times.from_rfc3339(state.finished_at) - times.from_rfc3339(state.started_at) >= _LONG_ENOUGH:
            container.restart_delay = 0.0
        state.restart_count += 1
        self._wait(container)

    def after_failure(self, container: Container, error: WherryError) -> None:
        """A start that the policy wanted has failed: the port may be free, the address there, the other run later."""
        state = container.state
        state.status = Status.EXITED
        if not wants_restart(container):
            return
        if not isinstance(error, Unavailable):  # the keeper is being replaced: no failure of the container's
            state.restart_count += 1
        self._wait(container)

    def with_daemon(self, container: Container) -> None:
        """The daemon has started, and this one with it."""
        container.state.stopped_by_hand = False
        container.state.restart_count = 0
        self._wait(container)

    def resume(self, container: Container) -> None:
        """The wait was cut short by the daemon's end: it begins again."""
        if container.restart is None and not container.lock.locked():  # else it is being started at this moment
            self._wait(container)

    def close(self, containers: Iterable[Container]) -> None:
        """Start nobody any more; who waits, goes on waiting under the next daemon.

        :param containers: of whom those that wait now are to do so.
        """
        self._closed = True
        for container in containers:
            if container.restart is not None:
                container.restart.cancel()

    @staticmethod
    def cancel(container: Container) -> None:
        """Whatever it waits for, it will not be started."""
        if container.restart is not None:
            container.restart.cancel()
            container.restart = None
            container.state.status = Status.EXITED

    def _wait(self, container: Container) -> None:
        delay = container.restart_delay
        container.restart_delay = min(delay * 2, _LONGEST) if delay else _FIRST
        container.state.status = Status.RESTARTING
        if container.restart is not None:
            container.restart.cancel()
            container.restart = None
        if not self._closed:
            container.restart = self._tasks.start(self._later(container), "restart", container)

    async def _later(self, container: Container) -> None:
        await asyncio.sleep(container.restart_delay)
        await self._others_first(container)
        async with container.lock:
            container.restart = None
            if container.state.status is not Status.RESTARTING:
                return
            try:
                await self._start(container)
            except WherryError as exc:
                _log.warning("cannot restart container=%s error=%s", container.id, exc)

    async def _others_first(self, container: Container) -> None:
        """Let those come first that are about to be started and that this one needs; for a moment, not for ever."""
        others = [other for name in needed_by(container) if (other := self._find(name)) and _is_coming(other)]
        starts = [asyncio.ensure_future(other.started.wait()) for other in others]
        if not starts:
            return
        try:
            await asyncio.wait(starts, timeout=_OTHERS_PATIENCE)
        finally:
            for start in starts:
                start.cancel()


def _is_coming(container: Container) -> bool:
    """Whether it waits for its start; or its exit, from before the daemon was there, is still being worked on."""
    state = container.state
    return state.status is Status.RESTARTING or (state.is_alive and not container.started.is_set())
