"""Work that reads and writes disks, in threads of the exporters' own: it takes minutes, and is given up when told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

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

    async def run(self, work: Callable[[Check], Result]) -> Result:
        """Run work in a thread. Being cancelled ends the work, and waits for its end.

        :param work: called with a function that it calls often.
        """
        stopped = threading.Event()

        def check() -> None:
            if stopped.is_set():
                raise GivenUp

        future = asyncio.get_running_loop().run_in_executor(self._pool, work, check)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stopped.set()
            future.cancel()
            if not future.cancelled():
                await asyncio.wait({future})
            if not future.cancelled():
                future.exception()
            raise

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)
