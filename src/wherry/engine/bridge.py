"""From code that writes, in a thread, to code that awaits, on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Final

__all__ = ["pieces_of"]

_BLOCK: Final = 256 << 10
_MOST: Final = 8  # blocks that may wait for the reader


class _Abandoned(Exception):
    """The reader has left; the writer is to end."""


class _Writer:
    """Collects what is written into blocks, and waits while the reader is behind."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = threading.Semaphore(_MOST)
        self._waiting = bytearray()
        self.blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self.abandoned = False

    def write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        self._room.acquire()
        if self.abandoned:
            raise _Abandoned
        block, self._waiting = bytes(self._waiting), bytearray()
        self._loop.call_soon_threadsafe(self.blocks.put_nowait, block)

    def taken(self) -> None:
        self._room.release()

    def abandon(self) -> None:
        self.abandoned = True
        self._room.release()


async def pieces_of(produce: Callable[[Callable[[bytes], object]], None]) -> AsyncGenerator[bytes, None]:
    """What a function writes, while it writes it, in blocks of 256 KiB; its errors are raised here.

    :param produce: called in a thread with the function to write to.
    """
    writer = _Writer(asyncio.get_running_loop())

    def work() -> None:
        try:
            produce(writer.write)
            writer.flush()
        except _Abandoned:
            return

    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        while True:
            block = asyncio.ensure_future(writer.blocks.get())
            await asyncio.wait({block, task}, return_when=asyncio.FIRST_COMPLETED)
            if not block.done() and writer.blocks.empty():
                block.cancel()
                task.result()
                return
            writer.taken()
            yield await block
    finally:
        writer.abandon()
        await asyncio.wait({task})
