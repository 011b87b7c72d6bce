"""The DNS server: one object for all sandboxes, on sockets that were bound inside them.

Most questions are the same ones again and again. So the answers that come out of the directory are kept whole, by all
bytes of the question but its ID; finding one costs a look into a dictionary, and all of it about as much as the two
system calls. They are thrown away when the directory's generation changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from functools import partial
from typing import Any, Final

from wherry.network.dns.connection import Connection
from wherry.network.dns.directory import Directory
from wherry.network.dns.forward import Forwarder
from wherry.network.dns.responder import Responder, Turns

__all__ = ["DnsServer"]

BATCH: Final = 32
"""Datagrams taken at one wake-up of the event loop, less than a millisecond's work."""
LOOK_UP: Final = 4
"""How many of a batch's datagrams one counts for whose answer is not ready."""
PAUSE: Final = 0.001
"""Seconds at least without a look at a socket that had more than a batch: as long as the batch took, so that a
flood gets half of the loop's time at most."""
ACCEPTS: Final = 8
BUFFER: Final = 1 << 20
"""Bytes of questions that may wait in the kernel, about a thousand; it takes memory only when they do."""
MAX_DATAGRAM: Final = 2048
MAX_CONNECTIONS: Final = 32
MAX_READY: Final = 1024
MAX_KEY: Final = 320
MAX_READY_OF_ALL: Final = 16_384

_log = logging.getLogger(__name__)


class _Served:
    """One owner's sockets and what is open on them."""

    def __init__(self, owner: str, udp: socket.socket, tcp: socket.socket) -> None:
        self.owner = owner
        self.udp = udp
        self.tcp = tcp
        self.ready: dict[bytes, Turns] = {}
        self.connections: set[Connection] = set()
        self.timers: dict[int, asyncio.TimerHandle] = {}
        self.closed = False


class DnsServer:
    """Answers questions on the sockets it is given; used on the event loop's thread only.

    :param directory: who is called what.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._forwarder = Forwarder()
        self._responder = Responder(directory, self._forwarder)
        self._served: dict[str, _Served] = {}
        self._generation = directory.generation
        self._ready_of_all = 0
        self._accepting: set[asyncio.Task[Any]] = set()

    def serve(self, owner: str, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer what arrives on these sockets, in the name of an owner; they are the server's from now on.

        :param owner: handed to the directory with each question. One that is served already is first stopped.
        :param udp: bound.
        :param tcp: bound and listening.
        """
        self.stop(owner)
        served = self._served[owner] = _Served(owner, udp, tcp)
        for sock in (udp, tcp):
            sock.setblocking(False)
        _enlarge(udp)
        self._listen(served, udp)
        self._listen(served, tcp)

    def stop(self, owner: str) -> None:
        """Close an owner's sockets and cancel its open questions; nothing happens when it has none."""
        served = self._served.pop(owner, None)
        if served is None:
            return
        served.closed = True
        self._ready_of_all -= len(served.ready)
        for timer in served.timers.values():
            timer.cancel()
        loop = asyncio.get_running_loop()
        for sock in (served.udp, served.tcp):
            loop.remove_reader(sock)
            sock.close()
        for connection in list(served.connections):
            connection.abort()

    def forget_cache(self) -> None:
        """Forget what upstream servers answered, and which of them were silent: the machine's network changed."""
        self._forwarder.forget()

    def close(self) -> None:
        """Stop all owners."""
        for owner in list(self._served):
            self.stop(owner)
        self._forwarder.close()

    # -------------------------------------------------------------------------------------------------------- listening

    def _listen(self, served: _Served, sock: socket.socket) -> None:
        """Be called when something arrives on this socket."""
        served.timers.pop(sock.fileno(), None)
        work = self._drain if sock is served.udp else self._accept
        asyncio.get_running_loop().add_reader(sock, work, served)

    def _rest(self, served: _Served, sock: socket.socket, seconds: float) -> None:
        """Leave the remaining datagrams for a later turn."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        served.timers[sock.fileno()] = loop.call_later(seconds, self._listen, served, sock)

    # -------------------------------------------------------------------------------------------------------------- UDP

    def _drain(self, served: _Served) -> None:
        """Answer a batch of datagrams."""
        if self._directory.generation != self._generation:
            self._forget_ready()
        ready, receive, send = served.ready, served.udp.recvfrom, served.udp.sendto
        begun = time.monotonic()
        left = BATCH
        while left > 0:
            left -= 1
            try:
                data, peer = receive(MAX_DATAGRAM)
            except OSError:  # nothing more, or an error of a datagram that we sent
                return
            turns = ready.get(data[2:])
            if turns is None:
                left -= LOOK_UP - 1
                self._look_up(served, data, peer)
                continue
            with contextlib.suppress(OSError):  # its answer is lost; the client asks again
                send(data[:2] + next(turns), peer)
        self._rest(served, served.udp, max(PAUSE, time.monotonic() - begun))

    def _look_up(self, served: _Served, data: bytes, peer: Any) -> None:
        turns = self._responder.respond(served.owner, data, partial(_send, served, peer))
        if turns is not None and len(data) <= MAX_KEY:
            self._remember(served, data[2:], turns)

    def _remember(self, served: _Served, key: bytes, turns: Turns) -> None:
        if len(served.ready) >= MAX_READY:
            self._ready_of_all -= len(served.ready)
            served.ready.clear()
        if self._ready_of_all >= MAX_READY_OF_ALL:
            self._forget_ready()
        served.ready[key] = turns
        self._ready_of_all += 1

    def _forget_ready(self) -> None:
        self._generation = self._directory.generation
        self._ready_of_all = 0
        for served in self._served.values():
            served.ready.clear()

    # -------------------------------------------------------------------------------------------------------------- TCP

    def _accept(self, served: _Served) -> None:
        """Take a few clients."""
        for _ in range(ACCEPTS):
            try:
                sock, _ = served.tcp.accept()
            except BlockingIOError:
                return
            except OSError as exc:  # EMFILE and the like stay for a while
                _log.warning("cannot accept a DNS client: %s", exc)
                self._rest(served, served.tcp, 1.0)
                return
            if len(served.connections) >= MAX_CONNECTIONS:
                sock.close()
            else:
                self._converse(served, sock)

    def _converse(self, served: _Served, sock: socket.socket) -> None:
        sock.setblocking(False)
        connection = Connection(partial(self._answer_tcp, served), served.connections.discard)
        served.connections.add(connection)
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(lambda: connection, sock))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    def _answer_tcp(self, served: _Served, message: bytes, send: Any) -> None:
        if not served.closed:
            self._responder.respond(served.owner, message, send, tcp=True)


def _send(served: _Served, peer: Any, data: bytes) -> None:
    """Send an answer, perhaps long after the question."""
    if served.closed:
        return
    with contextlib.suppress(OSError):
        served.udp.sendto(data, peer)


def _enlarge(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), BUFFER)
    except PermissionError:  # without CAP_NET_ADMIN up to net.core.rmem_max
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
