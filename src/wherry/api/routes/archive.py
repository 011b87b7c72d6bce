"""Files of containers: look, take out, put in; what ``docker cp`` uses."""

from __future__ import annotations

import base64
import json
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, Protocol

from wherry.api.buildkit.gomode import to_go
from wherry.api.http.answers import empty, stream_tar
from wherry.api.http.bodies import ThreadBody
from wherry.api.http.routing import Route
from wherry.api.http.socket_body import body_of
from wherry.docker.times import rfc3339
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest

_STATUS: Final = "X-Docker-Container-Path-Stat"


class PathStatus(Protocol):
    """What is at a path; the mode is stat(2)'s, the time in nanoseconds."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def modified(self) -> int: ...
    @property
    def link_target(self) -> str: ...


class Archives(Protocol):
    """What this file needs of the engine. A `ref` is a name, an ID, or the beginning of one."""

    async def look(self, ref: str, path: str) -> PathStatus:
        """Return what is at a path."""

    def taking(
        self, ref: str, path: str
    ) -> AbstractAsyncContextManager[tuple[PathStatus, AsyncGenerator[bytes, None]]]:
        """Return what is at a path, and its archive."""

    async def put(self, ref: str, path: str, body: ThreadBody, *, copy_owner: bool, keep_kinds: bool) -> None:
        """Unpack an archive into a directory."""


class ArchiveRoutes:
    """The three operations on ``/containers/{id}/archive``."""

    def __init__(self, archives: Archives) -> None:
        self._archives = archives

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("HEAD", "/containers/{id:path}/archive", self.look),
            Route("GET", "/containers/{id:path}/archive", self.take, streaming=True),
            Route("PUT", "/containers/{id:path}/archive", self.put),
        ]

    async def look(self, request: ApiRequest) -> StreamResponse:
        """ContainerArchiveInfo."""
        answer = empty(200)
        answer.headers[_STATUS] = _header(await self._archives.look(request.id, _path(request)))
        return answer

    async def take(self, request: ApiRequest) -> StreamResponse:
        """ContainerArchive: a tar of what is at a path."""
        async with self._archives.taking(request.id, _path(request)) as (status, pieces):
            return await stream_tar(request.http, pieces, {_STATUS: _header(status)})

    async def put(self, request: ApiRequest) -> StreamResponse:
        """PutContainerArchive: a tar is unpacked into a directory."""
        await self._archives.put(
            request.id,
            _path(request),
            body_of(request.http),
            copy_owner=request.flag("copyUIDGID"),
            keep_kinds=request.flag("noOverwriteDirNonDir"),
        )
        return empty(200)


def _path(request: ApiRequest) -> str:
    """The path in the container; dockerd's words where there is none."""
    path = request.text("path")
    if not path:
        raise InvalidInput("bad parameter: 'path' cannot be empty")
    return path


def _header(status: PathStatus) -> str:
    """A status as the header has it: JSON in base64."""
    found = {
        "name": status.name, "size": status.size, "mode": to_go(status.mode), "mtime": rfc3339(status.modified),
        "linkTarget": status.link_target,
    }  # fmt: skip
    return base64.b64encode(json.dumps(found).encode()).decode()
