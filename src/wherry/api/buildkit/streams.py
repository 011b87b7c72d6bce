"""One stream of an HTTP/2 connection: a request and its answer, as bytes with headers and trailers."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from h2.errors import ErrorCodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["STREAM_WINDOW", "Header", "Stream", "StreamFailed"]

Header = tuple[bytes, bytes]

STREAM_WINDOW: Final = 16 << 20
PIECE: Final = 1 << 20  #: bytes that are read at once


class Carrier(Protocol):
    """What a stream needs of its connection."""

    async def writable(self, stream: Stream) -> None:
        """Wait while too much waits for the other side."""

    async def send(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """Send data, as the windows of the other side allow."""

    def send_headers(self, stream: Stream, headers: Iterable[Header], *, end: bool) -> None:
        """Send headers, or trailers."""

    def was_read(self, stream: Stream, size: int) -> None:
        """Data was read: the other side may send as much again."""

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """End a stream before its time."""


class StreamFailed(ConnectionError):
    """A stream ended before its time: reset by the other side, or with its connection."""


class Stream:
    """One request and its answer. One task at a time may read, and one may write.

    :param headers: that came: a request's, or an answer's once it is there.
    """

    def __init__(self, connection: Carrier, number: int, headers: Sequence[Header] | None = None) -> None:
        self.number = number
        self.headers = headers
        self.trailers: Sequence[Header] | None = None
        self.ended = False  #: the other side sends nothing more
        self.error: StreamFailed | None = None
        self.held = 0  #: bytes that came and were not read
        self.unsaid = 0  #: bytes that were read, and that the other side was not told of
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._sendable = asyncio.Event()

    async def read(self) -> bytes:
        """What has come and was not read yet, about `PIECE` bytes at most; nothing at the end. Waits for some.

        :raises StreamFailed: it ended before its time.
        """
        while not self._chunks:
            if self.ended:
                return b""
            if self.error is not None:
                raise self.error
            await self._change()
        data = self._piece()
        self.held -= len(data)
        self._connection.was_read(self, len(data))
        return data

    def _piece(self) -> bytes:
        taken = [self._chunks.popleft()]
        size = len(taken[0])
        while self._chunks and size < PIECE:
            taken.append(self._chunks.popleft())
            size += len(taken[-1])
        return b"".join(taken) if len(taken) > 1 else taken[0]

    async def answer(self) -> Sequence[Header]:
        """The answer's headers."""
        while self.headers is None:
            if self.error is not None:
                raise self.error
            await self._change()
        return self.headers

    async def end(self) -> Sequence[Header]:
        """Wait for the other side's last word, throwing away what comes; its trailers, or its headers without any."""
        while await self.read():
            pass
        return self.trailers if self.trailers is not None else (self.headers or ())

    async def write(self, data: bytes, *, end: bool = False) -> None:
        """Send; waits while the other side takes nothing.

        :raises StreamFailed: it ended before its time.
        """
        await self._connection.send(self, data, end=end)

    async def write_headers(self, headers: Iterable[Header], *, end: bool = False) -> None:
        """Send headers, or trailers."""
        await self._connection.writable(self)
        self._connection.send_headers(self, headers, end=end)

    def reset(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """End it before its time. Does nothing where it has ended."""
        self._connection.reset(self, code)

    async def sendable(self) -> None:
        """Wait until the other side's window may have been opened."""
        self._sendable.clear()
        await self._sendable.wait()

    # --- for the connection

    def take(self, data: bytes) -> None:
        """Data has come."""
        self._chunks.append(data)
        self.held += len(data)
        self._changed.set()

    def drop(self) -> int:
        """Nobody will read what has come: forget it; how many bytes that were."""
        self._chunks.clear()
        size, self.held = self.held, 0
        return size

    def notify(self) -> None:
        """Something has changed."""
        self._changed.set()
        self._sendable.set()

    def fail(self, reason: str) -> None:
        """It has ended before its time."""
        if self.error is None:
            self.error = StreamFailed(reason)
        self.notify()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
