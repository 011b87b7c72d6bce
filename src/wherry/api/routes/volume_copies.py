"""Wherry's own operations on volumes: snapshots, clones, archives, artifacts at registries, who uses what."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Protocol

from wherry.api.http.answers import empty, reply, stream_tar
from wherry.api.http.bodies import finished
from wherry.api.http.progress import stream
from wherry.api.http.routing import Route
from wherry.api.http.socket_body import body_of
from wherry.api.routes.distribution import auth_of
from wherry.docker.volume_copies import SnapshotRequest, SnapshotView, VolumeDisk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest
    from wherry.docker.progress import ProgressMessage
    from wherry.docker.volumes import VolumeView
    from wherry.layers.source import Reader

_BLOCK: Final = 1 << 20


class VolumeCopies(Protocol):
    """What this file needs of the engine."""

    async def snapshot(self, name: str, request: SnapshotRequest) -> SnapshotView:
        """Make a snapshot of a volume."""

    async def snapshots(self, volume: str = "") -> Sequence[SnapshotView]:
        """All snapshots, or those of one volume."""

    async def remove_snapshot(self, name: str) -> None:
        """Remove one."""

    async def restore(self, name: str) -> None:
        """Make a volume what it was at a snapshot."""

    async def clone(self, name: str, request: SnapshotRequest) -> VolumeView:
        """Make a new volume of another one, or of a snapshot."""

    def export(self, name: str) -> AsyncGenerator[bytes, None]:
        """Yield a volume's, or a snapshot's, files as a tar."""

    async def import_(self, stream: Reader, request: SnapshotRequest) -> VolumeView:
        """Make a new volume of a tar."""

    async def disk(self) -> Sequence[VolumeDisk]:
        """All volumes, and what they take up for whom."""


class VolumeArtifacts(Protocol):
    """The same, about registries; ``auth`` is the header ``X-Registry-Auth`` as it came."""

    def push(self, name: str, reference: str, auth: str) -> AsyncGenerator[ProgressMessage, None]:
        """Push a volume's, or a snapshot's, files and yield what happens."""

    def pull(self, reference: str, request: SnapshotRequest, auth: str) -> AsyncGenerator[ProgressMessage, None]:
        """Make a new volume of what was pushed and yield what happens."""


class VolumeCopyRoutes:
    """The operations that Docker does not have."""

    def __init__(self, copies: VolumeCopies, artifacts: VolumeArtifacts) -> None:
        self._copies = copies
        self._artifacts = artifacts

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/wherry/volumes/usage", self.usage),
            Route("POST", "/wherry/volumes/import", self.import_),
            Route("POST", "/wherry/volumes/pull", self.pull, streaming=True),
            Route("GET", "/wherry/volumes/snapshots", self.list),
            Route("DELETE", "/wherry/volumes/snapshots/{id}", self.remove),
            Route("POST", "/wherry/volumes/{id}/snapshot", self.snapshot),
            Route("POST", "/wherry/volumes/{id}/restore", self.restore),
            Route("POST", "/wherry/volumes/{id}/clone", self.clone),
            Route("GET", "/wherry/volumes/{id}/archive", self.export, streaming=True),
            Route("POST", "/wherry/volumes/{id}/push", self.push, streaming=True),
        ]

    async def usage(self, _request: ApiRequest) -> StreamResponse:
        """VolumeUsage."""
        return reply(await self._copies.disk())

    async def list(self, request: ApiRequest) -> StreamResponse:
        """VolumeSnapshots."""
        return reply(await self._copies.snapshots(request.text("volume")))

    async def snapshot(self, request: ApiRequest) -> StreamResponse:
        """VolumeSnapshot."""
        body = await request.json(SnapshotRequest, empty=SnapshotRequest())
        return reply(await self._copies.snapshot(request.id, body), status=201)

    async def remove(self, request: ApiRequest) -> StreamResponse:
        """VolumeSnapshotDelete."""
        await self._copies.remove_snapshot(request.id)
        return empty()

    async def restore(self, request: ApiRequest) -> StreamResponse:
        """VolumeRestore; the ID is a snapshot's."""
        await self._copies.restore(request.id)
        return empty()

    async def clone(self, request: ApiRequest) -> StreamResponse:
        """VolumeClone; the ID is a volume's or a snapshot's."""
        return reply(await self._copies.clone(request.id, await request.json(SnapshotRequest)), status=201)

    async def export(self, request: ApiRequest) -> StreamResponse:
        """VolumeExport."""
        return await stream_tar(request.http, self._copies.export(request.id))

    async def import_(self, request: ApiRequest) -> StreamResponse:
        """VolumeImport: the new volume's name is ``name``, its labels are ``label``, as ``key=value``."""
        body = io.BufferedReader(body_of(request.http), buffer_size=_BLOCK)
        return reply(await finished(self._copies.import_(body, _wanted(request))), status=201)

    async def push(self, request: ApiRequest) -> StreamResponse:
        """VolumePush, to ``reference``; the ID is a volume's or a snapshot's."""
        return await stream(request, self._artifacts.push(request.id, request.text("reference"), auth_of(request)))

    async def pull(self, request: ApiRequest) -> StreamResponse:
        """VolumePull, of ``reference``; the new volume's ``name`` and ``label`` as with VolumeImport."""
        wanted = _wanted(request)
        return await stream(request, self._artifacts.pull(request.text("reference"), wanted, auth_of(request)))


def _wanted(request: ApiRequest) -> SnapshotRequest:
    """The volume to be made."""
    labels = dict(one.partition("=")[::2] for one in request.texts("label"))
    return SnapshotRequest(name=request.text("name"), labels=labels)
