"""The ways in, through the API's own server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from grpclib.server import Server

from support.fake_builds import FakeBuilds
from support.grpc_peers import CONTROL, Client, SessionOffer, devices
from wherry.api.buildkit.doors import Doors
from wherry.api.buildkit.proto import control_pb2
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.routing import Router
from wherry.api.http.server import Api
from wherry.api.routes.grpc import GrpcRoutes
from wherry.build.model.session import BuildSession
from wherry.errors import TooLarge

UPGRADE = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n%s\r\n"


@asynccontextmanager
async def connected(builds: FakeBuilds, doors: Doors | None = None) -> AsyncIterator[socket.socket]:
    """A client's socket to the API."""
    loop = asyncio.get_running_loop()
    doors = doors or Doors(builds, list, lambda: "", devices)
    watch = HangupWatch(loop)
    api = Api(Router(GrpcRoutes(doors).routes()), watch, doors)
    ours, theirs = socket.socketpair()
    await loop.connect_accepted_socket(api.connection, ours)
    theirs.setblocking(False)
    try:
        yield theirs
    finally:
        theirs.close()
        await api.close()


async def head(client: socket.socket) -> bytes:
    """An answer's head, byte by byte, so that nothing behind it is taken."""
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = await asyncio.get_running_loop().sock_recv(client, 1)
        if not byte:
            break
        answer += byte
    return answer


async def test_a_request_is_upgraded() -> None:
    async with connected(FakeBuilds()) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, UPGRADE % (b"/v1.47/grpc", b""))
        answer = await head(connection)
        assert answer == b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        client = Client(connection.dup())
        await client.ask(CONTROL + "Info", control_pb2.InfoRequest())
        client.close()


async def test_a_connection_may_begin_with_http_2() -> None:
    async with connected(FakeBuilds()) as connection:
        client = Client(connection.dup())
        await client.ask(CONTROL + "Info", control_pb2.InfoRequest())
        client.close()


async def test_http_2_is_known_however_it_is_cut() -> None:
    loop = asyncio.get_running_loop()
    async with connected(FakeBuilds()) as connection:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)):
            await loop.sock_sendall(connection, bytes((byte,)))
            await asyncio.sleep(0)
        assert (await loop.sock_recv(connection, 9))[3] == 4, "a SETTINGS frame"


async def test_a_session_comes_by_an_upgrade() -> None:
    builds = FakeBuilds()
    offer = SessionOffer()
    offer.secrets["a"] = b"b"
    server = Server([offer])
    loop = asyncio.get_running_loop()
    headers = b"X-Docker-Expose-Session-Uuid: me\r\nX-Docker-Expose-Session-Sharedkey: key\r\n" + b"".join(
        b"X-Docker-Expose-Session-Grpc-Method: %s\r\n" % method
        for method in (b"/moby.buildkit.secrets.v1.Secrets/GetSecret", b"/grpc.health.v1.Health/Check")
    )
    async with connected(builds) as connection:
        await loop.sock_sendall(connection, UPGRADE % (b"/session", headers))
        assert (await head(connection)).startswith(b"HTTP/1.1 101 ")
        await loop.connect_accepted_socket(server._protocol_factory, connection.dup())
        await builds.session_there.wait()
        session = builds.sessions["me"]
        assert session.shared_key == "key"
        assert await session.secret("a") == b"b"
        assert await session.credentials("docker.io") is None, "it does not offer any"
        for handler in server._handlers:
            handler.close()
    assert builds.detached == ["me"]


@pytest.mark.parametrize("door", [b"/session", b"/grpc"])
async def test_a_client_that_half_closes_behind_its_request_is_let_go(door: bytes) -> None:
    builds = FakeBuilds()
    headers = b"X-Docker-Expose-Session-Uuid: me\r\n"
    async with connected(builds) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, UPGRADE % (door, headers))
        connection.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(60):
            while await asyncio.get_running_loop().sock_recv(connection, 1000):
                pass
    assert builds.sessions == {}


async def test_a_session_that_the_builder_does_not_take_is_let_go_and_forgotten() -> None:
    class Full(FakeBuilds):
        full = True

        def attach(self, session: BuildSession) -> None:
            if self.full:
                raise TooLarge("there are too many sessions")
            super().attach(session)

    builds = Full()
    loop = asyncio.get_running_loop()
    request = UPGRADE % (b"/session", b"X-Docker-Expose-Session-Uuid: me\r\n")
    doors = Doors(builds, list, lambda: "", devices)
    async with connected(builds, doors) as connection:
        await loop.sock_sendall(connection, request)
        async with asyncio.timeout(60):
            while await loop.sock_recv(connection, 1000):
                pass
    builds.full = False
    async with connected(builds, doors) as connection:
        await loop.sock_sendall(connection, request)
        async with asyncio.timeout(60):
            await builds.session_there.wait()
    assert builds.detached == ["me"]


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"POST /grpc HTTP/1.1\r\nHost: x\r\n\r\n", b"no upgrade proto in request"),
        (
            b"POST /grpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
            b"protocol tcp not supported",
        ),
        (UPGRADE % (b"/session", b""), b"no session ID in the request"),
        (UPGRADE % (b"/nothing", b""), b"page not found"),
    ],
)
async def test_other_requests_are_refused(request_: bytes, answer: bytes) -> None:
    async with connected(FakeBuilds()) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, request_)
        status = await head(connection)
        assert status.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
        assert answer in await asyncio.get_running_loop().sock_recv(connection, 1000)


@pytest.mark.slow
def test_nothing_of_grpc_is_imported_before_the_first_client() -> None:
    code = (
        "import sys, wherry.daemon.serve\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('h2', 'hpack', 'google', 'grpclib')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
