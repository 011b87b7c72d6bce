"""Hijacking: a connection leaves HTTP and becomes two streams of bytes.

How it goes on the wire (Engine API, "Hijacking")::

    client                                       daemon
      POST /containers/x/attach?...  HTTP/1.1
      Upgrade: tcp, Connection: Upgrade  ---->
                                          <----  101 UPGRADED   (200 OK when the client did not ask for an upgrade)
      bytes for standard input           ---->
      end of file (half-close)           ---->
                                          <----  output: a terminal's as it is, else in frames: 8 bytes of head, data
                                          <----  end of file: the process ended, or the detach keys were typed

Both directions have backpressure: the reading of the socket is paused while `READ_LIMIT` bytes wait for the process,
and `Hijacked.write` waits while the client has not taken what was written.

A client that has half-closed and then dies cannot be noticed by reading: asyncio takes the descriptor out of its
selector. The kernel tells it through ``EPOLLHUP``, which :class:`HangupWatch` waits for, one epoll for all connections.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import sys
import termios
import time
from typing import TYPE_CHECKING, Final

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from wherry.api.http.connection import FirstRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter

READ_LIMIT: Final = 256 * 1024  #: bytes of input that may wait for a process
WRITE_LIMIT: Final = 64 * 1024  #: bytes of output that may wait for a client
FRAME_LIMIT: Final = 1024 * 1024  #: bytes of one frame; dockerd's clients take any size, but keep it in memory

HEAD_PATIENCE: Final = 0.5  #: seconds that output waits for a client to read the answer's head

RAW_STREAM: Final = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM: Final = "application/vnd.docker.multiplexed-stream"


def content_type(*, tty: bool, version: tuple[int, int]) -> str:
    """Return the content type of the output; the one for multiplexed streams exists since API 1.42."""
    return RAW_STREAM if tty or version < (1, 42) else MULTIPLEXED_STREAM


def frame(stream: int, data: bytes) -> tuple[bytes, ...]:
    """Return the output as the multiplexed form has it: stream, three zeros, length (big-endian), data.

    :param stream: 1 is standard output, 2 standard error, 3 an error of the daemon's.
    """
    if len(data) <= FRAME_LIMIT:
        return (bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big"), data)
    pieces: list[bytes] = []
    view = memoryview(data)
    for start in range(0, len(data), FRAME_LIMIT):
        pieces += frame(stream, bytes(view[start : start + FRAME_LIMIT]))
    return tuple(pieces)


def error_frame(error: Exception) -> tuple[bytes, ...]:
    """Return an error in the multiplexed form: clients print "error from daemon in stream" and stop."""
    return frame(3, str(error).encode())


class HangupWatch:
    """Calls back when the other side of a socket is gone, without reading from it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._loop = loop
        loop.add_reader(self._epoll.fileno(), self._look)

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Begin to watch; EPOLLHUP and EPOLLERR are always reported."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLET)

    def remove(self, fd: int) -> None:
        """Stop watching; call it while the descriptor is still open."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Release the descriptor."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _look(self) -> None:
        for fd, _ in self._epoll.poll(0):
            if callback := self._callbacks.get(fd):
                callback()


class Hijacked(asyncio.Protocol):
    """A connection taken out of HTTP: `read` and `write`, both with backpressure, and `gone`."""

    def __init__(self, http: asyncio.Protocol, watch: HangupWatch) -> None:
        self._http = http
        self._watch = watch
        self._watched = -1
        self._transport: asyncio.Transport | None = None
        self._input = bytearray()
        self._input_ended = False
        self._input_arrived = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()  #: the client has left

    # --- the side of the handlers

    def take_over(self, transport: asyncio.Transport) -> None:
        """Become the transport's protocol; from here on no byte is HTTP."""
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_LIMIT)
        first = transport.get_protocol()
        transport.set_protocol(self)
        if isinstance(first, FirstRequest):
            early, ended = first.take_kept()
            self.data_received(early)
            if ended:
                self.eof_received()

    async def read(self) -> bytes:
        """Return what the client sent next, or nothing once it half-closed or left."""
        while not self._input and not self._input_ended:
            self._input_arrived.clear()
            await self._input_arrived.wait()
        data = bytes(self._input)
        self._input.clear()
        if self._transport and not self._input_ended and not self._transport.is_closing():
            self._transport.resume_reading()
        return data

    async def write(self, *pieces: bytes) -> None:
        """Send to the client; waits while it does not take what was sent before.

        :raises ConnectionResetError: the client has left.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client has left")
        # Not `writelines`: in Python 3.12 and 3.13 it fills the transport's buffer without ever pausing the protocol.
        self._transport.write(b"".join(pieces))
        await self._may_write.wait()

    async def head_taken(self) -> None:
        """Return when the client has read the answer's head, or after `HEAD_PATIENCE` seconds.

        docker-py reads the head through a buffer and the stream past it: what comes together with the head it loses.
        The kernel tells how much the other side has not read yet (``SIOCOUTQ``, unix(7), tcp(7)).
        """
        deadline = time.monotonic() + HEAD_PATIENCE
        while self._unread() and time.monotonic() < deadline:  # noqa: ASYNC110 - the kernel has no event for it
            await asyncio.sleep(0.001)

    def _unread(self) -> bool:
        if self._transport is None or self.gone.done():
            return False
        if self._transport.get_write_buffer_size():
            return True
        socket = self._transport.get_extra_info("socket")
        return int.from_bytes(fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder) > 0

    def close(self) -> None:
        """Send what is still to be sent, then close."""
        if self._transport is not None:
            self._transport.close()

    # --- the side of the transport

    def data_received(self, data: bytes) -> None:
        if not data:
            return
        self._input += data
        self._input_arrived.set()
        if len(self._input) >= READ_LIMIT and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._end_input()
        self._watch_for_hangup()
        return True  # output goes on

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_watching()
        self._end_input()
        self._may_write.set()
        if not self.gone.done():
            self.gone.set_result(None)
        self._http.connection_lost(error)

    def _end_input(self) -> None:
        self._input_ended = True
        self._input_arrived.set()

    def _watch_for_hangup(self) -> None:
        socket = self._transport.get_extra_info("socket") if self._transport else None
        if socket is not None and socket.fileno() >= 0:
            self._watched = socket.fileno()
            self._watch.add(self._watched, self._hung_up)

    def _stop_watching(self) -> None:
        if self._watched >= 0:
            self._watch.remove(self._watched)
            self._watched = -1

    def _hung_up(self) -> None:
        self._stop_watching()
        if self._transport is not None:
            self._transport.abort()


class HijackedResponse(StreamResponse):
    """What a handler returns after a connection was taken over: there is nothing left to say in HTTP."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        self.force_close()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the head was never HTTP's."""


