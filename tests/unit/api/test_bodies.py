"""Bodies of requests that are read in threads, over a real unix socket: whole, in any pieces, and given up."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from aiohttp.web import StreamResponse

from wherry.api.http.answers import reply
from wherry.api.http.bodies import BodyReader, in_thread
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.request import ApiRequest
from wherry.api.http.routing import Route, Router
from wherry.api.http.server import Api

PIECES = [b"a", b"b" * 100, b"c" * (3 << 20), b"d" * 65536, b"e" * 300_000, b"f"] * 3


def chunked(pieces: list[bytes]) -> Iterator[bytes]:
    yield b"PUT /body HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
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


@pytest.mark.parametrize("how", ["read", "readinto"])
async def test_a_body_comes_whole_however_it_was_cut(tmp_path: Path, how: str) -> None:
    def summed(body: BodyReader) -> str:
        found, buffer = hashlib.sha256(), bytearray(70_000)
        while piece := body.read(1 << 18) if how == "read" else buffer[: body.readinto(buffer)]:
            assert len(piece) <= 1 << 18
            found.update(piece)
        return found.hexdigest()

    async def handle(request: ApiRequest) -> StreamResponse:
        return reply(await in_thread(partial(summed, BodyReader(request.http.content))))

    async with connected(tmp_path / "s", Route("PUT", "/body", handle)) as (reader, writer):
        for _ in range(2):  # the second one over the same connection
            writer.writelines(chunked(PIECES))
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readline()).decode().strip('"\n') == hashlib.sha256(b"".join(PIECES)).hexdigest()


async def test_a_read_that_waits_ends_when_nobody_wants_the_body(tmp_path: Path) -> None:
    async def handle(request: ApiRequest) -> StreamResponse:
        body = BodyReader(request.http.content)
        assert await in_thread(lambda: body.read(100)) == b"begin"
        waiting = asyncio.create_task(in_thread(lambda: body.read(100)))
        while body._coming is None:  # noqa: ASYNC110 - a thread that waits has no event
            await asyncio.sleep(0)
        body.abandon()
        with pytest.raises(ConnectionAbortedError):
            await waiting
        with pytest.raises(ConnectionAbortedError):
            await in_thread(lambda: body.read(100))
        return reply("given up")

    async with connected(tmp_path / "s", Route("PUT", "/body", handle)) as (reader, writer):
        writer.write(b"PUT /body HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\nbegin")
        assert b" 200 " in await reader.readline()
