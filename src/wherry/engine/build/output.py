"""A step's output: two pipes, read no faster than somebody takes what comes, so that the step waits."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import termios
from typing import TYPE_CHECKING, Final

from wherry.linux.fd import Fd

if TYPE_CHECKING:
    from wherry.build.model.executor import Output

__all__ = ["OutputPipes"]

_CHUNK: Final = 64 << 10  # bytes; what a pipe holds


class OutputPipes:
    """The pipes of one step; used from the event loop's thread.

    :ivar theirs: the step's ends: standard output and standard error.
    """

    has_input: Final = False
    terminal: Final = False
    size: Final = None

    def __init__(self) -> None:
        self._ours: dict[int, Fd] = {}
        self.theirs: list[Fd] = []
        self._left: dict[int, int] | None = None  # bytes by stream, once the step has ended
        self._wake: asyncio.Future[None] | None = None
        for stream in (1, 2):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reading, False)
            self._ours[stream] = Fd(reading)
            self.theirs.append(Fd(writing))

    def take_process(self, pidfd: Fd, masters: list[Fd]) -> None:
        """It runs; it has no terminal."""

    def close_theirs(self) -> None:
        """The step has its own."""
        while self.theirs:
            self.theirs.pop().close()

    def close(self) -> None:
        """Close everything."""
        self.close_theirs()
        while self._ours:
            self._ours.popitem()[1].close()

    def has_ended(self) -> None:
        """The step's processes are gone: what the pipes hold by now is all that it wrote.

        Somebody else may have the other end, through a socket of the host's, and hold it open or write on.
        """
        self._left = {stream: _waiting_in(fd) for stream, fd in self._ours.items()}
        self._stir()

    async def forward(self, output: Output) -> None:
        """Give everything to somebody, until the step has closed both pipes or has ended."""
        while self._ours:
            await self._readable()
            for stream in list(self._ours):
                data = self._read(stream)
                if data:
                    await output(stream, data)

    async def drained(self) -> None:
        """Wait until nobody has the other ends any more; what still comes is dropped."""

        async def drop(stream: int, data: bytes) -> None:
            """Nobody wants it."""

        await self.forward(drop)

    def _read(self, stream: int) -> bytes:
        """What is there, up to a bound; at the end of a stream it is closed."""
        fd = self._ours[stream]
        bound = _CHUNK if self._left is None else min(_CHUNK, self._left[stream])
        try:
            data = os.read(fd.fileno(), bound) if bound else b""
        except BlockingIOError:
            if self._left is None:
                return b""
            data = b""
        if not data:
            self._ours.pop(stream).close()
        elif self._left is not None:
            self._left[stream] -= len(data)
        return data

    async def _readable(self) -> None:
        if self._left is not None:
            return
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        numbers = [fd.fileno() for fd in self._ours.values()]
        try:
            for number in numbers:
                loop.add_reader(number, self._stir)
            await self._wake
        finally:
            for number in numbers:
                loop.remove_reader(number)
            self._wake = None

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def _waiting_in(pipe: Fd) -> int:
    """How many bytes a pipe holds; FIONREAD, pipe(7)."""
    found = array.array("i", [0])
    fcntl.ioctl(pipe.fileno(), termios.FIONREAD, found)
    return found[0]
