"""``GET /containers/{id}/stats``: what a container uses, once or every second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from wherry.api.answers import encode, open_stream, reply
from wherry.api.routing import Route

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.call import Call, Json

INTERVAL: Final = 1.0  #: seconds between two samples, dockerd's as well


class Statistics(Protocol):
    """What this file needs of the engine's containers."""

    async def stats(self, ref: str) -> Json:
        """Take one sample."""


class StatsRoutes:
    """What a container uses."""

    def __init__(self, containers: Statistics) -> None:
        self._containers = containers

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [Route("GET", "/containers/{id}/stats", self.stats, streaming=True)]

    async def stats(self, call: Call) -> StreamResponse:
        """ContainerStats. CPU shares need two samples: a single answer waits for the second, or is ``one-shot``."""
        first = await self._containers.stats(call.id)
        if call.flag("stream", default=True):
            return await self._stream(call, first)
        if call.flag("one-shot"):
            return reply(first)
        await asyncio.sleep(INTERVAL)
        return reply(follow(await self._containers.stats(call.id), first))

    async def _stream(self, call: Call, sample: Json) -> StreamResponse:
        response = await open_stream(call.request, "application/json")
        while True:
            await response.write(encode(sample))
            await asyncio.sleep(INTERVAL)
            sample = follow(await self._containers.stats(call.id), sample)


def follow(sample: Json, previous: Json) -> Json:
    """Return a sample that also carries the CPU figures of the one before it."""
    return {**sample, "preread": previous["read"], "precpu_stats": previous["cpu_stats"]}
