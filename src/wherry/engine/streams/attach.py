"""One client at the standard streams of one process: a container's, or an exec's."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from wherry.docker.streams import AttachOptions, DetachKeys, LogChunk
from wherry.engine.container.container import Container
from wherry.engine.container.log import ContainerLog, merged
from wherry.keeper.log_reader import BEGINNING

__all__ = ["ContainerAttachment", "ExecAttachment", "Input"]

_READ: Final = 256 << 10


class Input:
    """The writing end of a process's standard input: never blocks the loop, waits while the process does not read.

    :param fd: a descriptor that is this object's from now on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)

    @classmethod
    def of_fifo(cls, path: Path) -> Input:
        """Open a FIFO by name.

        :raises BrokenPipeError: it has no reader any more.
        """
        try:
            return cls(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
        except OSError as exc:
            raise BrokenPipeError(errno.EPIPE, "the process has no standard input any more") from exc

    @classmethod
    def of_terminal(cls, master: int) -> Input:
        """A duplicate of a pseudo-terminal's master."""
        return cls(fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3))

    async def write(self, data: bytes) -> None:
        """Write all of it.

        :raises BrokenPipeError: the process does not read any more.
        """
        view = memoryview(data)
        while view:
            if self._fd < 0:
                raise BrokenPipeError(errno.EPIPE, "closed")
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await self._writable()
            except OSError as exc:  # EPIPE; EIO from a terminal that is gone
                raise BrokenPipeError(errno.EPIPE, "the process does not read any more") from exc

    async def _writable(self) -> None:
        loop, fd = asyncio.get_running_loop(), self._fd
        ready = loop.create_future()
        loop.add_writer(fd, _resolve, ready)
        try:
            await ready
        finally:
            loop.remove_writer(fd)

    def close(self) -> None:
        """Close it; a second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Attachment:
    """Common to both kinds of attachment: input and the detach keys."""

    def __init__(self, *, tty: bool, detach_keys: str) -> None:
        self.tty: Final = tty
        self.detached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keys = DetachKeys(detach_keys) if tty else None
        self._input: Input | None = None

    async def write(self, data: bytes) -> None:
        """Write to the process's input; waits for its start, and while it does not read.

        :raises BrokenPipeError: the process does not read any more.
        """
        if self._keys is not None:
            data, left = self._keys.filter(data)
            if left and not self.detached.done():
                self.detached.set_result(None)
        if not data:
            return
        if self._input is None:
            self._input = await self._open_input()
        if self._input is not None:
            await self._input.write(data)

    async def _open_input(self) -> Input | None:
        raise NotImplementedError

    def _close_input(self) -> None:
        if self._input is not None:
            self._input.close()


class ContainerAttachment(_Attachment):
    """A client at a container's streams, from now on or from the beginning.

    :param log: the container's.
    :param holds: whether the container waits for this client rather than drop output that it has not read.
    :param close_stdin: asks the keeper to let the process see the end of its input.
    :param on_detach: called when the client detaches by its keys.
    """

    def __init__(
        self,
        container: Container,
        log: ContainerLog,
        options: AttachOptions,
        *,
        holds: bool,
        close_stdin: Callable[[], Awaitable[None]],
        on_detach: Callable[[], None],
    ) -> None:
        super().__init__(tty=container.has_terminal, detach_keys=options.detach_keys)
        self._container = container
        self._options = options
        self._ask_to_close = close_stdin
        streams = options.outputs
        self._follower = log.attach(
            BEGINNING if options.logs else log.end(),
            streams,
            until_end_of=log.present_or_next() if options.stream else 0,
            holds=holds and options.stream and bool(streams),
        )
        self.detached.add_done_callback(lambda done: None if done.cancelled() else on_detach())

    async def output(self) -> AsyncIterator[LogChunk]:
        """The container's output, until it has exited and everything was read.

        :raises Overtaken: the container does not wait for its clients (``mode=non-blocking``), and output was dropped.
        """
        async for chunk in merged(self._follower.chunks()):
            yield chunk

    async def _open_input(self) -> Input | None:
        if not (self._options.stdin and self._container.config.open_stdin):
            return None
        await self._container.started.wait()
        if self._container.terminal is not None:
            return Input.of_terminal(self._container.terminal.fileno())
        return Input.of_fifo(self._container.run_directory / "stdin")

    async def close_stdin(self) -> None:
        """The client has no more input; the process sees the end of its own only with ``StdinOnce``."""
        self._close_input()
        if self._options.stdin and self._container.config.stdin_once and not self.tty:
            await self._container.started.wait()
            await self._ask_to_close()

    async def close(self) -> None:
        """Detach. The container goes on."""
        self._follower.close()
        self._close_input()
        once = self._options.stdin and self._container.config.stdin_once and not self.tty
        if once and not self.detached.done() and self._container.started.is_set():
            await self._ask_to_close()
        self.detached.cancel()


class ExecAttachment(_Attachment):
    """A client at the streams of an exec: pipes, or a pseudo-terminal's master, read directly.

    :param outputs: stream numbers by descriptor; the descriptors are this object's.
    :param stdin: a descriptor for input, this object's as well; -1 for none.
    :param ended: resolved when the process has exited.
    """

    def __init__(
        self, outputs: Mapping[int, int], stdin: int, ended: asyncio.Future[int], *, tty: bool, detach_keys: str
    ) -> None:
        super().__init__(tty=tty, detach_keys=detach_keys)
        self._outputs = dict(outputs)
        self._ended = ended
        self._ready = asyncio.Event()
        self._input = Input(stdin) if stdin >= 0 else None
        for fd in self._outputs:
            os.set_blocking(fd, False)
        ended.add_done_callback(self._wake)

    async def output(self) -> AsyncIterator[LogChunk]:
        """The process's output, until it has exited and the pipes are empty.

        Its children may hold the pipes longer; their output after its exit is lost.
        """
        while True:
            self._ready.clear()
            ended = self._ended.done()
            chunks = [chunk for fd in list(self._outputs) if (chunk := self._read(fd))]
            for chunk in chunks:
                yield chunk
            if chunks:
                continue
            if ended or (not self._outputs and await self._exit()):
                return
            await self._readable()

    async def _exit(self) -> bool:
        """The process closed its streams: wait for its exit."""
        await asyncio.shield(self._ended)
        return True

    def _read(self, fd: int) -> LogChunk | None:
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return None
        except OSError:  # EIO: no process has the terminal open any more
            data = b""
        if data:
            return LogChunk(self._outputs[fd], data)
        del self._outputs[fd]
        os.close(fd)
        return None

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        for fd in self._outputs:
            loop.add_reader(fd, self._ready.set)
        try:
            await self._ready.wait()
        finally:
            for fd in self._outputs:
                loop.remove_reader(fd)

    def _wake(self, _: asyncio.Future[int]) -> None:
        self._ready.set()

    async def _open_input(self) -> Input | None:
        return None

    async def close_stdin(self) -> None:
        """The client has no more input: the process sees the end of its own."""
        if not self.tty:
            self._close_input()

    async def close(self) -> None:
        """Detach; the process goes on, and its next write to a closed pipe fails."""
        self._ended.remove_done_callback(self._wake)
        self._close_input()
        while self._outputs:
            fd, _ = self._outputs.popitem()
            os.close(fd)
        self.detached.cancel()
