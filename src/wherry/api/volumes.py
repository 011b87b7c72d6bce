"""Volumes, as far as they exist: not at all. Clients list them at the oddest moments, so the list is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.api.answers import reply
from wherry.api.routing import Route
from wherry.errors import NotFound, Unsupported

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.call import Call


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

    async def list(self, call: Call) -> StreamResponse:
        """VolumeList."""
        call.filters()
        return reply({"Volumes": [], "Warnings": None})

    async def prune(self, _call: Call) -> StreamResponse:
        """VolumePrune."""
        return reply({"VolumesDeleted": [], "SpaceReclaimed": 0})

    async def missing(self, call: Call) -> StreamResponse:
        """VolumeInspect, VolumeDelete."""
        raise NotFound(f"get {call.id}: no such volume")

    async def refuse(self, _call: Call) -> StreamResponse:
        """VolumeCreate."""
        raise Unsupported("this version of wherry has no volumes", hint="mount a directory of the host instead")
