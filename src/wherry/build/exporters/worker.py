"""Work that reads and writes disks, in threads of the exporters' own: it takes minutes, and is given up when told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from wherry.build.cache.threads import finished

__all__ = ["Check", "GivenUp", "Worker"]

Result = TypeVar("Result")
#: To be called between two pieces of work; raises `GivenUp` when nobody waits for it any more.
Check = Callable[[], None]

_THREADS: Final = 2


class GivenUp(Exception):
    """Ends work whose caller was cancelled; nobody sees it."""


class Worker:
    """Some threads. To be used on one event loop."""

    def __init__(self, threads: int = _THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, "export")

    async def run(self, work: Callable[[Check], Result], undo: Callable[[Result], object] | None = None) -> Result:
        """Run work in a thread. Being cancelled ends the work, and waits for its end.

        :param work: called with a function that it calls often.
        :param undo: called in a thread with what the work gave, where nobody wants it any more.
        """
        stopped = threading.Event()

        def check() -> None:
            if stopped.is_set():
                raise GivenUp

        job = self._pool.submit(work, check)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stopped.set()
            if not job.cancel():
                await finished(future)
                if undo is not None and job.exception() is None:
                    await self.finish(partial(undo, job.result()))
            raise

    async def finish(self, work: Callable[[], object]) -> None:
        """Clean up in a thread, whoever is being cancelled meanwhile. `work` raises nothing that matters."""
        await finished(asyncio.wrap_future(self._pool.submit(work)))

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)
