"""Networks: made, listed, joined, left, removed; and wherry's own questions about what reaches what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from wherry.api.answers import empty, reply
from wherry.api.routing import Route
from wherry.engine.config import EndpointSettings
from wherry.engine.network_catalog import NetworkCreate
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.call import Call, Json
    from wherry.api.query import Filters


class Connection(Struct, rename="pascal"):
    """The body of NetworkConnect and NetworkDisconnect."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None
    force: bool = False


class Networks(Protocol):
    """What this file needs of the engine. A `ref` is a name, an ID, or the beginning of one."""

    async def create(self, body: NetworkCreate) -> tuple[str, str]:
        """Make a network; return its ID and a warning."""

    def list(self, filters: Filters) -> Sequence[Json]:
        """Return networks."""

    def inspect(self, ref: str, scope: str = "") -> Json:
        """Return everything about one network."""

    async def remove(self, ref: str) -> None:
        """Remove it."""

    async def prune(self, filters: Filters) -> Json:
        """Remove those that nobody is on."""

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        """Put a container on it."""

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        """Take a container off it."""

    async def trace(self, source: str, target: str, port: str) -> Json:
        """Tell whether one reaches the other, and what stops it."""

    async def audit(self) -> Json:
        """Tell what is reachable from where."""


class NetworkRoutes:
    """The operations on networks."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/networks", self.list),
            Route("POST", "/networks/create", self.create),
            Route("POST", "/networks/prune", self.prune),
            Route("GET", "/networks/{id}", self.inspect),
            Route("DELETE", "/networks/{id}", self.remove),
            Route("POST", "/networks/{id}/connect", self.connect),
            Route("POST", "/networks/{id}/disconnect", self.disconnect),
            Route("GET", "/wherry/networks/trace", self.trace),
            Route("GET", "/wherry/networks/audit", self.audit),
        ]

    async def list(self, call: Call) -> StreamResponse:
        """NetworkList."""
        return reply(self._networks.list(call.filters()))

    async def create(self, call: Call) -> StreamResponse:
        """NetworkCreate."""
        identifier, warning = await self._networks.create(await call.json(NetworkCreate))
        return reply({"Id": identifier, "Warning": warning}, status=201)

    async def inspect(self, call: Call) -> StreamResponse:
        """NetworkInspect. ``verbose`` adds what only swarms have: nothing."""
        call.flag("verbose")
        return reply(self._networks.inspect(call.id, call.text("scope")))

    async def prune(self, call: Call) -> StreamResponse:
        """NetworkPrune."""
        return reply(await self._networks.prune(call.filters()))

    async def remove(self, call: Call) -> StreamResponse:
        """NetworkDelete."""
        await self._networks.remove(call.id)
        return empty()

    async def connect(self, call: Call) -> StreamResponse:
        """NetworkConnect."""
        asked = await _connection(call)
        await self._networks.connect(call.id, asked.container, asked.endpoint_config or EndpointSettings())
        return empty(200)

    async def disconnect(self, call: Call) -> StreamResponse:
        """NetworkDisconnect."""
        asked = await _connection(call)
        await self._networks.disconnect(call.id, asked.container, force=asked.force)
        return empty(200)

    async def trace(self, call: Call) -> StreamResponse:
        """NetworkTrace, an operation of wherry's own: does A reach B, and what stops it."""
        source, target = call.text("from"), call.text("to")
        if not source or not target:
            raise InvalidInput("a trace needs from and to")
        return reply(await self._networks.trace(source, target, call.text("port")))

    async def audit(self, _call: Call) -> StreamResponse:
        """PortAudit, an operation of wherry's own: what is reachable from where."""
        return reply(await self._networks.audit())


async def _connection(call: Call) -> Connection:
    asked = await call.json(Connection)
    if not asked.container:
        raise InvalidInput("container name or ID cannot be empty")
    return asked
