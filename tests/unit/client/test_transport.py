"""The transport against a real server on a real socket, that says exactly what the test tells it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from wherry import errors
from wherry.client import Client
from wherry.client.address import parse_host
from wherry.client.error_response import ErrorResponse
from wherry.client.transport import Transport, query_string

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Runs handlers, one for each connection in turn; the last one also for those that follow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handlers: list[Handler] = []
        self.connections = 0
        self.heads: list[str] = []
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._stop = asyncio.Event()
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        server = await asyncio.start_unix_server(self._serve, self.path)
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = self.handlers[min(self.connections, len(self.handlers) - 1)]
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    async def request(self, reader: asyncio.StreamReader) -> str:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        return head

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "s")
    yield server
    server.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(str(server.path)) as client:
        yield client


def says(server: Server, *answers: bytes) -> Handler:
    """A connection on which each request gets the next answer, and which then ends."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await server.request(reader)
            writer.write(answer)
            await writer.drain()

    return handle


def plain(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_a_body_of_known_size_is_read_whole(server: Server, client: Client) -> None:
    server.handlers = [says(server, plain(b'{"a": [1, 2]}'))]
    assert client.json("GET", "/x") == {"a": [1, 2]}
    assert server.heads[0].startswith("GET /x HTTP/1.1\r\nHost: wherry\r\n")


def test_small_chunks_are_read_with_extensions_and_trailers(server: Server, client: Client) -> None:
    chunks = b"".join(b"%x;name=value\r\n%b\r\n" % (len(word), word) for word in [b"ab", b"c" * 300, b"d"])
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.handlers = [says(server, head + chunks + b"0\r\nSum: 1\r\n\r\n", plain(b"next"))]
    assert client.call("GET", "/").read() == b"ab" + b"c" * 300 + b"d"
    assert client.call("GET", "/").read() == b"next"
    assert server.connections == 1


def test_large_chunks_are_read_whole_and_small_ones_behind_them(server: Server, client: Client) -> None:
    words = [b"a" * 300_000, b"b" * 70_000, b"c", b"d" * (2 << 20)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(word), word) for word in words)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.handlers = [says(server, head + chunks + b"0\r\n\r\n", plain(b"e" * 200_000))]
    assert client.call("GET", "/").read() == b"".join(words)
    assert client.call("GET", "/").read() == b"e" * 200_000
    assert server.connections == 1


def test_a_chunk_that_arrives_later_does_not_hold_up_an_earlier_one(server: Server, client: Client) -> None:
    read_one = threading.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await writer.drain()
        await asyncio.get_running_loop().run_in_executor(None, read_one.wait, 10)
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    server.handlers = [handle]
    pieces = client.call("GET", "/").chunks()
    assert next(pieces) == b"one"
    read_one.set()
    assert list(pieces) == [b"two"]


def test_a_body_without_a_size_ends_with_the_connection(server: Server, client: Client) -> None:
    server.handlers = [says(server, b"HTTP/1.1 200 OK\r\n\r\nall of it"), says(server, plain(b"again"))]
    assert client.call("GET", "/").read() == b"all of it"
    assert client.call("GET", "/").read() == b"again"
    assert server.connections == 2


def test_one_connection_serves_many_requests(server: Server, client: Client) -> None:
    server.handlers = [says(server, *[plain(b"1")] * 3)]
    for _ in range(3):
        assert client.call("GET", "/").read() == b"1"
    assert server.connections == 1


def test_a_connection_that_the_daemon_closed_meanwhile_is_replaced(server: Server, client: Client) -> None:
    server.handlers = [says(server, plain(b"1")), says(server, plain(b"2"))]
    assert client.call("POST", "/").read() == b"1"
    idle = client.transport.idle
    assert idle is not None
    while idle.sock.recv(1):  # wait until the end of the connection has arrived
        pass
    assert client.call("POST", "/").read() == b"2"
    assert server.connections == 2


def test_interim_answers_are_skipped(server: Server, client: Client) -> None:
    server.handlers = [says(server, b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"done"))]
    assert client.call("POST", "/").read() == b"done"


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"],
)  # fmt: skip
def test_a_broken_answer_is_an_error_and_no_end(server: Server, client: Client, answer: bytes) -> None:
    server.handlers = [says(server, answer)]
    with pytest.raises(errors.Unavailable, match="daemon"):
        client.call("GET", "/").read()


@pytest.mark.parametrize(
    ("status", "kind"),
    [("400 Bad Request", errors.InvalidInput), ("404 Not Found", errors.NotFound), ("409 Conflict", errors.Conflict),
     ("304 Not Modified", errors.NotModified), ("500 Internal Server Error", errors.SystemFault),
     ("501 Not Implemented", errors.Unsupported), ("418 Teapot", errors.SystemFault)],
)  # fmt: skip
def test_a_refusal_is_an_error_of_its_kind(
    server: Server, client: Client, status: str, kind: type[errors.WherryError]
) -> None:
    body = b"" if status.startswith("304") else b'{"message": "no such thing: x"}'
    server.handlers = [says(server, plain(body, status))]
    with pytest.raises(kind) as caught:
        client.do("GET", "/")
    assert isinstance(caught.value.__cause__, ErrorResponse)
    assert caught.value.__cause__.status == int(status[:3])


