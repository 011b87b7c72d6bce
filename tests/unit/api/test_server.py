"""From a request to an answer, over a real unix socket: errors with their status, and as the last line of a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector
from aiohttp.web import StreamResponse

from wherry.api.http.answers import reply, stream_tar
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.progress import stream, stream_with_errors
from wherry.api.http.request import ApiRequest
from wherry.api.http.routing import Route, Router
from wherry.api.http.server import Api
from wherry.api.routes.unsupported import UnsupportedRoutes
from wherry.errors import Conflict, NotFound

Messages = AsyncGenerator[dict[str, Any], None]


async def fails_at_once() -> Messages:
    raise NotFound("no such image")
    yield {}


async def fails_later() -> Messages:
    yield {"status": "one"}
    raise Conflict("no more of it")


async def goes_well() -> Messages:
    yield {"status": "one"}
    yield {"status": "two"}


SOURCES: dict[str, Callable[[], Messages]] = {
    "fails-at-once": fails_at_once,
    "fails-later": fails_later,
    "goes-well": goes_well,
}


async def plain(request: ApiRequest) -> StreamResponse:
    return await stream(request, SOURCES[request.id]())


async def with_errors(request: ApiRequest) -> StreamResponse:
    return await stream_with_errors(request, SOURCES[request.id]())


async def broken(_: ApiRequest) -> StreamResponse:
    raise KeyError("a fault")


async def breaks(request: ApiRequest) -> StreamResponse:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"piece"
        raise {"conflict": Conflict("it has changed"), "fault": KeyError("x"), "gone": ConnectionResetError("gone")}[
            request.id
        ]

    return await stream_tar(request.http, pieces())


async def echo(request: ApiRequest) -> StreamResponse:
    body = await request.json(dict[str, Any])
    return reply({"version": request.version, "n": request.integer("n"), "body": body})


ROUTES = [
    Route("GET", "/plain/{id}", plain, streaming=True),
    Route("GET", "/with-errors/{id}", with_errors, streaming=True),
    Route("GET", "/broken", broken),
    Route("GET", "/breaks/{id}", breaks, streaming=True),
    Route("POST", "/echo", echo),
    *UnsupportedRoutes().routes(),
]


@asynccontextmanager
async def client(path: Path) -> AsyncIterator[ClientSession]:
    loop = asyncio.get_running_loop()
    api = Api(Router(ROUTES), HangupWatch(loop))
    server = await loop.create_unix_server(api.connection, path)
    try:
        async with ClientSession("http://d", connector=UnixConnector(str(path))) as session:
            yield session
    finally:
        server.close()
        await api.close()


def asked(tmp_path: Path, method: str, path: str, **what: Any) -> tuple[int, str]:
    """The status and the body of one answer."""

    async def ask() -> tuple[int, str]:
        async with client(tmp_path / "s") as session, session.request(method, path, **what) as answer:
            return answer.status, await answer.text()

    return asyncio.run(ask())


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("way", ["plain", "with-errors"])
def test_a_stream_is_a_message_a_line(tmp_path: Path, way: str) -> None:
    status, text = asked(tmp_path, "GET", f"/v1.43/{way}/goes-well")
    assert (status, lines(text)) == (200, [{"status": "one"}, {"status": "two"}])


def test_what_fails_before_the_first_message_has_a_status(tmp_path: Path) -> None:
    assert asked(tmp_path, "GET", "/plain/fails-at-once") == (404, '{"message":"no such image"}\n')


def test_or_is_the_only_line_where_a_status_cannot_be_given(tmp_path: Path) -> None:
    status, text = asked(tmp_path, "GET", "/with-errors/fails-at-once")
    assert status == 200
    assert lines(text) == [{"errorDetail": {"message": "no such image"}, "error": "no such image"}]


@pytest.mark.parametrize("way", ["plain", "with-errors"])
def test_what_fails_later_is_the_last_line(tmp_path: Path, way: str) -> None:
    status, text = asked(tmp_path, "GET", f"/{way}/fails-later")
    assert status == 200
    assert lines(text)[1:] == [{"errorDetail": {"message": "no more of it"}, "error": "no more of it"}]


def test_an_unexpected_error_is_a_500_and_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    status, text = asked(tmp_path, "GET", "/broken")
    assert (status, json.loads(text)["message"]) == (500, "internal error: KeyError: 'a fault'")
    assert "unexpected error in a request" in caplog.text


@pytest.mark.parametrize(
    ("why", "noted"),
    [("conflict", ["request failed"]), ("fault", ["unexpected error in a request"]), ("gone", [])],
)
def test_an_answer_that_cannot_go_on_breaks_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, why: str, noted: list[str]
) -> None:
    """A second answer would be taken for the first one's content."""

    async def ask() -> bytes:
        async with client(tmp_path / "s"):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(f"GET /breaks/{why} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
            said = await reader.read()
            writer.close()
            return said

    said = asyncio.run(ask())
    assert said.count(b"HTTP/1.1") == 1
    assert said.endswith(b"\r\n\r\n5\r\npiece\r\n")  # without the last chunk, so its client knows
    assert [record.message for record in caplog.records] == noted


def test_a_request_has_its_version_its_query_and_its_body(tmp_path: Path) -> None:
    status, text = asked(tmp_path, "POST", "/v1.41/echo?n=3", json={"a": 1})
    assert (status, json.loads(text)) == (200, {"version": [1, 41], "n": 3, "body": {"a": 1}})
    status, text = asked(tmp_path, "POST", "/echo?n=x", json={})
    assert status == 400


@pytest.mark.slow
def test_who_still_sends_is_answered_at_once_and_told_that_the_connection_ends(tmp_path: Path) -> None:
    async def ask() -> tuple[bytes, bytes]:
        async with client(tmp_path / "s"):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            writer.write(b"POST /nowhere HTTP/1.1\r\nHost: d\r\nContent-Length: 1000000\r\n\r\nx")
            head = await reader.readuntil(b"\r\n\r\n")
            rest = await reader.read()
            writer.close()
            return head, rest

    head, rest = asyncio.run(ask())
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"\r\nConnection: close\r\n" in head
    assert json.loads(rest) == {"message": "page not found"}


def test_a_body_of_another_type_is_refused_in_dockerds_words(tmp_path: Path) -> None:
    status, text = asked(tmp_path, "POST", "/echo", data=b"a=1", headers={"Content-Type": "text/plain"})
    assert (status, json.loads(text)["message"]) == (
        400,
        "unsupported Content-Type header (text/plain): must be 'application/json'",
    )


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    assert asked(tmp_path, "GET", "/nothing") == (404, '{"message":"page not found"}\n')
    status, text = asked(tmp_path, "POST", "/plugins/pull")
    assert (status, json.loads(text)["message"]) == (501, "plugins are not supported on this platform")
    assert asked(tmp_path, "GET", "/services")[0] == 503
    assert asked(tmp_path, "GET", "/plugins") == (200, "[]\n")
