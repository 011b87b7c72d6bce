"""Bodies of requests that are read in threads, over a real unix socket: whole, in any pieces, and given up.

At one path they come through aiohttp, at the other one the thread receives them itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from aiohttp.web import StreamResponse

from wherry.api.http.answers import empty, reply
from wherry.api.http.bodies import BodyReader, ThreadBody, in_thread
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.request import ApiRequest
from wherry.api.http.routing import Route, Router
from wherry.api.http.server import Api
from wherry.api.http.socket_body import ChunkedBody, SocketBody, body_of

PATHS = ["/body", "/containers/x/archive"]
PIECES = [b"a", b"b" * 100, b"c" * (3 << 20), b"d" * 65536, b"e" * 300_000, b"f"] * 3


def chunked(pieces: list[bytes], path: str = "/body") -> Iterator[bytes]:
    yield f"PUT {path} HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


@asynccontextmanager
async def connected(path: Path, handle: Route) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    loop = asyncio.get_running_loop()
    api = Api(Router([handle]), HangupWatch(loop))
    server = await loop.create_unix_server(api.connection, path)
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
        yield reader, writer
        writer.close()
    finally:
        server.close()
        await api.close()


async def answered(reader: asyncio.StreamReader) -> int:
    """Read an answer without a body; its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("how", ["read", "readinto"])
async def test_a_body_comes_whole_however_it_was_cut(tmp_path: Path, how: str, path: str) -> None:
    def summed(body: ThreadBody) -> str:
        found, buffer = hashlib.sha256(), bytearray(70_000)
        while piece := body.read(1 << 18) if how == "read" else buffer[: body.readinto(buffer)]:
            assert len(piece) <= 1 << 18
            found.update(piece)
        return found.hexdigest()

    async def handle(request: ApiRequest) -> StreamResponse:
        body = body_of(request.http)
        assert isinstance(body, SocketBody if path != "/body" else BodyReader)
        return reply(await in_thread(partial(summed, body)))

    async with connected(tmp_path / "s", Route("PUT", path, handle)) as (reader, writer):
        for _ in range(2):  # the second one over the same connection
            writer.writelines(chunked(PIECES, path))
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readline()).decode().strip('"\n') == hashlib.sha256(b"".join(PIECES)).hexdigest()


@pytest.mark.parametrize("path", PATHS)
async def test_a_read_that_waits_ends_when_nobody_wants_the_body(tmp_path: Path, path: str) -> None:
    async def handle(request: ApiRequest) -> StreamResponse:
        body = body_of(request.http)
        assert await in_thread(lambda: body.read(100)) == b"begin"
        waiting = asyncio.create_task(in_thread(lambda: body.read(100)))
        while not getattr(body, "_coming", None) and not getattr(body, "_is_waiting", None):  # noqa: ASYNC110
            await asyncio.sleep(0)  # a thread that waits has no event
        body.abandon()
        with pytest.raises(ConnectionAbortedError):
            await waiting
        with pytest.raises(ConnectionAbortedError):
            await in_thread(lambda: body.read(100))
        return reply("given up")

    async with connected(tmp_path / "s", Route("PUT", path, handle)) as (reader, writer):
        writer.write(f"PUT {path} HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n".encode())
        assert b" 200 " in await reader.readline()


@pytest.mark.parametrize("read", [0, 100, 1 << 18])
async def test_what_is_not_read_of_a_body_is_passed_over(tmp_path: Path, read: int) -> None:
    async def handle(request: ApiRequest) -> StreamResponse:
        await in_thread(lambda: body_of(request.http).read(read)) if read else None
        return empty(200)

    async with connected(tmp_path / "s", Route("PUT", PATHS[1], handle)) as (reader, writer):
        for _ in range(3):
            writer.writelines(chunked([b"x" * 50, b"y" * 300_000], PATHS[1]))
            assert await answered(reader) == 200
        writer.write(b"GET /nothing HTTP/1.1\r\nHost: d\r\n\r\n")
        assert await answered(reader) == 404


