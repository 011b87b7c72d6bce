"""A connection that leaves HTTP carries both directions to the end, and holds nobody up.

The server is the real one, on a real unix socket; behind it stand real processes (``sh``), attached through pipes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector, WSMsgType

from wherry.api.http.hijack import WRITE_LIMIT, HangupWatch, Hijacked, frame
from wherry.api.http.routing import Router
from wherry.api.http.server import Api
from wherry.api.routes.attach import AttachRoutes
from wherry.docker.streams import AttachOptions, LogChunk
from wherry.errors import NotFound

TIMEOUT = 20


class ShellAttachment:
    """A shell's streams; its standard error is not looked at."""

    def __init__(self, process: asyncio.subprocess.Process, *, tty: bool) -> None:
        self.process = process
        self.tty = tty
        self.detached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()

    async def output(self) -> AsyncIterator[LogChunk]:
        assert self.process.stdout
        while data := await self.process.stdout.read(1 << 16):
            yield LogChunk(1, data)
        await self.process.wait()

    async def write(self, data: bytes) -> None:
        if b"\x10\x11" in data and not self.detached.done():
            self.detached.set_result(None)
            return
        assert self.process.stdin
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def close_stdin(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    async def close(self) -> None:
        self.closed.set()


class Shells:
    """Attaches to a new shell; the "container" is its script."""

    def __init__(self) -> None:
        self.made: list[ShellAttachment] = []
        self.scripts = {
            "cat": "cat",
            "yes": "exec yes",
            "hello": "echo hello; cat >/dev/null",
            "sleep": "exec sleep 60",
        }

    def attach(self, ref: str, options: AttachOptions) -> ShellAttachment:
        raise NotImplementedError

    async def start(self, ref: str, *, tty: bool) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", self.scripts[ref], stdin=pipe, stdout=pipe, start_new_session=True
        )
        attachment = ShellAttachment(process, tty=tty)
        self.made.append(attachment)

        def attach(asked: str, _options: AttachOptions) -> ShellAttachment:
            if asked != ref:
                raise NotFound(f"No such container: {asked}")
            return attachment

        self.attach = attach  # type: ignore[method-assign]

    async def close(self) -> None:
        for attachment in self.made:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(attachment.process.pid, signal.SIGKILL)
            await attachment.process.communicate(b"")


class Bench:
    """A server and what is behind it."""

    def __init__(self, path: str, shells: Shells) -> None:
        self.path = path
        self.shells = shells
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(
        self, ref: str = "cat", *, upgrade: bool = True, version: str = "1.43", behind: bytes = b""
    ) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """Attach by hand; return the answer's head and the streams."""
        reader, writer = await asyncio.open_unix_connection(self.path, limit=1 << 22)
        head = f"POST /v{version}/containers/{ref}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
        if upgrade:
            head += "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        self.writers.append(writer)
        writer.write(head.encode() + b"\r\n" + behind)
        return await reader.readuntil(b"\r\n\r\n"), reader, writer

    @property
    def attachment(self) -> ShellAttachment:
        return self.shells.made[-1]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    loop = asyncio.get_running_loop()
    shells, watch = Shells(), HangupWatch(loop)
    api = Api(Router(AttachRoutes(shells, watch).routes()), watch)
    path = str(tmp_path / "s")
    server = await loop.create_unix_server(api.connection, path)
    bench = Bench(path, shells)
    yield bench
    server.close()
    for writer in bench.writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    await api.close()
    await shells.close()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(-1), TIMEOUT)


async def test_input_comes_back_in_frames_and_the_end_of_input_ends_it(bench: Bench) -> None:
    await bench.shells.start("cat", tty=False)
    head, reader, writer = await bench.connect()
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert b"Content-Type: application/vnd.docker.multiplexed-stream\r\n" in head
    writer.write(b"to and fro")
    assert await reader.readexactly(18) == b"\x01\x00\x00\x00\x00\x00\x00\x0ato and fro"
    writer.write_eof()
    assert await read_all(reader) == b""
    await asyncio.wait_for(bench.attachment.closed.wait(), TIMEOUT)


