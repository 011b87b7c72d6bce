"""A container's output as its clients see it: read from the log, from where they came in.

The keeper writes a container's output to the log and nowhere else. An `OutputFeed` knows whether the log may still grow
and wakes its followers when it did; a follower reads the log file itself, as fast as its own client takes it. So a
client that stops reading blocks nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from wherry.engine.streams import LogChunk
from wherry.keeper import logreader
from wherry.keeper.records import NOTE, Position

__all__ = ["OutputFeed", "merged"]

_BATCH: Final = 256 << 10  # bytes that are put together for one write to a client


class OutputFeed:
    """Tells a log's followers when it grew and when it is complete.

    :param directory: of the log.
    :param watch: asks the keeper to tell about growth from now on.
    :param unwatch: asks it to stop.
    """

    def __init__(
        self, directory: Path, watch: Callable[[], Awaitable[None]], unwatch: Callable[[], Awaitable[None]]
    ) -> None:
        self.directory: Final = directory
        self._watch = watch
        self._unwatch = unwatch
        self._followers = 0
        self._grown = asyncio.Event()
        self._starts = 0
        self._ends = 0

    # --- the engine tells -------------------------------------------------------------------------

    def has_grown(self) -> None:
        """The keeper wrote something, or something else changed that followers look at."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def has_started(self) -> None:
        """The container was started, or found running."""
        self._starts += 1
        if self._followers:
            await self._watch()
        self.has_grown()

    def has_finished(self) -> None:
        """The container exited, and all that it wrote is in the log."""
        self._ends = self._starts
        self.has_grown()

    def has_failed_to_start(self) -> None:
        """A start failed: who waited for its output waits for nothing."""
        self._starts += 1
        self.has_finished()

    # --- followers ask ----------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether more output may come without another start."""
        return self._starts > self._ends

    def present_or_next(self) -> int:
        """The number of the start that runs now, or of the one to come."""
        return self._starts if self.is_running else self._starts + 1

    def end(self) -> Position:
        """The position after the last byte that is in the log now."""
        return logreader.end_position(str(self.directory))

    async def follow(
        self, start: Position | logreader.Start, streams: frozenset[int], *, until_end_of: int
    ) -> AsyncGenerator[logreader.Chunk, None]:
        """The log from `start` on, until the output of the start with this number is complete."""
        await self._enter()
        reader = logreader.LogReader(str(self.directory), start, streams=streams)
        try:
            while True:
                grown, complete = self._grown, self._ends >= until_end_of
                for chunk in reader.chunks():
                    yield chunk
                if complete:
                    return
                if not grown.is_set():
                    yield _PAUSE
                await grown.wait()
        finally:
            reader.close()
            await self._leave()

    async def _enter(self) -> None:
        self._followers += 1
        if self._followers == 1 and self.is_running:
            await self._watch()

    async def _leave(self) -> None:
        self._followers -= 1
        if self._followers == 0 and self.is_running:
            await self._unwatch()


_PAUSE: Final = logreader.Chunk(0, 0, memoryview(b""))
"""In `OutputFeed.follow`: nothing more for now; what was collected should go out."""


async def merged(chunks: AsyncIterator[logreader.Chunk]) -> AsyncIterator[LogChunk]:
    """Chunks of one stream that stand together, put together: far fewer frames for a process that writes bytewise."""
    pieces: list[memoryview] = []
    stream, size = 0, 0
    async for chunk in chunks:
        if pieces and (chunk.stream != stream or size >= _BATCH):
            yield LogChunk(stream, b"".join(pieces))
            pieces, size = [], 0
        if chunk.data and chunk.stream != NOTE:
            stream = chunk.stream
            pieces.append(chunk.data)
            size += len(chunk.data)
    if pieces:
        yield LogChunk(stream, b"".join(pieces))
