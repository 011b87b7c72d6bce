"""``GET /containers/{id}/logs``: what a container has written, and what it goes on writing."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from wherry.api.answers import open_stream
from wherry.api.hijack import content_type, frame
from wherry.api.routing import Route
from wherry.engine.streams import LogOptions
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.web import StreamResponse

    from wherry.api.call import Call, Json
    from wherry.engine.streams import LogChunk


class Logs(Protocol):
    """What this file needs of the engine's containers."""

    def inspect(self, ref: str, size: bool = False) -> Json:
        """Return everything about one container."""

    def logs(self, ref: str, options: LogOptions) -> AsyncGenerator[LogChunk, None]:
        """Yield the log in large chunks."""


class LogRoutes:
    """The log of a container."""

    def __init__(self, containers: Logs) -> None:
        self._containers = containers

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [Route("GET", "/containers/{id}/logs", self.logs, streaming=True)]

    async def logs(self, call: Call) -> StreamResponse:
        """ContainerLogs: frames, or raw where the container has a terminal."""
        options = _options(call)
        tty = bool(self._containers.inspect(call.id)["Config"]["Tty"])
        async with aclosing(self._containers.logs(call.id, options)) as chunks:
            first = await _begin(chunks, wait=not options.follow)
            response = await open_stream(call.request, content_type(tty=tty, version=call.version))
            chunk = await first
            while chunk is not None:
                await response.write(chunk.data if tty else b"".join(frame(chunk.stream, chunk.data)))
                chunk = await anext(chunks, None)
        return response


async def _begin(chunks: AsyncGenerator[LogChunk, None], *, wait: bool) -> asyncio.Future[LogChunk | None]:
    """Begin to read, so that an error shows while there can still be a status code.

    :param wait: whether the first chunk has to be there; a follower's may come in an hour.
    """
    first: asyncio.Future[LogChunk | None] = asyncio.ensure_future(anext(chunks, None))
    await asyncio.wait({first}, timeout=None if wait else 0)
    if first.done():
        first.result()
    return first


def _options(call: Call) -> LogOptions:
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not (stdout or stderr):
        raise InvalidInput("Bad parameters: you must choose at least one stream")
    return LogOptions(
        stdout=stdout,
        stderr=stderr,
        since=call.moment("since"),
        until=call.moment("until"),
        tail=_tail(call.text("tail")),
        timestamps=call.flag("timestamps"),
        details=call.flag("details"),
        follow=call.flag("follow"),
    )


def _tail(text: str) -> int | None:
    """Return a number of lines, or None for all of them: as in dockerd, what is not a number means all."""
    return int(text) if re.fullmatch(r"\d+", text) else None
