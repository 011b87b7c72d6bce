"""Blocking work beside the event loop, which nobody leaves alone.

A thread cannot be cancelled: whoever waits for one and is cancelled, once or again and again, is let go when the work
has ended. What it made is given to `undo` then, if there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import Any, Final, TypeVar

__all__ = ["Check", "GivenUp", "Worker", "finished", "in_thread"]

T = TypeVar("T")
#: To be called between two pieces of work; raises `GivenUp` when nobody waits for it any more.
Check = Callable[[], None]


async def finished(future: asyncio.Future[Any]) -> None:
    """Wait for the end of something, also while being cancelled again and again; what it gave does not matter.

    A cancellation that came meanwhile is taken note of by whoever called: it is being cancelled already.
    """
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # it is looked at, so that asyncio does not complain


async def in_thread(
    function: Callable[..., T],
    *arguments: object,
    undo: Callable[[T], object] | None = None,
    executor: Executor | None = None,
) -> T:
    """Call a function in another thread; it has ended when this returns, also when this is cancelled.

    :param undo: called in a thread with what the function gave, where nobody wants it any more.
    :param executor: with the threads; None: the event loop's.
    """
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(executor, function, *arguments)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await finished(work)
        if undo is not None and work.exception() is None:
            await finished(loop.run_in_executor(None, undo, work.result()))
        raise


class GivenUp(Exception):
    """Ends work whose caller was cancelled; nobody sees it."""


class Worker:
    """Some threads for work that takes long, and is given up when told. To be used on one event loop.

    :param threads: that work at the same time; further work waits.
    """

    def __init__(self, threads: int = 2, name: str = "work") -> None:
        self._pool: Final = ThreadPoolExecutor(threads, name)

    async def run(self, work: Callable[[Check], T], undo: Callable[[T], object] | None = None) -> T:
        """Run work in a thread. Being cancelled ends the work at its next check, and waits for its end.

        :param undo: called in a thread with what the work gave, where nobody wants it any more.
        """
        unwanted = Event()

        def check() -> None:
            if unwanted.is_set():
                raise GivenUp

        job = self._pool.submit(work, check)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            unwanted.set()
            if not job.cancel():
                await finished(future)
                if undo is not None and job.exception() is None:
                    await self.finish(lambda: undo(job.result()))
            raise

    async def finish(self, work: Callable[[], object]) -> None:
        """Clean up in a thread, whoever is being cancelled meanwhile. `work` raises nothing that matters."""
        await finished(asyncio.wrap_future(self._pool.submit(work)))

    def close(self) -> None:
        """End the threads; waits for what they are at."""
        self._pool.shutdown()
