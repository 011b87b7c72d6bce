"""System: ping, version, info, disk usage; and wherry's own shutdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from aiohttp.web_response import Response

from wherry.api.http import compat
from wherry.api.http.answers import COMMON_HEADERS, empty, reply
from wherry.api.http.routing import Route
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest
    from wherry.docker.system import DiskUsage, SystemInfo, SystemVersion

_CLASSIC_BUILDER: Final = "1"
_BUILDKIT: Final = "2"  #: clients that can speak to it prefer it then
_PING_HEADERS: Final = {
    **COMMON_HEADERS,
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Content-Type": "text/plain; charset=utf-8",
}


class System(Protocol):
    """What this file needs of the engine."""

    async def whole_info(self) -> SystemInfo:
        """Return what ``docker info`` shows."""

    def version(self) -> SystemVersion:
        """Return what ``docker version`` shows of the server."""

    async def disk_usage(self) -> DiskUsage:
        """Return what ``docker system df`` shows."""


class SystemRoutes:
    """The operations on the engine."""

    def __init__(
        self, system: System, shut_down: Callable[[bool], Awaitable[Sequence[str]]], *, buildkit: bool = False
    ) -> None:
        """Take the engine, and what asks the daemon to end (with every container, if told so).

        :param buildkit: whether clients shall build by BuildKit's API.
        """
        self._system = system
        self._shut_down = shut_down
        self._ping_headers = {**_PING_HEADERS, "Builder-Version": _BUILDKIT if buildkit else _CLASSIC_BUILDER}

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

    async def ping(self, request: ApiRequest) -> StreamResponse:
        """SystemPing."""
        return Response(body=b"OK" if request.http.method == "GET" else b"", headers=self._ping_headers)

    async def info(self, request: ApiRequest) -> StreamResponse:
        """SystemInfo."""
        return reply(compat.information(await self._system.whole_info(), request.version))

    async def version(self, _request: ApiRequest) -> StreamResponse:
        """SystemVersion."""
        return reply(self._system.version())

    async def disk_usage(self, request: ApiRequest) -> StreamResponse:
        """SystemDataUsage, of everything or of the types that were asked for."""
        types = request.texts("type") if request.version >= (1, 42) else []
        if unknown := [name for name in types if name not in compat.USAGE_TYPES]:
            raise InvalidInput(f"unknown object type: {unknown[0]}")
        usage = await self._system.disk_usage()
        return reply(compat.disk_usage(usage, request.version, types, verbose=request.flag("verbose")))

    async def shut_down(self, request: ApiRequest) -> StreamResponse:
        """End the daemon, with ``kill`` after every container and the keeper; an operation of wherry's own.

        The answer comes when what was asked for is done; then the daemon ends. It tells what had to be left.
        """
        left = await self._shut_down(request.flag("kill"))
        return reply({"Warnings": list(left)}) if left else empty()
