"""A step with somebody at its standard streams: a shell in a step that has failed."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from wherry.engine.streams.attach import ExecAttachment
from wherry.errors import SystemCallError, Unavailable
from wherry.linux import pty
from wherry.linux.fd import Fd
from wherry.linux.process import pidfd_send_signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.build.model.failure import Attend, Console

__all__ = ["AttendedStreams"]

_CHUNK: Final = 64 << 10  # bytes; what a pipe holds


class AttendedStreams:
    """The streams of one step: a terminal, or three pipes. Used from the event loop's thread.

    Its face to the executor is that of `wherry.engine.build.output.OutputPipes`.

    :ivar theirs: the step's ends: standard input, output and error; none where it has a terminal.
    :ivar terminal: whether it has one.
    :ivar size: of the terminal, rows and columns; None: not known.
    """

    has_input: Final = True

    def __init__(self, console: Console) -> None:
        self.terminal = console.terminal
        self.size = list(console.size) if console.terminal and all(console.size) else None
        self.theirs: list[Fd] = []
        self._ours: list[Fd] = []
        self._master: Fd | None = None
        self._pidfd: Fd | None = None
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if not console.terminal:
            for is_input in (True, False, False):
                reading, writing = (Fd(fd) for fd in os.pipe2(os.O_CLOEXEC))
                self.theirs.append(reading if is_input else writing)
                self._ours.append(writing if is_input else reading)

    def close_theirs(self) -> None:
        """The step has its own."""
        while self.theirs:
            self.theirs.pop().close()

    def close(self) -> None:
        """Close everything."""
        self.close_theirs()
        while self._ours:
            self._ours.pop().close()
        if self._master is not None:
            self._master.close()

    def take_process(self, pidfd: Fd, masters: list[Fd]) -> None:
        """It runs. The master of its terminal, if it has one, is this object's from now on; the pidfd is not."""
        self._pidfd = pidfd
        for master in masters:
            self._master = master

    def has_ended(self) -> None:
        """The step's processes are gone: what its streams hold by now is all that it wrote."""
        if not self._ended.done():
            self._ended.set_result(0)

    async def attended(self, attend: Attend) -> None:
        """Let somebody attend, until he has had all that the step wrote, or leaves.

        :raises Unavailable: he left before the step had ended.
        """
        streams = self._streams()
        try:
            await attend(streams)
        finally:
            await streams.close()
        if not self._ended.done():
            raise Unavailable("nobody attends to the step any more")

    def _streams(self) -> _Streams:
        if self._master is None:
            stdin, *pipes = self._ours
            self._ours = []
            outputs = {fd.detach(): stream for stream, fd in enumerate(pipes, 1)}
            return _Streams(outputs, stdin.detach(), self._ended, self._pidfd)
        master = self._master.fileno()
        return _Streams({os.dup(master): 1}, os.dup(master), self._ended, self._pidfd, self._master)

    async def drained(self) -> None:
        """Wait until nobody has the other ends any more; what still comes is dropped.

        Of a terminal nothing tells it: the child has made it, and nobody has got it.
        """
        for fd in self._ours[1:]:
            await _closed(fd)


async def _closed(pipe: Fd) -> None:
    """Wait for the end of what comes through a pipe."""
    loop, number = asyncio.get_running_loop(), pipe.fileno()
    readable = asyncio.Event()
    os.set_blocking(number, False)
    loop.add_reader(number, readable.set)
    try:
        while True:
            await readable.wait()
            readable.clear()
            with suppress(BlockingIOError):
                if not os.read(number, _CHUNK):
                    return
    finally:
        loop.remove_reader(number)


class _Streams(ExecAttachment):
    """What somebody who attends gets. No keys detach him: a terminal's may be any."""

    def __init__(
        self,
        outputs: Mapping[int, int],
        stdin: int,
        ended: asyncio.Future[int],
        pidfd: Fd | None,
        master: Fd | None = None,
    ) -> None:
        super().__init__(outputs, stdin, ended, tty=False, detach_keys="")
        self._pidfd = pidfd
        self._master = master

    async def close_stdin(self) -> None:
        """The end of its input; a terminal has none."""
        if self._master is None:
            await super().close_stdin()

    def resize(self, height: int, width: int) -> None:
        """Tell the terminal its size."""
        if self._master is not None and not self._master.closed:
            pty.set_winsize(self._master.fileno(), height, width)

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        if self._pidfd is not None and not self._pidfd.closed:
            with suppress(SystemCallError):  # it has just ended
                pidfd_send_signal(self._pidfd.fileno(), number)
