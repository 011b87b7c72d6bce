"""Work of the builder in threads: a few at a time, and ended soon where it is not wanted any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import Any, Final, TypeVar

from wherry.errors import Unavailable

__all__ = ["Check", "Work"]

T = TypeVar("T")
Check = Callable[[], None]
"""Raises where the work is not wanted any more."""


class Work:
    """A few threads.

    :param most: that work at the same time.
    """

    def __init__(self, most: int = 4) -> None:
        self._pool: Final = ThreadPoolExecutor(most, "build files")

    async def run(self, work: Callable[[Check], T], undo: Callable[[T], object] = lambda _: None) -> T:
        """Call a function in a thread. Being cancelled ends it at its next check, and waits for that.

        :param undo: called, in a thread, with what came of it in spite of that.
        """
        unwanted = Event()

        def check() -> None:
            if unwanted.is_set():
                raise Unavailable("the build was cancelled")

        def whole() -> T:
            check()
            return work(check)

        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, whole)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            unwanted.set()
            await _finished(future)
            if not future.cancelled() and future.exception() is None:
                await _finished(loop.run_in_executor(self._pool, undo, future.result()))
            raise

    def close(self) -> None:
        """End the threads; waits for what they are at."""
        self._pool.shutdown()


async def _finished(future: asyncio.Future[Any]) -> None:
    """Wait for its end, also while being cancelled again and again."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # looked at, so that asyncio does not complain
