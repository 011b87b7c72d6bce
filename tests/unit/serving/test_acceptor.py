"""What the kernel is told about connections that are accepted."""

from __future__ import annotations

import asyncio
import socket

import pytest

from wherry.serving import acceptor as serving
from wherry.serving.acceptor import Acceptor, Bounds


class Served(asyncio.Protocol):
    """The other side of a connection, once it has spoken."""

    there: asyncio.Future[asyncio.Transport]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.there.set_result(transport)


async def test_whose_other_side_goes_without_a_word_is_found_out() -> None:
    Served.there = asyncio.get_running_loop().create_future()
    listener = socket.create_server(("127.0.0.1", 0))
    acceptor = Acceptor(listener, Served, Bounds(10))
    acceptor.start()
    _, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"x")
    transport = await Served.there
    accepted = transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    idle, pause, count = (
        accepted.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    assert idle + pause * count <= 120
    writer.close()
    transport.close()
    acceptor.close()
    await writer.wait_closed()


class Echo(asyncio.Protocol):
    """Says what it hears."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def test_without_tls_many_that_come_at_once_do_not_end_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the process was busy with something else since the first of them."""
    monkeypatch.setattr(serving, "_PATIENCE_SECONDS", 0.0)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(20)]
    for client in clients:
        client.sendall(b"x")
    acceptor = Acceptor(listener, Echo, Bounds(100, handshakes=2))
    acceptor.start()
    loop = asyncio.get_running_loop()
    for client in clients:
        client.setblocking(False)
        assert await loop.sock_recv(client, 1) == b"x"
        client.close()
    acceptor.close()
