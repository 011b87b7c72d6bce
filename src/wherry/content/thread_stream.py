"""A stream of bytes from a thread that writes to a reader on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

__all__ = ["pieces_of"]

_BLOCK: Final = 256 << 10
_LARGEST: Final = 1 << 20  # bytes of a block that is passed on as it was written
_MOST: Final = 4  # blocks that may wait for the reader


class _Abandoned(Exception):
    """The reader is gone; the writer ends."""


class _Writer:
    """Collects the written bytes into blocks, and waits while the reader is behind."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = threading.Semaphore(_MOST)
        self._waiting = bytearray()
        self.blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self.abandoned = False

    def write(self, data: bytes) -> None:
        if _BLOCK <= len(data) <= _LARGEST:  # it goes as it is, without being copied
            if self._waiting:
                self.flush()
            self._put(data)
            return
        for start in range(0, len(data), _BLOCK):
            self._waiting += data[start : start + _BLOCK]
            if len(self._waiting) >= _BLOCK:
                self.flush()

    def flush(self) -> None:
        block, self._waiting = bytes(self._waiting), bytearray()
        self._put(block)

    def _put(self, block: bytes) -> None:
        self._room.acquire()
        if self.abandoned:
            raise _Abandoned
        self._loop.call_soon_threadsafe(self.blocks.put_nowait, block)

    def taken(self) -> None:
        self._room.release()

    def abandon(self) -> None:
        self.abandoned = True
        self._room.release()


async def pieces_of(produce: Callable[[Callable[[bytes], object]], None]) -> AsyncGenerator[bytes, None]:
    """The bytes that a function writes, in blocks of 256 KiB to 1 MiB, while it runs; its errors are raised here.

    :param produce: called with a function that takes bytes. It has a thread of its own, because it lasts as long as its
        reader wants: a few slow readers would use up the loop's pool.
    """
    writer = _Writer(asyncio.get_running_loop())

    def work() -> None:
        try:
            produce(writer.write)
            writer.flush()
        except _Abandoned:
            return

    pool = ThreadPoolExecutor(1, thread_name_prefix="produce")
    task = asyncio.get_running_loop().run_in_executor(pool, work)
    block: asyncio.Future[bytes] | None = None
    try:
        while True:
            block = asyncio.ensure_future(writer.blocks.get())
            either: set[asyncio.Future[Any]] = {block, task}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not block.done() and writer.blocks.empty():
                block.cancel()
                task.result()
                return
            writer.taken()
            yield await block
    finally:
        writer.abandon()
        pool.shutdown(wait=False)
        if block is not None:
            block.cancel()
        while not task.done():
            await asyncio.wait({task})
