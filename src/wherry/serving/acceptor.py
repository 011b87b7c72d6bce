"""Accepting connections, within bounds.

``asyncio``'s own servers accept whatever comes, and a TLS connection has a buffer of 256 KiB from its first moment, so
that who opens connections and says nothing takes memory for nothing. Here

- the kernel keeps a connection to itself until its first byte is there (TCP_DEFER_ACCEPT, tcp(7));
- so many TLS handshakes are under way at once; when another wants to begin, the oldest gets a moment more and is ended;
- so many connections are open at once; when another comes, one on which nothing is under way is ended, the one that has
  been so for the longest time; if there is none, whoever comes waits in the kernel's queue;
- a connection ends whose other side has gone without a word (SO_KEEPALIVE, tcp(7)): builds, followed logs and attached
  containers say nothing for hours, and would never notice it.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import socket
import traceback
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.linux.memory import give_back_large_blocks

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ["Acceptor", "Bounds"]

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS: Final = 0.5
"""What a handshake may take in any case, however many others want to begin."""
_RETRY_SECONDS: Final = 1.0
_DEFER_SECONDS: Final = 10
#: Who does not answer any more has gone: asked after 30 seconds of silence, six times within a minute.
_KEEP_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
)


class Bounds(NamedTuple):
    """How many at once."""

    connections: int
    handshakes: int = 64
    handshake_seconds: float = 10.0


class _Socket(socket.socket):
    """A socket with a callback for its closing."""

    ended: Callable[[_Socket], None] | None = None
    transport: asyncio.Transport | None = None
    is_given = False  #: to a transport, which closes it

    def close(self) -> None:
        super().close()
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(self)


class Acceptor:
    """Accepts connections on one listening socket.

    :param listener: closed by :meth:`close`.
    :param make: makes what serves a connection.
    :param context: for TLS.
    :param evicts: whether a connection may be ended because nothing is under way on it, which :meth:`busy` and
        :meth:`idle` tell then.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.BaseProtocol],
        bounds: Bounds,
        context: ssl.SSLContext | None = None,
        *,
        evicts: bool = False,
    ) -> None:
        self._evicts = evicts
        self._listener = listener
        self._make = make
        self._bounds = bounds
        self._context = context
        self._open: set[_Socket] = set()
        self._changed = asyncio.Event()
        self._handshakes: dict[asyncio.Task[None], float] = {}
        self._idle: dict[asyncio.Transport, None] = {}
        self._busy: set[asyncio.Transport] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        give_back_large_blocks()
        self._listener.setblocking(False)
        if self._listener.family in (socket.AF_INET, socket.AF_INET6):
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)
            for option in _KEEP_ALIVE:  # whatever is accepted inherits it
                self._listener.setsockopt(*option)
        self._task = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Stop accepting; open connections continue, handshakes are cancelled."""
        for task in (self._task, *self._handshakes):
            if task is not None:
                task.cancel()
        self._listener.close()

    def busy(self, transport: asyncio.Transport | None) -> None:
        """Something is under way on a connection: it is not ended for another's sake."""
        if transport is not None:
            self._idle.pop(transport, None)
            self._busy.add(transport)

    def idle(self, transport: asyncio.Transport | None) -> None:
        """Nothing is under way on a connection, for now."""
        if transport is not None:
            self._busy.discard(transport)
            if not transport.is_closing():
                self._idle[transport] = None
                self._changed.set()

    async def _accept(self) -> None:
        """Take one after the other; the one that was taken waits for room, the others in the kernel's queue."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    _log.warning("cannot accept connections for now: %s", error.strerror)
                    await asyncio.sleep(_RETRY_SECONDS)
                continue
            with accepted:
                await self._room_for_a_connection()
                if self._context is not None:  # without TLS who is late is this process, and not the other side
                    await self._room_for_a_handshake()
                connection = _Socket(fileno=accepted.detach())
            self._begin(connection)

    def _begin(self, connection: _Socket) -> None:
        connection.setblocking(False)
        connection.ended = self._ended
        self._open.add(connection)
        task = asyncio.create_task(self._attach(connection))
        self._handshakes[task] = asyncio.get_running_loop().time()
        task.add_done_callback(functools.partial(self._begun, connection))

    def _begun(self, connection: _Socket, task: asyncio.Task[None]) -> None:
        del self._handshakes[task]
        if not connection.is_given:
            connection.close()  # cancelled before it could begin

    async def _attach(self, connection: _Socket) -> None:
        """Shake hands, and let the connection be served."""
        connection.is_given = True
        timeout = self._bounds.handshake_seconds if self._context is not None else None
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                self._make, connection, ssl=self._context, ssl_handshake_timeout=timeout
            )
        except OSError as error:  # SSLError is one
            _log.debug("handshake failed: %s", error)
            _clear_frames(error)
            return
        connection.transport = transport
        if self._evicts and transport not in self._busy:
            self.idle(transport)

    def _ended(self, connection: _Socket) -> None:
        self._open.discard(connection)
        if connection.transport is not None:
            self._idle.pop(connection.transport, None)
            self._busy.discard(connection.transport)
        self._changed.set()

    async def _room_for_a_connection(self) -> None:
        while len(self._open) >= self._bounds.connections:
            self._changed.clear()
            while self._idle:
                transport = next(iter(self._idle))
                del self._idle[transport]
                if not transport.is_closing():
                    transport.abort()  # to close it would wait for the other side to agree
                    break
            await self._changed.wait()

    async def _room_for_a_handshake(self) -> None:
        while len(self._handshakes) >= self._bounds.handshakes:
            oldest, began = next(iter(self._handshakes.items()))
            left = began + _PATIENCE_SECONDS - asyncio.get_running_loop().time()
            if left <= 0:
                oldest.cancel()
            await asyncio.wait(list(self._handshakes), timeout=max(0.0, left) or None, return_when="FIRST_COMPLETED")


def _clear_frames(error: BaseException) -> None:
    """Clear the frames that an error went through.

    Those of asyncio's TLS hold the error, which holds them: with their buffers they would wait for the garbage
    collector, which counts objects and not bytes.
    """
    one: BaseException | None = error
    while one is not None:
        traceback.clear_frames(one.__traceback__)
        one = one.__context__
