"""Exec: one more process in a running container."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from wherry.api.answers import empty, reply
from wherry.api.attach import pump_connection
from wherry.api.containers import terminal_size
from wherry.api.hijack import HijackedResponse, content_type, frame, hijack
from wherry.api.routing import Route
from wherry.engine.config import ExecConfig
from wherry.errors import InvalidInput, WherryError

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.attach import Attachment
    from wherry.api.call import Call, Json
    from wherry.api.hijack import HangupWatch, Hijacked


class ExecStart(Struct, rename="pascal"):
    """The body of ExecStart."""

    detach: bool | None = None
    tty: bool | None = None
    console_size: list[int] | None = None  #: height and width in characters


class Execs(Protocol):
    """What this file needs of the engine."""

    def create(self, container_ref: str, config: ExecConfig) -> str:
        """Prepare a process; return its ID."""

    def inspect(self, exec_id: str) -> Json:
        """Return everything about it."""

    async def start(self, exec_id: str, *, detach: bool, tty: bool, size: tuple[int, int] | None) -> Attachment | None:
        """Start it; return its streams unless it is to run on its own."""

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        """Tell its terminal the size, in characters."""


class ExecRoutes:
    """The operations on exec."""

    def __init__(self, execs: Execs, watch: HangupWatch) -> None:
        self._execs = execs
        self._watch = watch

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("POST", "/containers/{id}/exec", self.create),
            Route("POST", "/exec/{id}/start", self.start, streaming=True),
            Route("POST", "/exec/{id}/resize", self.resize),
            Route("GET", "/exec/{id}/json", self.inspect),
        ]

    async def create(self, call: Call) -> StreamResponse:
        """ContainerExec."""
        config = await call.json(ExecConfig)
        if not config.cmd:
            raise InvalidInput("No exec command specified")
        return reply({"Id": self._execs.create(call.id, config)}, status=201)

    async def start(self, call: Call) -> StreamResponse:
        """ExecStart, detached or with its streams on this connection.

        As with dockerd the head of the answer goes out while the process is still being made.
        """
        wish = await call.json(ExecStart, empty=ExecStart())
        tty = bool(self._execs.inspect(call.id)["ProcessConfig"]["tty"])
        size = _size(wish.console_size)
        if wish.detach:
            await self._execs.start(call.id, detach=True, tty=tty, size=size)
            return empty(200)
        starting = asyncio.ensure_future(self._execs.start(call.id, detach=False, tty=tty, size=size))
        await asyncio.wait({starting}, timeout=0)
        if starting.done() and (error := starting.exception()):
            raise error  # it does not run, it ran already ...: an ordinary answer
        kind = content_type(tty=tty, version=call.version)
        await self._serve(hijack(call.request, self._watch, content_type=kind), starting, tty=tty)
        return HijackedResponse()

    async def _serve(self, connection: Hijacked, starting: asyncio.Future[Attachment | None], *, tty: bool) -> None:
        try:
            attachment = await asyncio.shield(starting)
        except WherryError as error:  # no such command ...: said in the stream; the exit code follows by ExecInspect
            text = f"{error}\r\n".encode()
            await connection.head_taken()
            await connection.write(*((text,) if tty else frame(1, text)))
            connection.close()
        except asyncio.CancelledError:  # the client left before the process was there
            if attachment := await starting:
                await attachment.close()
            raise
        else:
            assert attachment is not None
            await pump_connection(connection, attachment)

    async def resize(self, call: Call) -> StreamResponse:
        """ExecResize."""
        await self._execs.resize(call.id, *terminal_size(call))
        return empty(200)

    async def inspect(self, call: Call) -> StreamResponse:
        """ExecInspect."""
        return reply(self._execs.inspect(call.id))


def _size(given: list[int] | None) -> tuple[int, int] | None:
    if given is None:
        return None
    if len(given) != 2 or any(not 0 <= side <= 0xFFFF for side in given):
        raise InvalidInput(f"invalid console size {given}: it must be height and width")
    return given[0], given[1]
