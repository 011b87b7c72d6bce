"""Volumes: create, list, inspect, remove, prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wherry.api.http.answers import empty, reply
from wherry.api.http.routing import Route
from wherry.docker.volumes import VolumeCreate

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.http.query import Filters
    from wherry.api.http.request import ApiRequest
    from wherry.docker.volumes import VolumeList, VolumesPruned, VolumeView


class Volumes(Protocol):
    """What this file needs of the engine."""

    async def create(self, body: VolumeCreate) -> VolumeView:
        """Make a volume, or find the one of this name."""

    async def list(self, filters: Filters) -> VolumeList:
        """Return volumes."""

    async def inspect(self, name: str) -> VolumeView:
        """Return everything about one."""

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove it."""

    async def prune(self, filters: Filters) -> VolumesPruned:
        """Remove unused volumes."""

    async def update(self, name: str) -> None:
        """Change a volume of a swarm."""


class VolumeRoutes:
    """The operations on volumes."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/volumes", self.list),
            Route("POST", "/volumes/create", self.create),
            Route("POST", "/volumes/prune", self.prune),
            Route("GET", "/volumes/{id}", self.inspect),
            Route("PUT", "/volumes/{id}", self.update),
            Route("DELETE", "/volumes/{id}", self.remove),
        ]

    async def list(self, request: ApiRequest) -> StreamResponse:
        """VolumeList."""
        return reply(await self._volumes.list(request.filters()))

    async def create(self, request: ApiRequest) -> StreamResponse:
        """VolumeCreate."""
        return reply(await self._volumes.create(await request.json(VolumeCreate)), status=201)

    async def inspect(self, request: ApiRequest) -> StreamResponse:
        """VolumeInspect."""
        return reply(await self._volumes.inspect(request.id))

    async def update(self, request: ApiRequest) -> StreamResponse:
        """VolumeUpdate."""
        await self._volumes.update(request.id)
        return empty(200)

    async def remove(self, request: ApiRequest) -> StreamResponse:
        """VolumeDelete."""
        await self._volumes.remove(request.id, force=request.flag("force"))
        return empty()

    async def prune(self, request: ApiRequest) -> StreamResponse:
        """VolumePrune; before API 1.42 of all volumes, since then of those that nobody has named."""
        filters = dict(request.filters())
        if request.version < (1, 42):
            filters["all"] = ["true"]
        return reply(await self._volumes.prune(filters))