def test_a_refusal_that_is_no_json_is_told_as_it_came(server: Server, client: Client) -> None:
    server.handlers = [says(server, plain(b"upstream sleeps\n", "502 Bad Gateway"))]
    with pytest.raises(errors.SystemFault, match=r"^upstream sleeps$"):
        client.do("GET", "/")


def test_a_body_in_pieces_goes_out_in_chunks(server: Server, client: Client) -> None:
    received = bytearray()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        while size := int(await reader.readline(), 16):
            received.extend((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        writer.write(plain(b"ok"))

    server.handlers = [handle]
    assert client.call("POST", "/", body=iter([b"abc", b"", b"d" * 300_000, b"", b"e"])).read() == b"ok"
    assert bytes(received) == b"abc" + b"d" * 300_000 + b"e"
    assert "Transfer-Encoding: chunked" in server.heads[0]


def test_an_answer_given_before_the_whole_request_was_read_is_seen(server: Server, client: Client) -> None:
    server.handlers = [says(server, plain(b'{"message": "too large"}', "413 Too Large"))]
    with pytest.raises(errors.TooLarge, match="too large"):
        client.call("POST", "/", body=(b"x" * 65536 for _ in range(200)))


def test_who_is_answered_sends_no_more_and_asks_on_another_connection(server: Server, client: Client) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        await reader.readexactly(300_000)
        writer.write(plain(b'{"message": "no archive"}', "400 Bad Request"))
        while await reader.read(65536):  # as a server does that knows no other end of a request
            pass

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    server.handlers = [refuse, says(server, plain(b"ok"))]
    with pytest.raises(errors.InvalidInput, match="no archive"):
        client.call("PUT", "/", body=endless())
    assert client.call("GET", "/").read() == b"ok"


def test_an_answer_that_begins_with_progress_cuts_no_request(server: Server, client: Client) -> None:
    received = bytearray()
    begun = threading.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbeg\r\n")
        await writer.drain()
        begun.set()
        while size := int(await reader.readline(), 16):
            received.extend((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        writer.write(b"3\r\nun!\r\n0\r\n\r\n")

    def pieces() -> Iterator[bytes]:
        yield b"first"
        assert begun.wait(60)
        yield from (b"second", b"third")

    server.handlers = [handle]
    assert client.call("POST", "/", body=pieces()).read() == b"begun!"
    assert bytes(received) == b"firstsecondthird"


def test_a_hijacked_connection_keeps_early_bytes_and_half_closes(server: Server, client: Client) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n")
        writer.write(b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly ")
        sent = await reader.read()  # up to the client's end
        writer.write(b"got " + sent)

    server.handlers = [handle]
    stream = client.hijack("/attach", {"stdin": True})
    assert stream.multiplexed
    assert "Upgrade: tcp" in server.heads[0]
    stream.sock.sendall(b"words")
    stream.close_write()
    received = b""
    while data := stream.recv(4):
        received += data
    assert received == b"early got words"
    stream.close()


def test_nobody_there_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Transport(parse_host(str(tmp_path / "nobody"))).request("GET", "/")


def test_a_timeout_is_kept(server: Server, client: Client) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    server.handlers = [handle]
    with pytest.raises(TimeoutError):
        client.system.ping(timeout=0.05)


def test_queries_are_written_as_the_api_reads_them() -> None:
    assert query_string(None) == ""
    assert query_string({"all": True, "size": False, "limit": None, "t": 0}) == "?all=1&t=0"
    assert query_string({"filters": {"label": ["a=b"]}}) == "?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D"
    assert query_string({"names": ["a:1", "é"], "filters": {}}) == "?names=a%3A1&names=%C3%A9"


@pytest.mark.parametrize("text", ["tcp://[::1]:2376", "tcp://127.0.0.1:2376", "unix:///run/x", "/run/x"])
def test_addresses_are_understood(text: str) -> None:
    address = parse_host(text)
    assert (address.path, address.host) in [(None, "::1"), (None, "127.0.0.1"), ("/run/x", "")]


@pytest.mark.parametrize("text", ["", "tcp://", "tcp://host", "tcp://host:99999", "tcp://:1", "ftp://x", "unix://"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidInput, match="invalid daemon address"):
        parse_host(text)


def test_a_connection_over_tcp_works_without_tls() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener.accept()[0] as one:
            one.recv(65536)
            one.sendall(plain(b"OK"))

    thread = threading.Thread(target=serve)
    thread.start()
    with Client(f"tcp://127.0.0.1:{listener.getsockname()[1]}") as client:
        assert client.call("GET", "/_ping").read() == b"OK"
    thread.join()
    listener.close()
