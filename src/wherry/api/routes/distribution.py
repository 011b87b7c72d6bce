"""Registries: pull, push, search and login."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Protocol

from wherry.api.http.answers import reply
from wherry.api.http.progress import stream
from wherry.api.http.routing import Route
from wherry.docker.registry_answers import NewIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.http.query import Filters
    from wherry.api.http.request import ApiRequest
    from wherry.docker.progress import ProgressMessage
    from wherry.docker.registry_answers import (
        AuthStatus,
        DistributionInspect,
        ListedImage,
        RemoteDocuments,
        SearchHit,
    )
    from wherry.oci.manifest import Descriptor


class Distribution(Protocol):
    """What this file needs of the engine; ``auth`` is the header ``X-Registry-Auth`` as it came."""

    def pull(self, name: str, tag: str, platform: str, auth: str) -> AsyncGenerator[ProgressMessage, None]:
        """Pull an image and yield what happens."""

    def push(self, name: str, tag: str, platform: str, auth: str) -> AsyncGenerator[ProgressMessage, None]:
        """Push an image and yield what happens."""

    async def login(self, body: object) -> AuthStatus:
        """Try credentials."""

    async def describe(self, name: str, auth: str) -> DistributionInspect:
        """Return what a registry has under a name."""

    async def manifest(self, name: str, platform: str, auth: str, *, referrers: bool) -> RemoteDocuments:
        """Return manifests and configuration of an image that is not here."""

    async def push_list(self, name: str, auth: str, images: Sequence[ListedImage]) -> Descriptor:
        """Make an index of images that a registry has."""

    async def search(self, term: str, limit: int, filters: Filters, auth: str) -> Sequence[SearchHit]:
        """Return what matches."""


class DistributionRoutes:
    """The operations that ask a registry."""

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("POST", "/auth", self.login),
            Route("GET", "/images/search", self.search),
            Route("POST", "/images/{name:path}/push", self.push, streaming=True),
            Route("GET", "/distribution/{name:path}/json", self.describe),
            Route("GET", "/distribution/{name:path}/manifest", self.manifest),
            Route("POST", "/distribution/{name:path}/manifest", self.push_list),
        ]

    async def login(self, request: ApiRequest) -> StreamResponse:
        """SystemAuth."""
        return reply(await self._distribution.login(await request.json(dict[str, Any])))

    async def search(self, request: ApiRequest) -> StreamResponse:
        """ImageSearch."""
        limit = request.integer("limit")
        return reply(await self._distribution.search(request.text("term"), limit, request.filters(), auth_of(request)))

    async def describe(self, request: ApiRequest) -> StreamResponse:
        """DistributionInspect."""
        return reply(await self._distribution.describe(request.path["name"], auth_of(request)))

    async def manifest(self, request: ApiRequest) -> StreamResponse:
        """What a registry has under a name: manifests, configuration, referrers; no operation of Docker's."""
        platform, referrers = request.platform(), request.flag("referrers")
        name = request.path["name"]
        return reply(await self._distribution.manifest(name, platform, auth_of(request), referrers=referrers))

    async def push_list(self, request: ApiRequest) -> StreamResponse:
        """Make an index of images that a registry has; no operation of Docker's."""
        wanted = await request.json(NewIndex)
        return reply(await self._distribution.push_list(request.path["name"], auth_of(request), wanted.manifests))

    async def push(self, request: ApiRequest) -> StreamResponse:
        """ImagePush."""
        name, tag = request.path["name"], request.text("tag")
        return await stream(request, self._distribution.push(name, tag, request.platform(), auth_of(request)))


def pull_of(request: ApiRequest, distribution: Distribution) -> AsyncGenerator[ProgressMessage, None]:
    """The part of ImageCreate that pulls: ``fromImage``, ``tag`` (or a digest), ``platform``."""
    return distribution.pull(request.text("fromImage"), request.text("tag"), request.platform(), auth_of(request))


def auth_of(request: ApiRequest) -> str:
    """The header with credentials for registries, as it came."""
    return request.http.headers.get("X-Registry-Auth", "")
