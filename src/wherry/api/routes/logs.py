"""``GET /containers/{id}/logs``: a container's log, and with ``follow`` its further output."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Protocol

from wherry.api.http.answers import open_stream
from wherry.api.http.hijack import content_type, error_frame
from wherry.api.http.lineframes import frames_for
from wherry.api.http.routing import Route
from wherry.docker.streams import LogOptions
from wherry.errors import InvalidInput
from wherry.keeper.log_reader import Overtaken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.web import StreamResponse

    from wherry.api.http.lineframes import Frames
    from wherry.api.http.request import ApiRequest
    from wherry.docker.container_answers import ContainerInspect
    from wherry.docker.streams import LogChunk

    Upcoming = asyncio.Future[LogChunk | None]  # the next piece of a log

_SOON: Final = 0.05  #: seconds in which the end of a line comes that was cut by how the log is read
_NUMBER: Final = re.compile(r"\+?[0-9]{1,18}")  #: no log has more lines
_ROTATED: Final = {"Warning": '299 - "older output was dropped by the rotation of the log"'}


class Logs(Protocol):
    """What this file needs of the engine's containers."""

    def inspect(self, ref: str) -> ContainerInspect:
        """Return everything about one container."""

    def logs(self, ref: str, options: LogOptions) -> AsyncGenerator[LogChunk, None]:
        """Yield the log in large chunks."""

    async def lacks_older_logs(self, ref: str, options: LogOptions) -> bool:
        """Return whether some of what is asked for was dropped by rotation."""


class LogRoutes:
    """The log of a container."""

    def __init__(self, containers: Logs) -> None:
        self._containers = containers

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [Route("GET", "/containers/{id:path}/logs", self.logs, streaming=True)]

    async def logs(self, request: ApiRequest) -> StreamResponse:
        """ContainerLogs: frames, or raw where the container has a terminal."""
        options = _options(request)
        tty = self._containers.inspect(request.id).config.tty
        async with aclosing(self._containers.logs(request.id, options)) as chunks:
            first: Upcoming = asyncio.ensure_future(anext(chunks, None))
            try:
                return await self._answer(request, options, first, chunks, tty=tty)
            finally:
                await _stop(first)

    async def _answer(
        self,
        request: ApiRequest,
        options: LogOptions,
        first: Upcoming,
        chunks: AsyncGenerator[LogChunk, None],
        *,
        tty: bool,
    ) -> StreamResponse:
        await _begin(first, wait=not options.follow)
        headers = _ROTATED if await self._containers.lacks_older_logs(request.id, options) else {}
        response = await open_stream(request.http, content_type(tty=tty, version=request.version), headers)
        try:
            if tty:
                await _send_raw(response, first, chunks)
            else:
                frames = frames_for(request.http.headers.get("User-Agent", ""))
                await _send_frames(response, frames, first, chunks)
        except Overtaken as error:
            if tty:  # that it breaks off is all that can be told in such a stream
                raise ConnectionAbortedError(str(error)) from error
            await response.write(b"".join(error_frame(error)))
        return response


async def _send_raw(response: StreamResponse, first: Upcoming, chunks: AsyncGenerator[LogChunk, None]) -> None:
    """Send a terminal's output as it is."""
    chunk = await first
    while chunk is not None:
        await response.write(chunk.data)
        chunk = await anext(chunks, None)


async def _send_frames(
    response: StreamResponse,
    frames: Frames,
    first: Upcoming,
    chunks: AsyncGenerator[LogChunk, None],
) -> None:
    """Send frames; the beginning of a line that nothing follows soon is sent as it is."""
    upcoming = first
    try:
        while (chunk := await upcoming) is not None:
            await response.write(frames.feed(chunk.stream, chunk.data))
            upcoming = asyncio.ensure_future(anext(chunks, None))
            if frames.has_begun and not (await asyncio.wait({upcoming}, timeout=_SOON))[0]:
                await response.write(frames.rest())
    except Overtaken:
        await response.write(frames.rest())  # what stands before the gap
        raise
    finally:
        await _stop(upcoming)
    await response.write(frames.rest())


async def _stop(upcoming: Upcoming) -> None:
    """Wait for no more of a log: its generator cannot be closed while it is at work."""
    if not upcoming.done():
        upcoming.cancel()
        await asyncio.wait({upcoming})
    if not upcoming.cancelled():
        upcoming.exception()  # nobody is left to be told


async def _begin(first: Upcoming, *, wait: bool) -> None:
    """Begin to read, so that an error shows while there can still be a status code.

    :param wait: whether the first chunk has to be there; a follower's may come in an hour.
    """
    await asyncio.wait({first}, timeout=None if wait else 0)
    if first.done():
        first.result()


def _options(request: ApiRequest) -> LogOptions:
    stdout, stderr = request.flag("stdout"), request.flag("stderr")
    if not (stdout or stderr):
        raise InvalidInput("Bad parameters: you must choose at least one stream")
    return LogOptions(
        stdout=stdout,
        stderr=stderr,
        since=request.moment("since"),
        until=request.moment("until") or None,  # as in dockerd, 0 is no end
        tail=_tail(request.text("tail")),
        timestamps=request.flag("timestamps"),
        details=request.flag("details"),
        follow=request.flag("follow"),
    )


def _tail(text: str) -> int | None:
    """Return a number of lines, or None for all of them: as in dockerd, what is not a number means all."""
    return int(text) if _NUMBER.fullmatch(text) else None
