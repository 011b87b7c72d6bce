"""Attach to a container, over a hijacked connection or a WebSocket; exec shares the copying."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp.http_websocket import WSCloseCode, WSMsgType

from wherry.api.http.answers import COMMON_HEADERS
from wherry.api.http.hijack import HangupWatch, HijackedResponse, content_type, error_frame, frame, hijack
from wherry.api.http.routing import Route
from wherry.docker.streams import AttachOptions
from wherry.errors import InvalidInput, WherryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from aiohttp.web import StreamResponse, WebSocketResponse

    from wherry.api.http.hijack import Hijacked
    from wherry.api.http.request import ApiRequest
    from wherry.docker.streams import LogChunk


_LONGEST_REASON: Final = 123  # bytes; RFC 6455, 5.5


class Attachment(Protocol):
    """A process's streams, held by one client."""

    @property
    def tty(self) -> bool:
        """Whether the output is a terminal's: one stream, no frames."""

    @property
    def detached(self) -> asyncio.Future[Any]:
        """Done when the client typed its detach keys."""

    def output(self) -> AsyncIterator[LogChunk]:
        """Yield output until the process has ended and everything was read."""

    async def write(self, data: bytes) -> None:
        """Give the process input; waits while it does not read."""

    async def close_stdin(self) -> None:
        """Let the process see the end of its input."""

    async def close(self) -> None:
        """Let go."""


class Attacher(Protocol):
    """What attaching needs of the engine."""

    def attach(self, ref: str, options: AttachOptions) -> Attachment:
        """Attach to a container."""


class AttachRoutes:
    """``POST /containers/{id}/attach`` and ``GET /containers/{id}/attach/ws``."""

    def __init__(self, containers: Attacher, watch: HangupWatch) -> None:
        self._containers = containers
        self._watch = watch

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("POST", "/containers/{id:path}/attach", self.attach, streaming=True),
            Route("GET", "/containers/{id:path}/attach/ws", self.attach_websocket, streaming=True),
        ]

    async def attach(self, request: ApiRequest) -> StreamResponse:
        """Serve a container's streams over the taken-over connection."""
        attachment = self._containers.attach(request.id, _options(request))
        try:
            kind = content_type(tty=attachment.tty, version=request.version)
            connection = hijack(request.http, self._watch, content_type=kind)
        except BaseException:
            await attachment.close()
            raise
        await pump_connection(connection, attachment, raw=attachment.tty)
        return HijackedResponse()

    async def attach_websocket(self, request: ApiRequest) -> StreamResponse:
        """Serve a container's streams over a WebSocket: binary messages out, anything in."""
        from aiohttp.web_ws import WebSocketResponse  # noqa: PLC0415 - hardly any client asks for that

        socket = WebSocketResponse(max_msg_size=0)
        if not socket.can_prepare(request.http):
            raise InvalidInput("this is no handshake of a WebSocket, as RFC 6455 has it")
        attachment = self._containers.attach(request.id, _options(request))
        socket.headers.update(COMMON_HEADERS)
        try:
            await socket.prepare(request.http)
            gone = asyncio.ensure_future(_websocket_input(socket, attachment))
            await _pump(attachment, _websocket_output(socket, attachment), gone, gone=gone)
            await socket.close()
        finally:
            await attachment.close()
        return socket


def _options(request: ApiRequest) -> AttachOptions:
    return AttachOptions(
        stream=request.flag("stream"),
        stdin=request.flag("stdin"),
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr"),
        logs=request.flag("logs"),
        detach_keys=request.text("detachKeys"),
    )


async def pump_connection(connection: Hijacked, attachment: Attachment, *, raw: bool) -> None:
    """Pump over a taken-over connection until the process ends, the client leaves or detaches; then close both.

    :param raw: whether the output goes as it is, and not in frames.
    """
    try:
        await _pump(
            attachment,
            send_output(connection, attachment, raw=raw),
            _feed_input(connection, attachment),
            gone=connection.gone,
        )
    finally:
        connection.close()
        await attachment.close()


async def send_output(connection: Hijacked, attachment: Attachment, *, raw: bool) -> None:
    """Send all output to the client, in frames unless it is to be raw."""
    await connection.head_taken()
    try:
        async for chunk in attachment.output():
            await connection.write(*((chunk.data,) if raw else frame(chunk.stream, chunk.data)))
    except WherryError as error:  # it cannot be told by a status any more
        await connection.write(*((f"\r\n{error}\r\n".encode(),) if raw else error_frame(error)))


async def _feed_input(connection: Hijacked, attachment: Attachment) -> None:
    """Give what the client sends to the process; its half-close becomes the end of the process's input."""
    while data := await connection.read():
        await attachment.write(data)
    if not connection.gone.done():
        await attachment.close_stdin()


async def _websocket_output(socket: WebSocketResponse, attachment: Attachment) -> None:
    try:
        async for chunk in attachment.output():
            await socket.send_bytes(chunk.data)
    except WherryError as error:
        await socket.close(code=WSCloseCode.INTERNAL_ERROR, message=str(error).encode()[:_LONGEST_REASON])


async def _websocket_input(socket: WebSocketResponse, attachment: Attachment) -> None:
    async for message in socket:
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            data = message.data
            await attachment.write(data.encode() if isinstance(data, str) else data)


async def _pump(
    attachment: Attachment, output: Awaitable[None], feed: Awaitable[None], *, gone: asyncio.Future[None]
) -> None:
    """Run both directions until the output has ended, or the client is gone or detached.

    The end of the input alone ends nothing. An error of the output's side is raised; a process that no longer takes
    input is no error.
    """
    out: asyncio.Future[None] = asyncio.ensure_future(output)
    into: asyncio.Future[None] = asyncio.ensure_future(_forgiving(feed))
    try:
        await asyncio.wait({out, gone, attachment.detached}, return_when=asyncio.FIRST_COMPLETED)
        if out.done():
            with suppress(ConnectionError):  # the client left while it was written to
                out.result()
    finally:
        await _cancel(out, into)


async def _forgiving(feed: Awaitable[None]) -> None:
    with suppress(ConnectionError, BrokenPipeError):
        await feed


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
