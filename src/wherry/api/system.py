"""The engine itself: is it there, what is it, what does it use; and wherry's own way to end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from aiohttp.web import Response

from wherry.api.answers import COMMON_HEADERS, empty, reply
from wherry.api.routing import Route
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.call import Call, Json

#: Version 1 is the classic builder, 2 is BuildKit, which clients would look for behind this socket in vain.
_PING_HEADERS: Final = {
    **COMMON_HEADERS,
    "Builder-Version": "1",
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Content-Type": "text/plain; charset=utf-8",
}
#: The members of the disk usage that each ``type`` asks for.
_USAGE: Final = {
    "container": ("Containers", "ContainersDiskUsage", "ContainerUsage"),
    "image": ("Images", "LayersSize", "ImagesDiskUsage", "ImageUsage"),
    "volume": ("Volumes", "VolumesDiskUsage", "VolumeUsage"),
    "build-cache": ("BuildCache", "BuildCacheDiskUsage", "BuildCacheUsage"),
}


class System(Protocol):
    """What this file needs of the engine."""

    def info(self) -> Json:
        """Return what ``docker info`` shows."""

    def version(self) -> Json:
        """Return what ``docker version`` shows of the server."""

    async def disk_usage(self) -> Json:
        """Return what ``docker system df`` shows."""


class SystemRoutes:
    """The operations on the engine."""

    def __init__(self, system: System, shut_down: Callable[[bool], Awaitable[Sequence[str]]]) -> None:
        """Take the engine, and what asks the daemon to end (with every container, if told so)."""
        self._system = system
        self._shut_down = shut_down

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/_ping", self.ping),
            Route("HEAD", "/_ping", self.ping),
            Route("GET", "/info", self.info),
            Route("GET", "/version", self.version),
            Route("GET", "/system/df", self.disk_usage),
            Route("POST", "/wherry/shutdown", self.shut_down),
        ]

    async def ping(self, call: Call) -> StreamResponse:
        """SystemPing."""
        return Response(body=b"OK" if call.request.method == "GET" else b"", headers=_PING_HEADERS)

    async def info(self, _call: Call) -> StreamResponse:
        """SystemInfo."""
        return reply(self._system.info())

    async def version(self, _call: Call) -> StreamResponse:
        """SystemVersion."""
        return reply(self._system.version())

    async def disk_usage(self, call: Call) -> StreamResponse:
        """SystemDataUsage, of everything or of the types that were asked for."""
        types = call.texts("type")
        if unknown := [name for name in types if name not in _USAGE]:
            raise InvalidInput(f"unknown object type: {unknown[0]}")
        usage = await self._system.disk_usage()
        if types:
            wanted = {member for name in types for member in _USAGE[name]}
            usage = {member: value for member, value in usage.items() if member in wanted}
        return reply(usage)

    async def shut_down(self, call: Call) -> StreamResponse:
        """End the daemon, with ``kill`` after every container and the keeper; an operation of wherry's own.

        The answer comes when what was asked for is done; then the daemon ends. It tells what had to be left.
        """
        left = await self._shut_down(call.flag("kill"))
        return reply({"Warnings": list(left)}) if left else empty()
