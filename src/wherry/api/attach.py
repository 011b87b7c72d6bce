"""Attaching to a container, as a taken-over connection or as a WebSocket, and the pumping that exec shares."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import WSMsgType
from aiohttp.web import StreamResponse, WebSocketResponse

from wherry.api.answers import COMMON_HEADERS
from wherry.api.hijack import HangupWatch, HijackedResponse, content_type, frame, hijack
from wherry.api.routing import Route
from wherry.engine.streams import AttachOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from wherry.api.call import Call
    from wherry.api.hijack import Hijacked
    from wherry.engine.streams import LogChunk


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
            Route("POST", "/containers/{id}/attach", self.attach, streaming=True),
            Route("GET", "/containers/{id}/attach/ws", self.attach_websocket, streaming=True),
        ]

    async def attach(self, call: Call) -> StreamResponse:
        """Serve a container's streams over the taken-over connection."""
        attachment = self._containers.attach(call.id, _options(call))
        try:
            kind = content_type(tty=attachment.tty, version=call.version)
            connection = hijack(call.request, self._watch, content_type=kind)
        except BaseException:
            await attachment.close()
            raise
        await pump_connection(connection, attachment)
        return HijackedResponse()

    async def attach_websocket(self, call: Call) -> StreamResponse:
        """Serve a container's streams over a WebSocket: binary messages out, anything in."""
        attachment = self._containers.attach(call.id, _options(call))
        socket = WebSocketResponse(max_msg_size=0)
        socket.headers.update(COMMON_HEADERS)
        try:
            await socket.prepare(call.request)
            gone = asyncio.ensure_future(_websocket_input(socket, attachment))
            await _pump(attachment, _websocket_output(socket, attachment), gone, gone=gone)
            await socket.close()
        finally:
            await attachment.close()
        return socket


def _options(call: Call) -> AttachOptions:
    return AttachOptions(
        stream=call.flag("stream"),
        stdin=call.flag("stdin"),
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        logs=call.flag("logs"),
        detach_keys=call.text("detachKeys"),
    )


async def pump_connection(connection: Hijacked, attachment: Attachment) -> None:
    """Pump over a taken-over connection until the process ends, the client leaves or detaches; then close both."""
    try:
        await _pump(
            attachment,
            send_output(connection, attachment),
            _feed_input(connection, attachment),
            gone=connection.gone,
        )
    finally:
        connection.close()
        await attachment.close()


async def send_output(connection: Hijacked, attachment: Attachment) -> None:
    """Send all output to the client, framed unless it is a terminal's."""
    raw = attachment.tty
    await connection.head_taken()
    async for chunk in attachment.output():
        await connection.write(*((chunk.data,) if raw else frame(chunk.stream, chunk.data)))


async def _feed_input(connection: Hijacked, attachment: Attachment) -> None:
    """Give what the client sends to the process; its half-close becomes the end of the process's input."""
    while data := await connection.read():
        await attachment.write(data)
    if not connection.gone.done():
        await attachment.close_stdin()


async def _websocket_output(socket: WebSocketResponse, attachment: Attachment) -> None:
    async for chunk in attachment.output():
        await socket.send_bytes(chunk.data)


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
