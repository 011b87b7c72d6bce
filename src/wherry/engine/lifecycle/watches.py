"""What watches a container while it runs: its health check, its memory, its execs, and its image."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import TYPE_CHECKING, Any

from wherry.engine.lifecycle.oom import MemoryWatch

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.container.events import ContainerEvents
    from wherry.engine.container.store import ContainerStore
    from wherry.engine.lifecycle.exec import Execs
    from wherry.engine.lifecycle.health import HealthWatch

__all__ = ["Watches"]


class Watches:
    """A `wherry.engine.lifecycle.listener.Listener` that hands on to the parts.

    :param cgroup_of: where a container is in the cgroup hierarchies.
    :param release_image: a container's image has one container fewer.
    :param finish_log: sends the rest of a container's log.
    """

    def __init__(
        self,
        containers: ContainerStore,
        events: ContainerEvents,
        execs: Execs,
        cgroup_of: Callable[[Container], str],
        *,
        release_image: Callable[[Container], Coroutine[Any, Any, None]],
        finish_log: Callable[[Container], Coroutine[Any, Any, None]],
    ) -> None:
        self._containers = containers
        self._events = events
        self._execs = execs
        self._cgroup_of = cgroup_of
        self._release_image = release_image
        self._finish_log = finish_log

    @cached_property
    def _health(self) -> HealthWatch:
        """Made when the first container with a check starts: most engines have none, and start sooner."""
        from wherry.engine.lifecycle.health import HealthWatch  # noqa: PLC0415

        return HealthWatch(self._execs, self._containers.save_state, self._events.publish)

    def health_figures(self) -> tuple[int, int]:
        """How many health checks there were, and how many of them could not be run, or did not end in time."""
        return (self._health.checks, self._health.failed_checks) if "_health" in self.__dict__ else (0, 0)

    @cached_property
    def _memory(self) -> MemoryWatch:
        return MemoryWatch(self._cgroup_of, self._ran_out_of_memory)

    def _ran_out_of_memory(self, container: Container) -> None:
        container.state.oom_killed = True
        self._events.publish(container, "oom")
        self._containers.save_state(container)

    def started(self, container: Container) -> None:
        """It runs from now on."""
        self._memory.started(container)
        if container.config.healthcheck is not None:
            self._health.started(container)

    def resumed(self, container: Container) -> None:
        """It runs already: another daemon has started it."""
        self._memory.resumed(container)
        if container.config.healthcheck is not None:
            self._health.resume(container)

    def exited(self, container: Container) -> None:
        """It has no processes any more."""
        if container.state.health is not None:
            self._health.ended(container)
        self._memory.ended(container)
        self._execs.container_exited(container)

    async def removing(self, container: Container) -> None:
        """It is about to be removed."""
        await self._finish_log(container)

    async def removed(self, container: Container) -> None:
        """It does not exist any more."""
        await self._release_image(container)

    def close(self) -> None:
        """The engine ends, the containers go on."""
        for name in ("_health", "_memory"):
            if name in self.__dict__:
                getattr(self, name).close()
