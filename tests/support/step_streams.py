"""The streams of a process that is played: it says in capitals what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from wherry.docker.streams import LogChunk

__all__ = ["EchoingStreams"]


class EchoingStreams:
    """They end when it is told ``exit``, at the end of its input, or by a signal.

    :ivar sizes: that its terminal was told.
    :ivar signals: that it was sent.
    """

    def __init__(self) -> None:
        self.tty = False
        self.detached: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sizes: list[tuple[int, int]] = []
        self.signals: list[int] = []
        self.closed = False
        self._said: asyncio.Queue[bytes] = asyncio.Queue()

    async def output(self) -> AsyncIterator[LogChunk]:
        """What it says."""
        while data := await self._said.get():
            yield LogChunk(1, data.upper())

    async def write(self, data: bytes) -> None:
        """Tell it something."""
        self._said.put_nowait(b"" if data == b"exit" else data)

    async def close_stdin(self) -> None:
        """The end of its input."""
        self._said.put_nowait(b"")

    async def close(self) -> None:
        """Nobody listens any more."""
        self.closed = True
        self.detached.cancel()

    def resize(self, height: int, width: int) -> None:
        """Another size."""
        self.sizes.append((height, width))

    def signal(self, number: int) -> None:
        """A signal."""
        self.signals.append(number)
        self._said.put_nowait(b"")
