"""Turns at the hashing of passwords, which is slow on purpose.

It has threads of its own, so that guessing stops nobody's push; addresses take turns, so that one that guesses makes
the others wait for one hash at most; who has too many waiting, or was wrong too often, is told to come again later.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from wherry.registry.server.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Guesses", "Turns"]

_MOST: Final = 256
"""That wait, of all."""
_MOST_OF_ONE: Final = 32
"""That wait, of one address."""
_REMEMBERED: Final = 10_000


class Turns:
    """Lets hashing happen, a little at a time.

    :param threads: how many hash side by side; by default half of the processors.
    """

    def __init__(self, threads: int = 0) -> None:
        self._free = threads or max(1, (os.cpu_count() or 2) // 2)
        self._threads = ThreadPoolExecutor(self._free, "password")
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, address: str, work: Callable[..., bool], *arguments: object) -> bool:
        """Do `work` in a thread, when it is this address's turn.

        :raises Refusal: too many wait already.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(address)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._pass_on()

    async def _wait(self, address: str) -> None:
        line = self._waiting.get(address, deque())
        if len(line) >= _MOST_OF_ONE or sum(map(len, self._waiting.values())) >= _MOST:
            raise too_many(1)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        self._waiting[address] = line
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Move the served caller to the end of the queue."""
        while self._waiting:
            address, line = self._waiting.popitem(last=False)
            turn = line.popleft()
            if line:
                self._waiting[address] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Guesses:
    """Rate limit of wrong passwords, by address and user.

    :param free: how many.
    :param seconds: how long one takes.
    """

    def __init__(self, free: int = 10, seconds: float = 2.0) -> None:
        self._free = free
        self._seconds = seconds
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def require(self, address: str, name: str) -> None:
        """See that another one may be tried.

        :raises Refusal: not yet.
        """
        wait = self._until.get((address, name), 0.0) - time.monotonic() - (self._free - 1) * self._seconds
        if wait > 0:
            raise too_many(int(wait) + 1)

    def wrong(self, address: str, name: str) -> None:
        """Another was."""
        key = address, name
        self._until[key] = max(self._until.pop(key, 0.0), time.monotonic()) + self._seconds
        if len(self._until) > _REMEMBERED:
            self._until.popitem(last=False)

    def right(self, address: str, name: str) -> None:
        """This one was not."""
        self._until.pop((address, name), None)


def too_many(seconds: int) -> Refusal:
    """The error for a caller over the limit."""
    return Refusal(
        "TOOMANYREQUESTS", "too many passwords to check; try again later", None, 0, {"Retry-After": f"{seconds}"}
    )
