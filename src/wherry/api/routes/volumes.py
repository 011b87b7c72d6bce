"""Volumes do not exist yet; clients list them in many places, so the list is empty and no error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.api.http.answers import reply
from wherry.api.http.routing import Route
from wherry.errors import NotFound, Unsupported

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest


class VolumeRoutes:
    """The operations on volumes."""

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/volumes", self.list),
            Route("POST", "/volumes/create", self.refuse),
            Route("POST", "/volumes/prune", self.prune),
            Route("GET", "/volumes/{id}", self.missing),
            Route("DELETE", "/volumes/{id}", self.missing),
        ]

    async def list(self, request: ApiRequest) -> StreamResponse:
        """VolumeList."""
        request.filters(("dangling", "driver", "label", "name"))
        return reply({"Volumes": [], "Warnings": None})

    async def prune(self, request: ApiRequest) -> StreamResponse:
        """VolumePrune."""
        request.filters(("all", "label", "label!"))
        return reply({"VolumesDeleted": [], "SpaceReclaimed": 0})

    async def missing(self, request: ApiRequest) -> StreamResponse:
        """VolumeInspect, VolumeDelete."""
        raise NotFound(f"get {request.id}: no such volume")

    async def refuse(self, _request: ApiRequest) -> StreamResponse:
        """VolumeCreate."""
        raise Unsupported("this version of wherry has no volumes", hint="mount a directory of the host instead")
