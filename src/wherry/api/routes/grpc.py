"""BuildKit's gRPC by HTTP's upgrade: ``POST /grpc`` and ``POST /session``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wherry.api.http.hijack import HijackedResponse, upgrade
from wherry.api.http.routing import Route
from wherry.errors import InvalidInput, encodable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest

_PROTOCOL = "h2c"


class Connection(Protocol):
    """A connection that is served."""

    async def wait_closed(self) -> None:
        """Return when it has ended, and so has everything on it."""

    def abort(self) -> None:
        """End it at once."""


class Doors(Protocol):
    """What serves BuildKit's gRPC."""

    def open(self, transport: asyncio.Transport, early: bytes, lost: Callable[[Exception | None], None]) -> Connection:
        """Serve a connection."""

    async def session(
        self,
        transport: asyncio.Transport,
        early: bytes,
        headers: Mapping[str, Sequence[str]],
        lost: Callable[[Exception | None], None],
    ) -> None:
        """Use a connection as a client's session."""


class GrpcRoutes:
    """The two doors."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("POST", "/grpc", self.grpc, streaming=True),
            Route("POST", "/session", self.session, streaming=True),
        ]

    async def grpc(self, request: ApiRequest) -> StreamResponse:
        """Serve the connection's gRPC."""
        _check(request)
        transport, early = upgrade(request.http, _PROTOCOL)
        connection = self._doors.open(transport, early, request.http.protocol.connection_lost)
        try:
            await connection.wait_closed()
        finally:
            connection.abort()
        return HijackedResponse()

    async def session(self, request: ApiRequest) -> StreamResponse:
        """Take the connection as a client's session."""
        _check(request)
        given = request.http.headers  # aiohttp has bytes that are no UTF-8 in it as halves of surrogate pairs
        headers = {name.lower(): [encodable(value) for value in given.getall(name)] for name in set(given)}
        if not headers.get("x-docker-expose-session-uuid", [""])[0]:
            raise InvalidInput("no session ID in the request")
        transport, early = upgrade(request.http, _PROTOCOL)
        await self._doors.session(transport, early, headers, request.http.protocol.connection_lost)
        return HijackedResponse()


def _check(request: ApiRequest) -> None:
    asked = request.http.headers.get("Upgrade", "")
    if not asked:
        raise InvalidInput("no upgrade proto in request")
    if asked.lower() != _PROTOCOL:
        raise InvalidInput(f"protocol {asked[:100]} not supported")