async def test_a_client_that_leaves_ends_the_read_that_waits_for_it(tmp_path: Path) -> None:
    seen = asyncio.Event()
    errors: list[BaseException] = []

    async def handle(request: ApiRequest) -> StreamResponse:
        body = body_of(request.http)
        await in_thread(lambda: body.read(5))
        try:
            await in_thread(lambda: body.read(5))
        except OSError as error:
            errors.append(error)
        seen.set()
        return empty(200)

    async with connected(tmp_path / "s", Route("PUT", PATHS[1], handle)) as (_, writer):
        writer.writelines([*chunked([b"begin"], PATHS[1])][:2])
        await writer.drain()
        writer.transport.abort()
        await seen.wait()
    assert [type(error) for error in errors] == [ConnectionResetError]


async def test_a_client_that_leaves_behind_its_body_is_noticed(tmp_path: Path) -> None:
    read, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(request: ApiRequest) -> StreamResponse:
        body = body_of(request.http)
        assert await in_thread(body.readall) == b"all"
        assert await in_thread(body.readall) == b""
        read.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return empty(200)

    async with connected(tmp_path / "s", Route("PUT", PATHS[1], handle, streaming=True)) as (_, writer):
        writer.writelines(chunked([b"all"], PATHS[1]))
        await read.wait()
        writer.transport.abort()
        await cancelled.wait()


@pytest.mark.parametrize("head", ["Content-Length: 5", "Expect: 100-continue\r\nTransfer-Encoding: chunked"])
async def test_other_bodies_are_left_to_aiohttp(tmp_path: Path, head: str) -> None:
    async def handle(request: ApiRequest) -> StreamResponse:
        body = body_of(request.http)
        assert isinstance(body, BodyReader)
        assert await in_thread(lambda: body.read(5)) == b"begin"
        return empty(200)

    async with connected(tmp_path / "s", Route("PUT", PATHS[1], handle)) as (reader, writer):
        body = "begin" if "Length" in head else "5\r\nbegin\r\n0\r\n\r\n"
        writer.write(f"PUT {PATHS[1]} HTTP/1.1\r\nHost: d\r\n{head}\r\n\r\n{body}".encode())
        status = await answered(reader)
        assert (await answered(reader) if status == 100 else status) == 200


async def test_a_body_that_looks_like_a_request_is_none(tmp_path: Path) -> None:
    inner = b"".join(chunked([b"inner"], PATHS[1]))
    asked, begun = [], asyncio.Event()

    async def handle(request: ApiRequest) -> StreamResponse:
        begun.set()
        body = body_of(request.http)
        asked.append(await in_thread(lambda: (body.read(1 << 18), body.read(1 << 18))))
        return empty(200)

    async with connected(tmp_path / "s", Route("PUT", "/body", handle)) as (reader, writer):
        writer.write(f"PUT /body HTTP/1.1\r\nHost: d\r\nContent-Length: {len(inner)}\r\n\r\n".encode())
        await begun.wait()  # so that the body comes by itself
        writer.write(inner)
        assert await answered(reader) == 200
    assert asked == [(inner, b"")]


async def test_an_archive_behind_a_request_that_is_being_answered_is_not_taken_for_its_body(tmp_path: Path) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    found: list[bytes] = []

    async def handle(request: ApiRequest) -> StreamResponse:
        if not first.is_set():
            first.set()
            await second.wait()
        body = body_of(request.http)
        found.append(await in_thread(lambda: body.read(1 << 18)))
        return empty(200)

    async with connected(tmp_path / "s", Route("PUT", PATHS[1], handle)) as (reader, writer):
        writer.write(f"PUT {PATHS[1]} HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nfirst".encode())
        await first.wait()
        writer.writelines(chunked([b"second"], PATHS[1]))
        other_reader, other = await asyncio.open_unix_connection(str(tmp_path / "s"))
        other.write(b"GET /nothing HTTP/1.1\r\nHost: d\r\n\r\n")
        assert await answered(other_reader) == 404  # by now the event loop has the second one as well
        other.close()
        second.set()
        assert [await answered(reader), await answered(reader)] == [200, 200]
    assert found == [b"first", b"second"]