async def test_who_writes_to_a_client_that_reads_nothing_is_held_up() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    watch = HangupWatch(loop)
    transport, http = await loop.create_connection(asyncio.Protocol, sock=ours)
    connection = Hijacked(http, watch)
    connection.take_over(transport)

    async def write() -> None:
        for _ in range(16):
            await connection.write(*frame(1, bytes(WRITE_LIMIT)))

    writing = asyncio.ensure_future(write())
    with theirs:
        await asyncio.wait({writing}, timeout=0.1)
        assert not writing.done()
        assert transport.get_write_buffer_size() < 3 * WRITE_LIMIT
        writing.cancel()
        transport.abort()
        await asyncio.wait_for(connection.gone, TIMEOUT)
    watch.close()


async def test_output_goes_on_after_the_client_has_half_closed(bench: Bench) -> None:
    bench.shells.scripts["late"] = "cat >/dev/null; sleep 0.2; echo late"
    await bench.shells.start("late", tty=True)
    _, reader, writer = await bench.connect("late")
    writer.write_eof()
    assert await read_all(reader) == b"late\n"


async def test_a_terminals_output_is_raw(bench: Bench) -> None:
    await bench.shells.start("hello", tty=True)
    head, reader, writer = await bench.connect("hello")
    assert b"Content-Type: application/vnd.docker.raw-stream\r\n" in head
    writer.write_eof()
    assert await read_all(reader) == b"hello\n"


async def test_before_version_1_42_the_type_is_the_old_one(bench: Bench) -> None:
    await bench.shells.start("hello", tty=False)
    head, reader, writer = await bench.connect("hello", version="1.41")
    assert b"application/vnd.docker.raw-stream" in head
    writer.write_eof()
    assert await read_all(reader) == frame(1, b"hello\n")[0] + b"hello\n"


async def test_a_client_that_asks_for_no_upgrade_gets_200_and_the_stream(bench: Bench) -> None:
    await bench.shells.start("cat", tty=True)
    head, reader, writer = await bench.connect(upgrade=False)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    writer.write(b"old")
    writer.write_eof()
    assert await read_all(reader) == b"old"


async def test_bytes_right_behind_the_request_are_not_lost(bench: Bench) -> None:
    await bench.shells.start("cat", tty=True)
    _, reader, writer = await bench.connect(behind=b"x" * 300_000)
    writer.write_eof()
    got = await read_all(reader)
    assert (len(got), set(got)) == (300_000, {ord("x")})


async def test_a_client_that_says_all_at_once_and_half_closes_is_served(bench: Bench) -> None:
    await bench.shells.start("cat", tty=True)
    client = socket.socket(socket.AF_UNIX)
    client.connect(bench.path)
    head = b"POST /containers/cat/attach?stdin=1 HTTP/1.1\r\nHost: d\r\nUPGRADE: tcp\r\nConnection: Upgrade\r\n"
    client.sendall(head + b"Content-Length: 2\r\n\r\n{}input")
    client.shutdown(socket.SHUT_WR)
    reader, writer = await asyncio.open_unix_connection(sock=client)
    bench.writers.append(writer)
    assert (await read_all(reader)).endswith(b"\r\n\r\ninput")


async def test_a_head_that_comes_byte_by_byte_is_understood(bench: Bench) -> None:
    await bench.shells.start("hello", tty=True)
    reader, writer = await asyncio.open_unix_connection(bench.path)
    bench.writers.append(writer)
    for byte in b"POST /containers/hello/attach HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n":
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert (await asyncio.wait_for(reader.readline(), TIMEOUT)).startswith(b"HTTP/1.1 101")


async def test_an_error_before_the_stream_is_an_ordinary_answer(bench: Bench) -> None:
    await bench.shells.start("cat", tty=False)
    head, reader, _ = await bench.connect("nobody", behind=b"input that nobody wants")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert await read_all(reader) == b'{"message":"No such container: nobody"}\n'


