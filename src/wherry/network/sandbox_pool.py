"""Sandboxes kept warm: created in advance, for the default bridge complete with an endpoint on it.

Making one takes two milliseconds, handing one out none. They are made in the helper thread, a moment after one was
taken, so that it does not compete with the start of that container; when there are enough nothing happens any more.

For other networks a namespace alone is kept, from the first start on one of them: an endpoint that waits would keep its
network from being removed, and an address from being asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from wherry.errors import WherryError
from wherry.network.sandbox import Sandbox

__all__ = ["SandboxPool", "WarmSandboxes"]

_log: Final = logging.getLogger(__name__)
_EMPTY: Final = 1  # without an endpoint
_PAUSE: Final = 0.03  # seconds: by then the program that was being started runs


class SandboxPool:
    """Warm sandboxes.

    :param make: makes one.
    :param size: how many to keep; 0: none.
    """

    def __init__(self, make: Callable[[], Awaitable[Sandbox]], size: int) -> None:
        self._make = make
        self._size = size
        self._spares: deque[Sandbox] = deque()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def spares(self) -> tuple[Sandbox, ...]:
        """Those that wait."""
        return tuple(self._spares)

    def take(self) -> Sandbox | None:
        """Hand one out, if there is one; another is made in its place."""
        found = self._spares.popleft() if self._spares else None
        self.refill()
        return found

    def refill(self) -> None:
        """See that soon there are enough."""
        idle = self._timer is None and self._task is None and not self._closed
        if idle and len(self._spares) < self._size:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE, self._begin)

    async def close(self) -> tuple[Sandbox, ...]:
        """Make no more.

        :returns: those that waited, to be taken apart.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await self._task
        left = self.spares
        self._spares.clear()
        return left

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        try:
            while len(self._spares) < self._size and not self._closed:
                self._spares.append(await self._make())
        except WherryError as exc:
            _log.warning("cannot keep network namespaces warm error=%s", exc)
        finally:
            self._task = None


class WarmSandboxes:
    """Warm sandboxes for every start.

    :param make: makes one with an endpoint on the default bridge.
    :param make_empty: makes one without.
    :param size: how many of the first to keep; 0: none of either.
    """

    def __init__(
        self, make: Callable[[], Awaitable[Sandbox]], make_empty: Callable[[], Awaitable[Sandbox]], size: int
    ) -> None:
        self._prepared: Final = SandboxPool(make, size)
        self._empty: Final = SandboxPool(make_empty, min(size, _EMPTY))

    @property
    def spares(self) -> tuple[Sandbox, ...]:
        """Those that wait."""
        return (*self._prepared.spares, *self._empty.spares)

    def take(self, *, on_default: bool) -> Sandbox | None:
        """Hand one out, if there is one; another is made in its place.

        :param on_default: for the default bridge.
        """
        return (self._prepared if on_default else self._empty).take()

    def refill(self) -> None:
        """See that soon there are enough for the default bridge."""
        self._prepared.refill()

    async def close(self) -> tuple[Sandbox, ...]:
        """Make no more.

        :returns: those with an endpoint that waited, to be taken apart.
        """
        for sandbox in await self._empty.close():
            sandbox.close()
        return await self._prepared.close()
