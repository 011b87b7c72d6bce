"""Sandboxes that are made in advance, one after the other.

Making one takes two milliseconds, handing one out none. They are made in the helper thread, a moment after one was
taken, so that it does not compete with the start of that container; when there are enough nothing happens any more.
What they are made for is said in `wherry.network.warm_sandboxes`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from wherry.errors import WherryError
from wherry.network.sandbox import Sandbox

__all__ = ["SandboxPool"]

_log: Final = logging.getLogger(__name__)
_PAUSE: Final = 0.03  # seconds: by then the program that was being started runs


class SandboxPool:
    """Warm sandboxes.

    :param make: makes one.
    :param size: how many to keep; 0: none.
    :ivar size: the same, from now on.
    """

    def __init__(self, make: Callable[[], Awaitable[Sandbox]], size: int) -> None:
        self._make = make
        self.size = size
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
        if idle and len(self._spares) < self.size:
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
            while len(self._spares) < self.size and not self._closed:
                self._spares.append(await self._make())
        except WherryError as exc:
            _log.warning("cannot keep network namespaces warm error=%s", exc)
        finally:
            self._task = None
