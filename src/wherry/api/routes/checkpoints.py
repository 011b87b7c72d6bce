"""Checkpoints of containers: create, list, delete. A start from one is with the containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wherry.api.http.answers import empty, reply
from wherry.api.http.progress import stream
from wherry.api.http.routing import Route
from wherry.api.routes.distribution import auth_of
from wherry.docker.checkpoints import CheckpointRequest, CheckpointSummary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest
    from wherry.docker.progress import ProgressMessage


class Checkpoints(Protocol):
    """What this file needs of the engine; ``directory`` is another one than the container's own, or empty."""

    async def create(self, ref: str, name: str, directory: str, *, ends: bool) -> None:
        """Write a container into a checkpoint."""

    async def list(self, ref: str, directory: str) -> Sequence[str]:
        """Return the names of its checkpoints."""

    async def remove(self, ref: str, name: str, directory: str) -> None:
        """Remove one."""


class CheckpointArtifacts(Protocol):
    """The same, about registries; ``auth`` is the header ``X-Registry-Auth`` as it came."""

    def push(
        self, ref: str, name: str, directory: str, reference: str, auth: str
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Push a checkpoint and yield what happens."""

    def pull(
        self, ref: str, name: str, directory: str, reference: str, auth: str
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Make a checkpoint of what was pushed and yield what happens."""


class CheckpointRoutes:
    """The operations on checkpoints; those with registries Docker does not have."""

    def __init__(self, checkpoints: Checkpoints, artifacts: CheckpointArtifacts) -> None:
        self._checkpoints = checkpoints
        self._artifacts = artifacts

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/containers/{id:path}/checkpoints", self.list),
            Route("POST", "/containers/{id:path}/checkpoints", self.create),
            Route("DELETE", "/containers/{id:path}/checkpoints/{checkpoint}", self.remove),
            Route("POST", "/wherry/containers/{id}/checkpoints/{checkpoint}/push", self.push, streaming=True),
            Route("POST", "/wherry/containers/{id}/checkpoints/{checkpoint}/pull", self.pull, streaming=True),
        ]

    async def list(self, request: ApiRequest) -> StreamResponse:
        """CheckpointList."""
        names = await self._checkpoints.list(request.id, request.text("dir"))
        return reply([CheckpointSummary(name=name) for name in names])

    async def create(self, request: ApiRequest) -> StreamResponse:
        """CheckpointCreate."""
        wanted = await request.json(CheckpointRequest)
        await self._checkpoints.create(request.id, wanted.checkpoint_id, wanted.checkpoint_dir, ends=wanted.exit)
        return empty(201)

    async def remove(self, request: ApiRequest) -> StreamResponse:
        """CheckpointDelete."""
        await self._checkpoints.remove(request.id, request.path["checkpoint"], request.text("dir"))
        return empty()

    async def push(self, request: ApiRequest) -> StreamResponse:
        """CheckpointPush, to ``reference``."""
        return await stream(request, self._artifacts.push(*_moved(request)))

    async def pull(self, request: ApiRequest) -> StreamResponse:
        """CheckpointPull, of ``reference``."""
        return await stream(request, self._artifacts.pull(*_moved(request)))


def _moved(request: ApiRequest) -> tuple[str, str, str, str, str]:
    name, directory = request.path["checkpoint"], request.text("dir")
    return request.id, name, directory, request.text("reference"), auth_of(request)
