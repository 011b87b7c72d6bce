"""Networks: create, list, connect, disconnect, remove; and wherry's own trace and audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, to_builtins

from wherry.api.http import compat
from wherry.api.http.answers import empty, reply
from wherry.api.http.older import adapt_connect
from wherry.api.http.routing import Route
from wherry.docker.networks import EndpointSettings, NetworkCreate
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.http.query import Filters
    from wherry.api.http.request import ApiRequest
    from wherry.docker.networks import NetworkInspect, NetworkPruneReport


class Connection(Struct, rename="pascal"):
    """The body of NetworkConnect and NetworkDisconnect."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None
    force: bool = False


class Networks(Protocol):
    """What this file needs of the engine. A `ref` is a name, an ID, or the beginning of one."""

    async def create(self, body: NetworkCreate) -> tuple[str, str]:
        """Make a network; return its ID and a warning."""

    def list(self, filters: Filters) -> Sequence[NetworkInspect]:
        """Return networks."""

    def inspect(self, ref: str, scope: str = "") -> NetworkInspect:
        """Return everything about one network."""

    async def remove(self, ref: str) -> None:
        """Remove it."""

    async def prune(self, filters: Filters) -> NetworkPruneReport:
        """Remove unused networks."""

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        """Put a container on it."""

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        """Take a container off it."""

    async def trace(self, source: str, target: str, port: str) -> Struct:
        """Trace whether one container reaches another, and what stops it."""

    async def audit(self) -> Struct:
        """List what is reachable from where."""


class NetworkRoutes:
    """The operations on networks."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/networks", self.list),
            Route("GET", "/networks/", self.list),
            Route("POST", "/networks/create", self.create),
            Route("POST", "/networks/prune", self.prune),
            Route("GET", "/networks/{id}", self.inspect),
            Route("DELETE", "/networks/{id}", self.remove),
            Route("POST", "/networks/{id}/connect", self.connect),
            Route("POST", "/networks/{id}/disconnect", self.disconnect),
            Route("GET", "/wherry/networks/trace", self.trace),
            Route("GET", "/wherry/networks/audit", self.audit),
        ]

    async def list(self, request: ApiRequest) -> StreamResponse:
        """NetworkList, up to API 1.27 with their containers."""
        found = self._networks.list(request.filters())
        if request.version < (1, 28):
            found = [self._networks.inspect(one.id) for one in found]
        return reply(compat.networks(to_builtins(found), request.version))

    async def create(self, request: ApiRequest) -> StreamResponse:
        """NetworkCreate."""
        identifier, warning = await self._networks.create(await request.json(NetworkCreate))
        return reply({"Id": identifier, "Warning": warning}, status=201)

    async def inspect(self, request: ApiRequest) -> StreamResponse:
        """NetworkInspect. ``verbose`` adds what only swarms have: nothing."""
        request.flag("verbose")
        return reply(
            compat.network(to_builtins(self._networks.inspect(request.id, request.text("scope"))), request.version)
        )

    async def prune(self, request: ApiRequest) -> StreamResponse:
        """NetworkPrune."""
        return reply(await self._networks.prune(request.filters()))

    async def remove(self, request: ApiRequest) -> StreamResponse:
        """NetworkDelete."""
        await self._networks.remove(request.id)
        return empty()

    async def connect(self, request: ApiRequest) -> StreamResponse:
        """NetworkConnect."""
        asked = await _connection(request)
        settings = adapt_connect(asked.endpoint_config or EndpointSettings(), request.version)
        await self._networks.connect(request.id, asked.container, settings)
        return empty(200)

    async def disconnect(self, request: ApiRequest) -> StreamResponse:
        """NetworkDisconnect."""
        asked = await _connection(request)
        await self._networks.disconnect(request.id, asked.container, force=asked.force)
        return empty(200)

    async def trace(self, request: ApiRequest) -> StreamResponse:
        """NetworkTrace, an operation of wherry's own: does A reach B, and what stops it."""
        source, target = request.text("from"), request.text("to")
        if not source or not target:
            raise InvalidInput("a trace needs from and to")
        return reply(await self._networks.trace(source, target, request.text("port")))

    async def audit(self, _request: ApiRequest) -> StreamResponse:
        """PortAudit, an operation of wherry's own: what is reachable from where."""
        return reply(await self._networks.audit())


async def _connection(request: ApiRequest) -> Connection:
    asked = await request.json(Connection)
    if not asked.container:
        raise InvalidInput("container name or ID cannot be empty")
    return asked
