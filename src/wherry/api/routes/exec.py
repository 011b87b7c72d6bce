"""Exec: one more process in a running container."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from wherry.api.http.answers import empty, reply
from wherry.api.http.hijack import HijackedResponse, content_type, frame, hijack
from wherry.api.http.older import adapt_exec
from wherry.api.http.routing import Route
from wherry.api.routes.attach import pump_connection
from wherry.api.routes.containers import terminal_size
from wherry.docker.container_requests import ExecConfig, Uint
from wherry.errors import InvalidInput, WherryError

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.http.hijack import HangupWatch, Hijacked
    from wherry.api.http.request import ApiRequest
    from wherry.api.routes.attach import Attachment
    from wherry.docker.container_answers import ExecInspect


class ExecStart(Struct, rename="pascal"):
    """The body of ExecStart."""

    detach: bool | None = None
    tty: bool | None = None
    console_size: tuple[Uint, Uint] | None = None  #: height and width in characters


class Execs(Protocol):
    """What this file needs of the engine."""

    def create(self, container_ref: str, config: ExecConfig) -> str:
        """Prepare a process; return its ID."""

    def inspect(self, exec_id: str) -> ExecInspect:
        """Return everything about it."""

    async def start(self, exec_id: str, *, detach: bool, tty: bool, size: tuple[int, int] | None) -> Attachment | None:
        """Start it; return its streams unless it is to run on its own."""

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        """Set its terminal's size, in characters."""


class ExecRoutes:
    """The operations on exec."""

    def __init__(self, execs: Execs, watch: HangupWatch) -> None:
        self._execs = execs
        self._watch = watch

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("POST", "/containers/{id:path}/exec", self.create),
            Route("POST", "/exec/{id}/start", self.start, streaming=True),
            Route("POST", "/exec/{id}/resize", self.resize),
            Route("GET", "/exec/{id}/json", self.inspect),
        ]

    async def create(self, request: ApiRequest) -> StreamResponse:
        """ContainerExec."""
        config = await request.json(ExecConfig)
        if not config.cmd:
            raise InvalidInput("No exec command specified")
        config.console_size = adapt_exec(config.console_size, request.version)
        return reply({"Id": self._execs.create(request.id, config)}, status=201)

    async def start(self, request: ApiRequest) -> StreamResponse:
        """ExecStart, detached or with its streams on this connection.

        As with dockerd the head of the answer goes out while the process is still being made.
        """
        body = await request.json(ExecStart, empty=ExecStart())
        tty = self._execs.inspect(request.id).process_config.tty
        size = _size(adapt_exec(body.console_size, request.version) if body.tty else None)
        if body.detach:
            await self._execs.start(request.id, detach=True, tty=tty, size=size)
            return empty(200)
        starting = asyncio.ensure_future(self._execs.start(request.id, detach=False, tty=tty, size=size))
        await asyncio.sleep(0)  # it takes its first step
        if starting.done() and (error := starting.exception()):
            raise error  # it does not run, it ran already ...: an ordinary answer
        raw = bool(body.tty)  # as in dockerd: how it comes is said here, whatever the process has
        kind = content_type(tty=raw, version=request.version)
        await self._serve(hijack(request.http, self._watch, content_type=kind), starting, raw=raw)
        return HijackedResponse()

    async def _serve(self, connection: Hijacked, starting: asyncio.Future[Attachment | None], *, raw: bool) -> None:
        try:
            attachment = await asyncio.shield(starting)
        except WherryError as error:  # no such command ...: said in the stream; the exit code follows by ExecInspect
            text = f"{error}\r\n".encode()
            await connection.head_taken()
            await connection.write(*((text,) if raw else frame(1, text)))
            connection.close()
        except asyncio.CancelledError:  # the client left before the process was there
            if attachment := await starting:
                await attachment.close()
            raise
        else:
            assert attachment is not None
            await pump_connection(connection, attachment, raw=raw)

    async def resize(self, request: ApiRequest) -> StreamResponse:
        """ExecResize."""
        await self._execs.resize(request.id, *terminal_size(request))
        return empty(200)

    async def inspect(self, request: ApiRequest) -> StreamResponse:
        """ExecInspect."""
        return reply(self._execs.inspect(request.id))


def _size(given: tuple[int, int] | None) -> tuple[int, int] | None:
    if given is not None and max(given) > 0xFFFF:
        raise InvalidInput(f"invalid console size {list(given)}: it must be height and width")
    return given
