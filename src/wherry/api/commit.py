"""Making an image of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from wherry.api.answers import reply
from wherry.api.routing import Route
from wherry.engine.commit import CommitRequest
from wherry.engine.config import ContainerConfig
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.call import Call

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

    async def commit(self, call: Call) -> StreamResponse:
        """ImageCommit."""
        if not call.text("container"):
            raise InvalidInput("no container was named: the parameter 'container' is missing")
        kind: Any = ContainerConfig | None  # clients that have nothing to add send "null"
        config: ContainerConfig | None = await call.json(kind, empty=ContainerConfig())
        tag = call.text("tag")
        identifier = await self._commits.commit(
            CommitRequest(
                container=call.text("container"),
                name=call.text("repo") + (f":{tag}" if tag and call.text("repo") else ""),
                author=call.text("author"),
                comment=call.text("comment"),
                pause=call.flag("pause", default=True),
                changes=call.texts("changes"),
                config=config,
            )
        )
        return reply({"Id": identifier}, status=201)
