"""Published ports at [::1], passed on by the daemon itself.

For 127.0.0.1 the kernel translates. For ::1 it cannot: an answer that arrives by a bridge and gets ::1 as its
destination again is looked up on that bridge, where ::1 is not (``rt6_need_strict``), and with br_netfilter it is
dropped before. So packets to [::1] are translated to one port of the daemon's, also at ::1, and never leave ``lo``;
which port was meant is asked of the connection tracking. One listening socket for TCP and one for UDP serve all
published ports, so that a range of thousands costs no socket. They lead on to containers that have no IPv6, too.

Bytes go through a pipe of the daemon's, in large pieces and without being copied. When the daemon is gone, connections
to [::1] are refused, and clients go on to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Any, Final, cast

from wherry.errors import SystemCallError
from wherry.linux import conntrack
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.network.model import Address, Endpoint

__all__ = ["Proxy6", "Target", "target_among"]

Target = tuple[Address, int]
_LOOPBACK: Final = "::1"
_ORIGINAL_DESTINATION: Final = 80  # IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv6/ip6_tables.h
_SOCKADDR_IN6: Final = struct.Struct("=H2x4x16x4x")
_PIECE: Final = 1 << 20
_NONBLOCK: Final = 0x3  # SPLICE_F_MOVE, SPLICE_F_NONBLOCK
_BACKLOG: Final = 512
_IDLE: Final = 60.0  # seconds after which a peer of datagrams is forgotten; the kernel takes 30 to 120
_TRIES: Final = 16


def target_among(endpoints: Iterable[Endpoint], protocol: str, port: int) -> Target | None:
    """Where a port that is published at [::1] leads, as the endpoints say."""
    for endpoint in endpoints:
        for each in endpoint.published:
            if (each.protocol, each.host_port) == (protocol, port) and str(each.host_address) in ("::", _LOOPBACK):
                target = endpoint.ipv6 or endpoint.ipv4
                return None if target is None else (target, each.container_port)
    return None


class Proxy6:
    """The proxy. For the event loop's thread, in the host's network namespace.

    :param resolve: from protocol and port at [::1] to the address and port of a container; None: it is not published.
    """

    def __init__(self, resolve: Callable[[str, int], Target | None]) -> None:
        self._resolve = resolve
        self._tcp: socket.socket | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """Begin to listen.

        :returns: the port, for `wherry.network.firewall.firewall.Firewall.proxy6_port`; 0 where there is no IPv6.
        :raises SystemCallError: no port is free for both protocols.
        """
        try:
            self._tcp, datagrams = _bind()
        except OSError as exc:
            if exc.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                return 0
            raise SystemCallError("bind", f"a port at [{_LOOPBACK}]", exc.errno or 0) from exc
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._resolve), sock=datagrams)
        self._keep(self._accept(self._tcp))
        return int(self._tcp.getsockname()[1])

    async def close(self) -> None:
        """Stop; connections that it passes on end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._udp is not None:
            self._udp.abort()
        if self._tcp is not None:
            self._tcp.close()
        self._tcp = self._udp = None
        await asyncio.sleep(0)  # the transport closes its socket in the next round

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError:  # the peer was gone again, or descriptors are short for a moment
                await asyncio.sleep(_PAUSE)
                continue
            self._keep(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        with client:
            target = self._target(client)
            if target is None:
                return
            family = socket.AF_INET6 if isinstance(target[0], IPv6Address) else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as inside:
                try:
                    await asyncio.get_running_loop().sock_connect(inside, (str(target[0]), target[1]))
                    await _join(client, inside)
                except OSError:
                    # Whichever side broke, the other sees the connection reset instead of an end.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _target(self, client: socket.socket) -> Target | None:
        client.setblocking(False)
        try:
            address = client.getsockopt(socket.IPPROTO_IPV6, _ORIGINAL_DESTINATION, _SOCKADDR_IN6.size)
        except OSError:
            return None
        return self._resolve("tcp", int.from_bytes(address[2:4], "big"))


_PAUSE: Final = 0.05


def _bind() -> tuple[socket.socket, socket.socket]:
    """A socket for each protocol, at the same port."""
    for _ in range(_TRIES):
        stream = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            stream.bind((_LOOPBACK, 0))
            datagrams.bind(stream.getsockname()[:2])
            stream.listen(_BACKLOG)
        except OSError as exc:
            stream.close()
            datagrams.close()
            if exc.errno != errno.EADDRINUSE:
                raise
        else:
            return stream, datagrams
    raise OSError(errno.EADDRINUSE, "no port is free for TCP and UDP")


async def _join(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on in both directions until both have ended."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_pump(one, other))
        group.create_task(_pump(other, one))


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on in one direction, through a pipe: they are not copied, see splice(2)."""
    outlet, inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # more than the user's share of pipe memory; the usual size does as well
            fcntl.fcntl(inlet, fcntl.F_SETPIPE_SZ, _PIECE)
        while count := await _splice(source.fileno(), inlet, _PIECE, waiting=source):
            while count:
                count -= await _splice(outlet, sink.fileno(), count, waiting=sink, write=True)
            await asyncio.sleep(0)  # a stream that never pauses must not keep everybody else from their turn
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # The other direction may wait for bytes that will never come.
        for each in (source, sink):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _shut(each)
    finally:
        os.close(outlet)
        os.close(inlet)


async def _splice(source: int, sink: int, count: int, *, waiting: socket.socket, write: bool = False) -> int:
    """Move bytes, once there are some, or once there is room for them.

    :returns: how many; 0 is the end.
    """
    while True:
        try:
            return os.splice(source, sink, count, flags=_NONBLOCK)
        except BlockingIOError:
            await _ready(waiting, write=write)


async def _ready(waiting: socket.socket, *, write: bool) -> None:
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)

    def come() -> None:
        if not turn.done():
            turn.set_result(None)

    add(waiting, come)
    try:
        await turn
    finally:
        remove(waiting)


def _shut(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError as exc:
        if exc.errno != errno.ENOTCONN:
            raise


# ----------------------------------------------------------------------------------------------------------- datagrams


class _Datagrams(asyncio.DatagramProtocol):
    """The socket to which all datagrams for [::1] come; a peer is a port of the host's at ::1."""

    def __init__(self, resolve: Callable[[str, int], Target | None]) -> None:
        self._resolve = resolve
        self._transport: asyncio.DatagramTransport | None = None
        self._peers: dict[int, _Peer] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be given the socket."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close what was opened for peers."""
        for peer in list(self._peers.values()):
            peer.close()

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        """Pass a datagram on."""
        number = addr[1]
        peer = self._peers.get(number)
        if peer is not None and self._resolve("udp", peer.meant) != peer.target:  # the port leads elsewhere now
            peer.close()
            peer = None
        peer = peer or self._meet(number)
        if peer is not None:
            self._peers[number] = peer
            peer.send(data)

    def _meet(self, number: int) -> _Peer | None:
        """Find out what a new peer means."""
        assert self._transport is not None
        port = int(self._transport.get_extra_info("sockname")[1])
        with NetlinkSocket(Family.NETFILTER) as connection:
            meant = conntrack.original_port(
                connection, (IPv6Address(_LOOPBACK), port), (IPv6Address(_LOOPBACK), number)
            )
        target = None if meant is None else self._resolve("udp", meant)
        if meant is None or target is None:
            return None
        return _Peer(meant, target, lambda data: self._answer(number, data), lambda: self._forget(number))

    def _answer(self, number: int, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, (_LOOPBACK, number))

    def _forget(self, number: int) -> None:
        self._peers.pop(number, None)


class _Peer:
    """A socket towards a container, on behalf of one peer, closed when it was idle for some time."""

    def __init__(self, meant: int, target: Target, answer: Callable[[bytes], None], forget: Callable[[], None]) -> None:
        self.meant, self.target = meant, target
        self._answer, self._forget = answer, forget
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if isinstance(target[0], IPv6Address) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.connect((str(target[0]), target[1]))
        self._loop.add_reader(self._socket, self._readable)
        self._used = self._loop.time()
        self._timer = self._loop.call_later(_IDLE, self._look)

    def send(self, data: bytes) -> None:
        """Towards the container; a full or refused socket loses it, as datagrams may be."""
        self._used = self._loop.time()
        try:
            self._socket.send(data)
        except OSError as exc:
            if exc.errno not in _LOST:
                self.close()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except OSError as exc:
            if exc.errno not in _LOST:
                self.close()
            return
        self._used = self._loop.time()
        self._answer(data)

    def _look(self) -> None:
        left = self._used + _IDLE - self._loop.time()
        if left <= 0:
            self.close()
        else:
            self._timer = self._loop.call_later(left, self._look)

    def close(self) -> None:
        """Forget this peer; again, it has no effect."""
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._forget()


_LOST: Final = {errno.EAGAIN, errno.ECONNREFUSED, errno.EINTR, errno.EMSGSIZE, errno.ENOBUFS}