def wants_upgrade(request: BaseRequest) -> bool:
    """Whether the client asked for ``101 UPGRADED``; old ones just expect the stream."""
    return bool(request.headers.get("Upgrade"))


def hijack(request: BaseRequest, watch: HangupWatch, *, content_type: str) -> Hijacked:
    """Send the head of the answer and take the connection over.

    :raises ConnectionResetError: the client has left already.
    """
    http = request.protocol
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has left")
    connection = Hijacked(http, watch)
    transport.write(_head(wants_upgrade(request), content_type))
    http.keep_alive(False)
    connection.take_over(transport)
    return connection


def upgrade(request: BaseRequest, protocol: str) -> tuple[asyncio.Transport, bytes]:
    """Agree to another protocol: the connection's transport, and what the client has said in that protocol already.

    Whoever takes it sets a protocol object of its own, and tells that of the request when the connection has ended.

    :raises ConnectionResetError: the client has left already, or half-closed: nothing of its protocol can come any
        more, and asyncio does not tell of that again.
    """
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has left")
    request.protocol.keep_alive(False)
    first = transport.get_protocol()
    early, ended = first.take_kept() if isinstance(first, FirstRequest) else (b"", False)
    if ended:
        raise ConnectionResetError("the client has half-closed")
    transport.write(f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode())
    return transport, early


def _head(upgrade: bool, content_type: str) -> bytes:
    if upgrade:
        lines = ["HTTP/1.1 101 UPGRADED", f"Content-Type: {content_type}", "Connection: Upgrade", "Upgrade: tcp"]
    else:
        lines = ["HTTP/1.1 200 OK", f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, "", ""]).encode()
