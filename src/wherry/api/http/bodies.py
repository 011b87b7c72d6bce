"""Large bodies: bridges between the event loop and code that reads and writes files.

Each transfer has a thread of its own: a client that stalls holds up nobody but itself.
"""

from __future__ import annotations

import asyncio
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from aiohttp import StreamReader
    from aiohttp.web import StreamResponse

log = logging.getLogger(__name__)

T = TypeVar("T")

BLOCK: Final = 256 * 1024  #: bytes that are handed to the event loop at once
_MOST: Final = 1024 * 1024  # bytes that the event loop hands over at once
_END: Final = object()


class ThreadBody(io.RawIOBase):
    """A request's body as a file, for a thread other than the event loop's."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = memoryview(b"")

    def _next(self) -> bytes:
        """Wait for more, and return it; none at the end."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Let nobody read on: a read that waits for the client ends. From the event loop."""
        raise NotImplementedError

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with what there is; 0 at the end.

        :raises OSError: the client has left, or the body was abandoned.
        """
        if not self._rest:
            self._rest = memoryview(self._next())
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def read(self, size: int = -1, /) -> bytes:
        """What there is, at most `size` bytes; none at the end. Without copying what came in one piece.

        :raises OSError: the client has left, or the body was abandoned.
        """
        if size < 0:
            return self.readall()
        if not self._rest:
            piece = self._next()
            if len(piece) <= size:
                return piece
            self._rest = memoryview(piece)
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return piece


class BodyReader(ThreadBody):
    """A body that comes through aiohttp.

    The loop gives all that has come so far at once, and makes a task only where nothing has: the way from one thread
    to the other and back is what a large body costs.
    """

    def __init__(self, body: StreamReader) -> None:
        super().__init__()
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._answers: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self._coming: asyncio.Task[bytes] | None = None
        self._is_abandoned = False

    def abandon(self) -> None:
        """Let nobody read on: a read that waits for the client ends. From the event loop."""
        self._is_abandoned = True
        if self._coming is not None:
            self._coming.cancel()

    def _next(self) -> bytes:
        """Ask the loop for more, and wait for it."""
        self._loop.call_soon_threadsafe(self._give)
        answer = self._answers.get()
        if isinstance(answer, bytes):
            return answer
        raise answer

    def _give(self) -> None:
        if self._is_abandoned:
            self._answers.put(abandoned())
            return
        try:
            piece = self._body.read_nowait(_MOST)
        except Exception as error:  # whatever it is, it is told to who reads
            self._answers.put(error)
            return
        if piece or self._body.at_eof():
            self._answers.put(piece)
            return
        self._coming = self._loop.create_task(self._body.read(_MOST))
        self._coming.add_done_callback(self._came)

    def _came(self, coming: asyncio.Task[bytes]) -> None:
        self._coming = None
        if coming.cancelled():
            self._answers.put(abandoned())
            return
        self._answers.put(coming.exception() or coming.result())


def abandoned() -> ConnectionAbortedError:
    """What a read ends with that nobody waits for any more."""
    return ConnectionAbortedError("nobody wants the rest of the body")


class AnswerWriter:
    """An answer's body, written to from a thread other than the event loop's, in blocks."""

    def __init__(self, response: StreamResponse) -> None:
        self._response = response
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """Send, sooner or later; waits while the client does not take what was sent before.

        :raises OSError: the client has left.
        """
        self._waiting += data
        if len(self._waiting) >= BLOCK:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Send what is waiting."""
        asyncio.run_coroutine_threadsafe(self.finish(), self._loop).result()

    async def finish(self) -> None:
        """Send what is waiting, from the event loop."""
        data, self._waiting = bytes(self._waiting), bytearray()
        await self._response.write(data)


async def finished(work: Awaitable[T]) -> T:
    """Await to the end, even when the client disconnects."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_note_outcome)
        raise


def _note_outcome(task: asyncio.Future[T]) -> None:
    """Log the outcome of a request whose client has disconnected."""
    if not task.cancelled() and (error := task.exception()):
        log.info("request failed after its client had disconnected", extra={"error": str(error)})


async def in_thread(work: Callable[[], T]) -> T:
    """Run something long in a thread of its own."""
    with _thread() as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


async def iterate_in_thread(make: Callable[[], Generator[T, None, None]]) -> AsyncGenerator[T, None]:
    """Yield what a generator gives that works in a thread of its own; close this one when it is not read to its end."""
    loop = asyncio.get_running_loop()
    with _thread() as pool:
        iterator = await loop.run_in_executor(pool, make)
        try:
            while (item := await loop.run_in_executor(pool, next, iterator, _END)) is not _END:
                yield item  # type: ignore[misc]
        finally:
            pool.submit(iterator.close)  # after what it is at now: it removes what it had begun


class _thread:
    """One thread, which is not waited for: it may sit in a read that only the end of the connection ends."""

    def __enter__(self) -> ThreadPoolExecutor:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transfer")
        return self._pool

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False)
