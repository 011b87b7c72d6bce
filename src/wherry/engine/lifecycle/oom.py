"""OOM kills of processes whose container goes on: published at once, as Docker does.

The kernel says that memory ran out, through a descriptor for each container, and counts what it killed. One epoll
descriptor stands for all of them in the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from wherry.engine.container.container import Container
from wherry.engine.lifecycle.exit_facts import oom_kills
from wherry.errors import WherryError
from wherry.runtime import cgroups
from wherry.runtime.cgroups.contract import Cgroup, Watch

__all__ = ["MemoryWatch"]

_log: Final = logging.getLogger(__name__)
#: Seconds after the kernel's word at which its count is read: version 1 speaks before it kills, and a container that
#: runs out of memory again and again shall not keep the daemon busy.
_LOOKS: Final = (0.1, 0.3, 1.0)
#: Seconds after its start from which a container is watched. Many have ended by then, and of what was killed before the
#: count tells.
_BEGIN: Final = 0.05


class MemoryWatch:
    """Watches over running containers; used from the event loop's thread.

    :param cgroup_of: where a container is in the cgroup hierarchies.
    :param on_kill: called after OOM kills in a container, whose `oom_kills` is up to date by then.
    """

    def __init__(self, cgroup_of: Callable[[Container], str], on_kill: Callable[[Container], None]) -> None:
        self._cgroup_of = cgroup_of
        self._on_kill = on_kill
        self._watched: dict[str, _Watched] = {}
        self._by_descriptor: dict[int, _Watched] = {}
        self._coming: dict[str, asyncio.TimerHandle] = {}
        self._epoll = select.epoll()
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._ready)

    def started(self, container: Container) -> None:
        """A container runs; nothing happens when it is watched already, or is going to be."""
        if container.id not in self._watched and container.id not in self._coming:
            loop = asyncio.get_running_loop()
            self._coming[container.id] = loop.call_later(_BEGIN, self._begin, container)

    def _begin(self, container: Container) -> None:
        del self._coming[container.id]
        group = cgroups.open(self._cgroup_of(container))
        try:
            watch = group.oom_events()
        except (WherryError, OSError) as error:
            _log.debug("cannot watch for lack of memory container=%s error=%s", container.id, error)
            return
        try:
            # Once for each event: the files of a cgroup that was removed beneath us are ready for ever.
            self._epoll.register(watch.fd.fileno(), watch.events | select.EPOLLET)
        except OSError as error:
            _log.warning("cannot watch for lack of memory container=%s error=%s", container.id, error)
            watch.fd.close()
            return
        watched = _Watched(container, group, watch)
        self._watched[container.id] = self._by_descriptor[watch.fd.fileno()] = watched
        self._look_soon(watched, (0.0, _LOOKS[-1]))  # it may have happened already

    def resumed(self, container: Container) -> None:
        """A container runs that another daemon has started; its OOM kills so far were published."""
        container.oom_kills = oom_kills(self._cgroup_of(container))
        self.started(container)

    def ended(self, container: Container) -> None:
        """A container runs no longer."""
        if (coming := self._coming.pop(container.id, None)) is not None:
            coming.cancel()
        watched = self._watched.pop(container.id, None)
        if watched is not None:
            del self._by_descriptor[watched.watch.fd.fileno()]
            self._epoll.unregister(watched.watch.fd.fileno())
            watched.close()

    def close(self) -> None:
        """Watch no more."""
        for coming in self._coming.values():
            coming.cancel()
        self._coming.clear()
        for watched in list(self._watched.values()):
            self.ended(watched.container)
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _ready(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            watched = self._by_descriptor[descriptor]
            self._look_soon(watched)
            with suppress(WherryError, OSError):  # the next event comes all the same
                watched.watch.acknowledge()

    def _look_soon(self, watched: _Watched, delays: tuple[float, ...] = _LOOKS) -> None:
        watched.is_due = bool(watched.looks)
        if not watched.looks:
            loop = asyncio.get_running_loop()
            watched.looks = [loop.call_later(delay, self._look, watched) for delay in delays]

    def _look(self, watched: _Watched) -> None:
        watched.looks.pop(0)
        if watched.is_due and not watched.looks:
            self._look_soon(watched)
        container = watched.container
        kills = oom_kills(watched.group.path)
        if kills > container.oom_kills:
            container.oom_kills = kills
            self._on_kill(container)


class _Watched:
    """One container, and when it will be looked at."""

    def __init__(self, container: Container, group: Cgroup, watch: Watch) -> None:
        self.container: Final = container
        self.group: Final = group
        self.watch: Final = watch
        self.looks: list[asyncio.TimerHandle] = []
        self.is_due = False  # the kernel has spoken since these were agreed on

    def close(self) -> None:
        for look in self.looks:
            look.cancel()
        self.watch.fd.close()
