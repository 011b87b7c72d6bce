"""Connections to receivers: streams that know what has arrived, and datagrams."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from wherry.engine.log_drivers.addresses import Address, dial_error
from wherry.engine.log_drivers.waiting import PATIENCE, addresses_of, copied

if TYPE_CHECKING:
    import ssl

__all__ = ["DatagramSocket", "StreamConnection", "tls_context"]

_BUFFER: Final = 256 << 10  # bytes that may be on the way to a receiver
_ANSWER: Final = 64 << 10  # bytes that a receiver may say to us
_SIOCOUTQ: Final = 0x5411
_ESTABLISHED: Final = 1  # TCP_INFO's first byte
_ROUND: Final = 32  # datagrams that are sent before others get their turn


def tls_context(authority: str = "") -> ssl.SSLContext:
    """TLS that knows the machine's authorities, or one in a file.

    As strict as Go is: Python 3.13 would refuse the private authorities of many, which lack a statement of their use.

    :raises OSError: the file cannot be read.
    """
    import ssl  # noqa: PLC0415 - few receivers want it

    with copied(authority) if authority else nullcontext() as file:
        context = ssl.create_default_context(cafile=file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class StreamConnection(asyncio.Protocol):
    """A connection over which entries go to a receiver."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._lost: Exception | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._answers = bytearray()
        self._answered = asyncio.Event()
        self._gone: asyncio.Future[None] = loop.create_future()

    @classmethod
    async def open(cls, address: Address, tls: ssl.SSLContext | None = None) -> StreamConnection:
        """Connect.

        :raises SystemFault: it cannot be reached, in Go's words.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE):
                if address.path:
                    _, connection = await loop.create_unix_connection(cls, address.path)
                else:
                    host = address.host or "localhost"
                    own = await _connected(host, address.port)
                    _, connection = await loop.create_connection(
                        cls, sock=own, ssl=tls, server_hostname=host if tls else None
                    )
        except (OSError, ValueError) as error:
            raise dial_error(address, error) from error
        return connection

    # --- called by asyncio ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what may be on the way."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_BUFFER)
        own = transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def pause_writing(self) -> None:
        """The receiver is slow."""
        self._room.clear()

    def resume_writing(self) -> None:
        """There is room again."""
        self._room.set()

    def data_received(self, data: bytes) -> None:
        """Keep a little for who expects an answer; who says more than that is no receiver of logs."""
        self._answers += data
        self._answered.set()
        if len(self._answers) > _ANSWER:
            self._end(ConnectionError("the receiver says what nobody asked for"))

    def eof_received(self) -> bool:
        """A receiver that says nothing more does not listen any more, either."""
        self._end(ConnectionResetError("the receiver has closed the connection"))
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Wake who waits."""
        self._lost = self._lost or error or ConnectionResetError("the connection has ended")
        for event in (self._room, self._answered):
            event.set()
        if not self._gone.done():
            self._gone.set_result(None)

    # --- called by senders ------------------------------------------------------------------------

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Write, and wait for room.

        :raises OSError: the receiver is gone.
        """
        self._check()
        assert self._transport is not None
        self._transport.writelines(pieces)
        await self._room.wait()
        self._check()

    async def answer(self, most: float) -> bytes:
        """What the receiver has said since the last time; waits for something.

        :param most: seconds to wait; 0 for any time.
        :raises OSError: the receiver is gone, or silent.
        """
        async with asyncio.timeout(most or None):
            while not self._answers:
                self._check()
                self._answered.clear()
                await self._answered.wait()
        said = bytes(self._answers)
        self._answers.clear()
        return said

    def is_drained(self) -> bool:
        """Whether the other side's kernel has all that was written.

        :raises OSError: the connection is lost.
        """
        self._check()
        assert self._transport is not None
        if self._transport.is_closing():  # a write has failed, which drops what was to be written; we hear of it later
            raise ConnectionResetError("the receiver has closed the connection")
        if self._transport.get_write_buffer_size():
            return False
        own = self._transport.get_extra_info("socket")
        (left,) = struct.unpack("i", fcntl.ioctl(own.fileno(), _SIOCOUTQ, bytes(4)))
        if left:
            return False
        if own.family != socket.AF_UNIX and own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED:
            raise ConnectionResetError("the receiver has closed the connection")
        return True

    async def close(self) -> None:
        """Close it; what the receiver does not take is dropped."""
        if self._transport is None:
            return
        if self._lost is None and not self._transport.get_write_buffer_size():
            self._transport.close()
        else:
            self._transport.abort()
        try:
            async with asyncio.timeout(1):
                await asyncio.shield(self._gone)
        except TimeoutError:
            self._transport.abort()

    def _end(self, error: Exception) -> None:
        self._lost = self._lost or error
        if self._transport is not None:
            self._transport.abort()

    def _check(self) -> None:
        if self._lost is not None:
            raise ConnectionResetError(str(self._lost)) from self._lost


async def _connected(host: str, port: int) -> socket.socket:
    """A connection to the first of a name's addresses that accepts one."""
    loop, failure = asyncio.get_running_loop(), OSError(f"no addresses of {host}")
    for number, (family, where) in enumerate(await addresses_of(host, port, socket.SOCK_STREAM)):
        own = socket.socket(family, socket.SOCK_STREAM)
        own.setblocking(False)
        try:
            await loop.sock_connect(own, where)
        except OSError as error:
            own.close()
            failure = failure if number else error
        except BaseException:
            own.close()
            raise
        else:
            return own
    raise failure


