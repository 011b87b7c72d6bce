"""A stream of bytes from a thread that writes to a reader on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

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
        self.blocks: deque[bytes] = deque()
        self.news = asyncio.Event()  # there are blocks, or the writer has ended
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
        self.blocks.append(block)
        self._loop.call_soon_threadsafe(self.news.set)

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
    task.add_done_callback(lambda _: writer.news.set())
    try:
        while writer.blocks or not task.done():
            if not writer.blocks:
                writer.news.clear()
                await writer.news.wait()
                continue
            writer.taken()
            yield writer.blocks.popleft()
        task.result()
    finally:
        writer.abandon()
        pool.shutdown(wait=False)
        while not task.done():
            await asyncio.wait({task})
