"""Who opens connections by the hundred and says nothing, or too little."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need
from support.ports import free_port
from support.registry_process import running
from wherry.serving import Acceptor, Bounds

pytestmark = need("openssl")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that is its own authority."""
    folder = tmp_path_factory.mktemp("keys")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


def client(keys: Path, *, known: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(keys / "cert.pem"))
    if known:
        context.load_cert_chain(keys / "cert.pem", keys / "key.pem")
    return context


def hello() -> bytes:
    """The first message of a TLS client, and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    return out.read()


@contextlib.contextmanager
def crowd(port: int, number: int, first: bytes) -> Iterator[list[socket.socket]]:
    """Connections on which nothing comes behind the first bytes."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(number):
            made.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)))
            made[-1].sendall(first)
        yield made


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def ask(port: int, context: ssl.SSLContext, path: str) -> bytes:
    """One request over a connection of its own. :returns: the status line."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secret,
    ):
        secret.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return secret.recv(65536).partition(b"\r\n")[0]


MANY = 300
ROOM = 64 * 300_000 + (16 << 20)  # as many handshakes as there may be, and what else a process does meanwhile


@pytest.mark.parametrize("first", [b"", b"\x16", hello()])
def test_half_open_connections_cost_a_registry_little_and_keep_nobody_out(
    keys: Path, tmp_path: Path, first: bytes
) -> None:
    flags = ["--root", str(tmp_path), "--tls-cert", str(keys / "cert.pem"), "--tls-key", str(keys / "key.pem")]
    with running(*flags) as server:
        port = int(server.address.rpartition(":")[2])
        assert ask(port, client(keys), "/v2/") == b"HTTP/1.1 200 OK"
        before = resident(server.process.pid)
        with crowd(port, MANY, first):
            assert ask(port, client(keys), "/v2/") == b"HTTP/1.1 200 OK"
            assert resident(server.process.pid) - before < ROOM
        for _ in range(3):
            assert ask(port, client(keys), "/v2/") == b"HTTP/1.1 200 OK"
        assert resident(server.process.pid) - before < 16 << 20, "memory comes back"


@need("root")
def test_half_open_connections_cost_the_daemon_little_and_keep_nobody_out(keys: Path) -> None:
    port = free_port()
    files = [
        "--tlscacert",
        str(keys / "cert.pem"),
        "--tlscert",
        str(keys / "cert.pem"),
        "--tlskey",
        str(keys / "key.pem"),
    ]
    daemon = Daemon("--tlsverify", *files, "-H", f"tcp://127.0.0.1:{port}")
    daemon.flags = (*daemon.flags, "-H", daemon.host)
    try:
        daemon.start()
        assert daemon.process
        assert ask(port, client(keys, known=True), "/_ping") == b"HTTP/1.1 200 OK"
        before = resident(daemon.process.pid)
        for first in (hello(), b""):
            with crowd(port, MANY, first):
                assert ask(port, client(keys, known=True), "/_ping") == b"HTTP/1.1 200 OK"
                assert resident(daemon.process.pid) - before < ROOM
        assert ask(port, client(keys, known=True), "/_ping") == b"HTTP/1.1 200 OK"
        assert resident(daemon.process.pid) - before < 16 << 20, "memory comes back"
    finally:
        daemon.shut_down()


class Echo(asyncio.Protocol):
    """Answers with what it was told; after a ``b`` something is under way, after an ``i`` no more."""

    acceptor: Acceptor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data == b"b":
            self.acceptor.busy(self.transport)
        if data == b"i":
            self.acceptor.idle(self.transport)
        self.transport.write(data)


@contextlib.asynccontextmanager
async def echoing(bounds: Bounds, keys: Path | None = None) -> AsyncIterator[int]:
    context = None
    if keys is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys / "cert.pem", keys / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    acceptor = Echo.acceptor = Acceptor(listener, Echo, bounds, context, evicts=True)
    acceptor.start()
    try:
        yield port
    finally:
        acceptor.close()


async def connect(port: int, say: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(say)
    return reader, writer


async def test_when_there_are_too_many_the_one_that_idles_longest_is_ended() -> None:
    async with echoing(Bounds(2)) as port:
        busy, first = await connect(port, b"b"), await connect(port, b"x")
        assert (await busy[0].read(1), await first[0].read(1)) == (b"b", b"x")
        second = await connect(port, b"y")
        assert await second[0].read(1) == b"y"
        with contextlib.suppress(ConnectionResetError):
            assert await first[0].read(1) == b""
        for _, writer in (busy, second):
            writer.write(b"z")
        assert (await busy[0].read(1), await second[0].read(1)) == (b"z", b"z")
        for _, writer in (busy, first, second):
            writer.close()


async def test_when_all_are_busy_who_comes_waits_until_one_goes() -> None:
    async with echoing(Bounds(1)) as port:
        busy = await connect(port, b"b")
        assert await busy[0].read(1) == b"b"
        waiting = await connect(port, b"w")
        read = asyncio.create_task(waiting[0].read(1))
        busy[1].write(b"x")
        assert await busy[0].read(1) == b"x"
        assert not read.done()
        busy[1].write(b"i")
        assert await read == b"w"
        for _, writer in (busy, waiting):
            writer.close()


async def test_a_handshake_that_goes_on_for_ever_is_ended_when_another_wants_to_begin(keys: Path) -> None:
    async with echoing(Bounds(10, handshakes=1, handshake_seconds=3600), keys) as port:
        with crowd(port, 2, hello()):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client(keys))
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            writer.close()