def test_the_framing_is_taken_off_wherever_it_is_cut() -> None:
    chance = random.Random(5)
    content = chance.randbytes(3000)
    stream, at = b"", 0
    while at < len(content):
        size = chance.randrange(1, 400)
        piece = content[at : at + size]
        stream += b"%x%b\r\n%b\r\n" % (len(piece), chance.choice([b"", b";a=b", b" "]), piece)
        at += size
    stream += b"0\r\nTrailer: x\r\n\r\nbehind"
    for most in (1, 2, 7, 5000):
        body, found, at = ChunkedBody(), b"", 0
        while not body.ended:
            piece = stream[at : at + chance.randint(1, most)]
            found += b"".join(body.feed(piece, len(piece)))
            at += len(piece)
        assert found == content
        assert body.rest + stream[at:] == b"behind"


@pytest.mark.parametrize(
    "stream",
    [b"x\r\n", b"-5\r\n", b"\r\n", b"5\n12345\r\n", b"5\r\n123456\r\n", b"5" * 16 + b"\r\n", b"1;" + b"x" * 5000,
     b"0\r\n" + b"a: b\r\n" * 100, b"0\r\na: b\n\n", b"0\r\n\n"],
)  # fmt: skip
def test_a_framing_that_is_wrong_is_an_error(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"chunk|trailer"):
        (body := ChunkedBody()).feed(stream, len(stream))
    with pytest.raises(ValueError, match="behind a bad chunk"):
        body.feed(b"0\r\n\r\n", 5)


def test_the_framing_of_many_chunks_is_not_taken_off_at_once() -> None:
    stream, body, found, times = b"1\r\nx\r\n" * 5000 + b"0\r\n\r\nbehind", ChunkedBody(), b"", 0
    while not body.ended:
        found += b"".join(body.feed(stream, len(stream), body.at))
        times += 1
    assert (found, body.rest, times) == (b"x" * 5000, b"behind", 10)


async def test_others_have_their_turn_while_a_body_is_passed_over(tmp_path: Path) -> None:
    """What the framing of 40,000 chunks of one byte takes is 0.13 s."""
    turns = 0
    is_over = False

    async def count() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            await asyncio.sleep(0)

    async def handle(_: ApiRequest) -> StreamResponse:
        counting.append(asyncio.create_task(count()))
        return empty(200)

    counting: list[asyncio.Task[None]] = []
    async with connected(tmp_path / "s", Route("PUT", PATHS[1], handle)) as (reader, writer):
        writer.write(b"".join(chunked([b"x"] * 40_000, PATHS[1])) + b"GET /nothing HTTP/1.1\r\nHost: d\r\n\r\n")
        assert [await answered(reader), await answered(reader)] == [200, 404]
        is_over = True
        await counting[0]
    assert turns >= 2 * 40_000 // 1024


@pytest.mark.parametrize("read", [0, 100])
@pytest.mark.parametrize("bad", [b"zz\r\n", b"1\r\nxyz\r\n", b"0\r\na: b\n\n"])
async def test_nothing_is_a_request_behind_a_bad_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes, read: int
) -> None:
    """A proxy that reads the framing in another way would let through what it has never seen."""

    async def handle(request: ApiRequest) -> StreamResponse:
        try:
            while read and await in_thread(lambda: body_of(request.http).read(read)):
                pass
        except OSError:
            return empty(201)
        return empty(200)

    monkeypatch.setattr("wherry.api.http.server.LINGER", 0.1)
    async with connected(tmp_path / "s", Route("PUT", PATHS[1], handle)) as (reader, writer):
        writer.write(b"".join([*chunked([b"good"], PATHS[1])][:2]) + bad)
        assert await answered(reader) == (201 if read else 200)
        writer.write(b"0\r\n\r\nGET /nothing HTTP/1.1\r\nHost: d\r\n\r\n")
        assert await reader.read() == b""
