"""``GET /containers/{id}/stats``: resource usage, once or every second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import structs

from wherry.api.http.answers import encode, open_stream, reply
from wherry.api.http.routing import Route

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest
    from wherry.docker.stats import ContainerStats

INTERVAL: Final = 1.0  #: seconds between two samples, dockerd's as well


class Statistics(Protocol):
    """What this file needs of the engine's containers."""

    async def stats(self, ref: str) -> ContainerStats:
        """Take one sample."""


class StatsRoutes:
    """What a container uses."""

    def __init__(self, containers: Statistics) -> None:
        self._containers = containers

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [Route("GET", "/containers/{id:path}/stats", self.stats, streaming=True)]

    async def stats(self, request: ApiRequest) -> StreamResponse:
        """ContainerStats. CPU shares need two samples: a single answer waits for the second, or is ``one-shot``."""
        first = await self._containers.stats(request.id)
        if request.flag("stream", default=True):
            return await self._stream(request, first)
        if request.flag("one-shot"):
            return reply(first)
        await asyncio.sleep(INTERVAL)
        return reply(follow(await self._containers.stats(request.id), first))

    async def _stream(self, request: ApiRequest, sample: ContainerStats) -> StreamResponse:
        response = await open_stream(request.http, "application/json")
        while True:
            await response.write(encode(sample))
            await asyncio.sleep(INTERVAL)
            sample = follow(await self._containers.stats(request.id), sample)


def follow(sample: ContainerStats, previous: ContainerStats) -> ContainerStats:
    """Return a sample that also carries the CPU figures of the one before it."""
    return structs.replace(sample, preread=previous.read, precpu_stats=previous.cpu_stats)