async def test_a_connection_may_be_taken_over_after_other_requests(bench: Bench) -> None:
    await bench.shells.start("cat", tty=True)
    reader, writer = await asyncio.open_unix_connection(bench.path)
    bench.writers.append(writer)
    writer.write(b"GET /nothing HTTP/1.1\r\nHost: d\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 404")
    await reader.readuntil(b"}\n")
    writer.write(b"POST /containers/cat/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    writer.write(b"pooled")
    writer.write_eof()
    assert await read_all(reader) == b"pooled"


async def test_a_client_that_leaves_lets_go_of_the_process(bench: Bench) -> None:
    await bench.shells.start("sleep", tty=False)
    _, _, writer = await bench.connect("sleep")
    writer.close()
    await asyncio.wait_for(bench.attachment.closed.wait(), TIMEOUT)
    assert bench.attachment.process.returncode is None


async def test_a_client_that_half_closed_and_then_died_is_noticed(bench: Bench) -> None:
    await bench.shells.start("sleep", tty=False)
    _, _, writer = await bench.connect("sleep")
    writer.write_eof()
    await asyncio.sleep(0.05)  # the half-close is seen before the end; nothing can be waited for
    assert not bench.attachment.closed.is_set()
    writer.close()
    await asyncio.wait_for(bench.attachment.closed.wait(), TIMEOUT)


async def test_the_detach_keys_end_the_stream_and_not_the_process(bench: Bench) -> None:
    await bench.shells.start("sleep", tty=True)
    _, reader, writer = await bench.connect("sleep")
    writer.write(b"\x10\x11")
    assert await read_all(reader) == b""
    assert bench.attachment.process.returncode is None
    writer.close()


async def test_a_client_that_does_not_read_costs_bounded_memory(bench: Bench) -> None:
    await bench.shells.start("yes", tty=False)
    client = socket.socket(socket.AF_UNIX)
    client.connect(bench.path)
    client.sendall(b"POST /containers/yes/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    sent = await _settled(bench.attachment)
    assert sent < 8 << 20
    client.close()


def _written_by(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0])


async def _settled(attachment: ShellAttachment) -> int:
    """Return what the process has written in all, once it is held up."""
    last = -1
    while True:
        await asyncio.sleep(0.1)
        written = _written_by(attachment.process.pid)
        if written == last:
            return written
        last = written


async def test_a_process_that_does_not_read_holds_its_client_up(bench: Bench) -> None:
    await bench.shells.start("sleep", tty=False)
    client = socket.socket(socket.AF_UNIX)
    client.connect(bench.path)
    client.sendall(b"POST /containers/sleep/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    client.setblocking(False)
    sent = idle = 0
    while idle < 5:
        try:
            sent += client.send(b"x" * 65536)
            idle = 0
        except BlockingIOError:
            idle += 1
            await asyncio.sleep(0.05)
        await asyncio.sleep(0)
    assert sent < 4 << 20
    client.close()


async def test_frames_carry_large_output_whole(bench: Bench) -> None:
    size = 50_000_000
    bench.shells.scripts["much"] = f"head -c {size} /dev/zero"
    await bench.shells.start("much", tty=False)
    _, reader, writer = await bench.connect("much")
    left = 0
    while left < size:
        head = await asyncio.wait_for(reader.readexactly(8), TIMEOUT)
        assert head[:4] == b"\x01\x00\x00\x00"
        left += len(await asyncio.wait_for(reader.readexactly(int.from_bytes(head[4:], "big")), TIMEOUT))
    assert left == size
    assert await read_all(reader) == b""
    writer.close()


def test_a_frame_that_would_be_too_large_is_split() -> None:
    pieces = frame(2, b"x" * (3 << 20))
    assert [len(piece) for piece in pieces] == [8, 1 << 20] * 3


async def test_a_websocket_carries_both_directions(bench: Bench) -> None:
    await bench.shells.start("cat", tty=False)
    async with ClientSession(connector=UnixConnector(bench.path)) as session:
        async with session.ws_connect("http://d/v1.43/containers/cat/attach/ws?stream=1&stdin=1&stdout=1") as client:
            await client.send_str("text ")
            assert (await client.receive(TIMEOUT)).data == b"text "
            await client.send_bytes(b"bytes")
            message = await client.receive(TIMEOUT)
            assert (message.type, message.data) == (WSMsgType.BINARY, b"bytes")
        await asyncio.wait_for(bench.attachment.closed.wait(), TIMEOUT)


async def test_a_websocket_is_answered_with_the_headers_of_every_answer(bench: Bench) -> None:
    await bench.shells.start("cat", tty=False)
    asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    asked["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
    url = "http://d/v1.43/containers/cat/attach/ws?stream=1&stdin=1"
    async with (
        ClientSession(connector=UnixConnector(bench.path)) as session,
        session.get(url, headers=asked) as answer,
    ):
        assert (answer.status, answer.headers["Ostype"]) == (101, "linux")
        assert answer.headers["Server"].startswith("wherry/")
