"""Work that waits for the disk, in threads of the builder's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from wherry.content.threads import finished

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """A few threads.

    :param most: at a time; further work waits.
    """

    def __init__(self, most: int = 8) -> None:
        self._pool: Final = ThreadPoolExecutor(most, "wherry-build")

    async def run(self, work: Callable[..., T], *arguments: Any, undo: Callable[[T], object] | None = None) -> T:
        """Do something short in a thread. Being cancelled waits for its end.

        :param undo: called in a thread with what it gave, where that is not wanted any more.
        """
        running = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*arguments))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await finished(running)
            if undo is not None and not running.cancelled() and running.exception() is None:
                await finished(asyncio.get_running_loop().run_in_executor(self._pool, undo, running.result()))
            raise

    def begin(self, work: Callable[..., object], *arguments: Any) -> None:
        """Do something short in a thread that nobody waits for; `work` raises nothing that matters."""
        self._pool.submit(work, *arguments)

    async def finish(self, work: Callable[..., object], *arguments: Any) -> None:
        """Clean up in a thread, whoever is being cancelled meanwhile. `work` raises nothing that matters."""
        await finished(asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*arguments)))

    def close(self) -> None:
        """End them, after what they do."""
        self._pool.shutdown(wait=True)
