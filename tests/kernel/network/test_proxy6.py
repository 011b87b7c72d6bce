"""Published ports at [::1], through the daemon's forwarder."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import IPv6Address

import pytest

from support.needs import need
from support.network_harness import BRIDGES, Lab, address_of
from wherry.network.firewall.firewall import PortMapping
from wherry.network.proxy6 import Proxy6

pytestmark = need("root", "namespaces", "ip")

INSIDE = address_of("a1", 6)
PUBLISHED = [PortMapping(protocol, None, 8000, INSIDE, 80, "br-a") for protocol in ("tcp", "udp")]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def resolve(_protocol: str, port: int) -> tuple[object, int] | None:
    return (INSIDE, 80) if port == 8000 else None


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_a_container_without_ipv6_is_reached_at_localhost_and_nowhere_else_by_ipv6(lab: Lab, kind: int) -> None:
    four = address_of("a1", 4)
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    published = [PortMapping(protocol, IPv6Address("::1"), 8010, four, 80, "br-a")]

    async def talk(client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("2001:db8::1", 8010))
        await loop.sock_sendall(client, b"hello")
        await loop.sock_recv(client, 10)

    async def play() -> None:
        forwarder = Proxy6(lambda _protocol, port: (four, 80) if port == 8010 else None)
        lab.firewall.proxy6_port = await forwarder.open()
        server = lab.containers["a1"].socket(socket.AF_INET, kind)
        try:
            lab.firewall.restore(BRIDGES.values(), lab.anti_spoof(), published)
            assert lab.firewall.intact(BRIDGES.values(), lab.anti_spoof(), published)
            with server, socket.socket(socket.AF_INET6, kind) as client, socket.socket(socket.AF_INET6, kind) as other:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(("", 80))
                for each in (server, client, other):
                    each.setblocking(False)
                if kind == socket.SOCK_STREAM:
                    server.listen()
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(60):
                    await loop.sock_connect(client, ("::1", 8010))
                    await loop.sock_sendall(client, b"hello")
                    inside = (await loop.sock_accept(server))[0] if kind == socket.SOCK_STREAM else server
                    assert await loop.sock_recv(inside, 10) == b"hello"
                    with pytest.raises(ConnectionRefusedError):
                        await talk(other)
                inside.close()
            lab.firewall.remove((), published)
        finally:
            await forwarder.close()

    lab.host.run(lambda: asyncio.run(play()))


def scene(lab: Lab, work: Callable[[Proxy6], Awaitable[None]]) -> None:
    """Run a coroutine on the host, with a forwarder and published ports."""

    async def play() -> None:
        forwarder = Proxy6(resolve)  # type: ignore[arg-type]
        lab.firewall.proxy6_port = await forwarder.open()
        try:
            lab.firewall.restore(BRIDGES.values(), lab.anti_spoof(), PUBLISHED)
            async with asyncio.timeout(60):
                await work(forwarder)
        finally:
            await forwarder.close()

    lab.host.run(lambda: asyncio.run(play()))


def container(lab: Lab, kind: int) -> socket.socket:
    """A socket of the container's, at port 80."""
    server = lab.containers["a1"].socket(socket.AF_INET6, kind)
    server.setblocking(False)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::", 80))
    return server


def test_a_connection_to_localhost_is_passed_on_in_both_directions_with_its_ends(lab: Lab) -> None:
    sent = bytes(range(256)) * 8192

    async def serve(server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server.listen()
        connection, peer = await loop.sock_accept(server)
        assert peer[0] == "fd00:91::1"
        reader, writer = await asyncio.open_connection(sock=connection)
        data = await reader.read()
        writer.write(data[::-1])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def work(_: Proxy6) -> None:
        with container(lab, socket.SOCK_STREAM) as server:
            serving = asyncio.create_task(serve(server))
            reader, writer = await asyncio.open_connection("::1", 8000)
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == sent[::-1]
            writer.close()
            await writer.wait_closed()
            await serving

    scene(lab, work)


def test_a_port_at_which_nobody_listens_inside_ends_the_connection(lab: Lab) -> None:
    async def work(_: Proxy6) -> None:
        reader, writer = await asyncio.open_connection("::1", 8000)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()

    scene(lab, work)


def test_a_port_that_is_not_published_is_refused(lab: Lab) -> None:
    async def work(_: Proxy6) -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("::1", 8001)

    scene(lab, work)


def test_who_speaks_to_the_forwarder_itself_is_sent_away(lab: Lab) -> None:
    async def work(_: Proxy6) -> None:
        reader, writer = await asyncio.open_connection("::1", lab.firewall.proxy6_port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    scene(lab, work)


def test_without_the_daemon_a_connection_is_refused_at_once(lab: Lab) -> None:
    async def work(forwarder: Proxy6) -> None:
        await forwarder.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("::1", 8000)

    scene(lab, work)


def test_datagrams_to_localhost_are_answered(lab: Lab) -> None:
    async def work(_: Proxy6) -> None:
        loop = asyncio.get_running_loop()
        with (
            container(lab, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other,
        ):
            for number, client in enumerate((one, other, one)):
                client.setblocking(False)
                client.connect(("::1", 8000))
                await loop.sock_sendall(client, b"question %d" % number)
                question, peer = await loop.sock_recvfrom(server, 100)
                assert question == b"question %d" % number
                await loop.sock_sendto(server, b"answer %d" % number, peer)
                assert await loop.sock_recv(client, 100) == b"answer %d" % number

    scene(lab, work)


def test_datagrams_to_localhost_follow_a_port_to_another_container(lab: Lab) -> None:
    now = [INSIDE]

    async def play() -> None:
        forwarder = Proxy6(lambda _protocol, _port: (now[0], 80))
        lab.firewall.proxy6_port = await forwarder.open()
        lab.firewall.restore(BRIDGES.values(), lab.anti_spoof(), PUBLISHED)
        loop = asyncio.get_running_loop()
        other = lab.containers["a2"].socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            other.setblocking(False)
            other.bind(("::", 80))
            with (
                other,
                container(lab, socket.SOCK_DGRAM) as server,
                socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
            ):
                client.setblocking(False)
                client.connect(("::1", 8000))
                async with asyncio.timeout(60):
                    await loop.sock_sendall(client, b"first")
                    assert await loop.sock_recv(server, 100) == b"first"
                    now[0] = address_of("a2", 6)
                    await loop.sock_sendall(client, b"second")
                    assert await loop.sock_recv(other, 100) == b"second"
        finally:
            await forwarder.close()

    lab.host.run(lambda: asyncio.run(play()))
