"""Commit: make an image of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from wherry.api.http.answers import reply
from wherry.api.http.routing import Route
from wherry.docker.container_requests import ContainerConfig
from wherry.engine.images.commit import CommitRequest
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest

__all__ = ["CommitRoutes"]


class Commits(Protocol):
    """What this file needs of the engine."""

    async def commit(self, request: CommitRequest) -> str:
        """Make an image of a container and return its ID."""


class CommitRoutes:
    """The operation that makes an image of a container."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits

    def routes(self) -> list[Route]:
        """Return the operation."""
        return [Route("POST", "/commit", self.commit)]

    async def commit(self, request: ApiRequest) -> StreamResponse:
        """ImageCommit."""
        if not request.text("container"):
            raise InvalidInput("no container was named: the parameter 'container' is missing")
        kind: Any = ContainerConfig | None  # clients that have nothing to add send "null"
        config: ContainerConfig | None = await request.json(kind, empty=ContainerConfig())
        tag = request.text("tag")
        identifier = await self._commits.commit(
            CommitRequest(
                container=request.text("container"),
                name=request.text("repo") + (f":{tag}" if tag and request.text("repo") else ""),
                author=request.text("author"),
                comment=request.text("comment"),
                pause=request.flag("pause", default=True),
                changes=request.texts("changes"),
                config=config,
            )
        )
        return reply({"Id": identifier}, status=201)