class DatagramSocket:
    """A socket from which each entry goes out as a datagram.

    :param loses: whether what nobody receives is lost, as UDP has it; else it is an error.
    """

    def __init__(self, own: socket.socket, *, loses: bool) -> None:
        self._own = own
        self._loses = loses
        own.setblocking(False)

    @classmethod
    async def open(cls, address: Address) -> DatagramSocket:
        """Connect: to a socket of the file system, or to a port of UDP.

        :raises SystemFault: there is no such receiver, in Go's words.
        """
        try:
            if address.path:
                own, where = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), address.path
            else:
                [(family, where), *_] = await addresses_of(address.host or "localhost", address.port, socket.SOCK_DGRAM)
                own = socket.socket(family, socket.SOCK_DGRAM)
            try:
                own.connect(where)
            except BaseException:
                own.close()
                raise
        except (OSError, ValueError) as error:
            raise dial_error(address, error) from error
        return cls(own, loses=not address.path)

    async def send(self, datagrams: Sequence[bytes], too_large: Callable[[bytes], None] | None = None) -> None:
        """Send them one after the other.

        :param too_large: sends what does not fit into a datagram; without it that is dropped.
        :raises OSError: nobody receives them.
        """
        for number, datagram in enumerate(datagrams):
            if number % _ROUND == _ROUND - 1:
                await asyncio.sleep(0)
            await self._send_one(datagram, too_large)

    async def _send_one(self, datagram: bytes, too_large: Callable[[bytes], None] | None) -> None:
        send: Callable[[bytes], object] = self._own.send
        while True:
            try:
                send(datagram)
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                if error.errno == errno.EMSGSIZE and too_large is not None and send is not too_large:
                    send = too_large
                    continue
                if error.errno == errno.ENOBUFS:
                    await asyncio.sleep(0.01)
                    continue
                if not self._loses and error.errno != errno.EMSGSIZE:
                    raise
                return
            else:
                return

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._own.fileno(), _resolve, ready)
        try:
            await ready
        finally:
            loop.remove_writer(self._own.fileno())

    def fileno(self) -> int:
        """Its descriptor."""
        return self._own.fileno()

    def send_descriptor(self, fd: int) -> None:
        """Send a descriptor, and nothing else."""
        socket.send_fds(self._own, [b""], [fd])

    def close(self) -> None:
        """Close it."""
        self._own.close()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
