"""Unsupported parts of the API, each refused in a sentence, and objects that do not exist here (empty lists)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.api.http.answers import reply
from wherry.api.http.routing import Route
from wherry.errors import Unavailable, Unsupported

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest
    from wherry.api.http.routing import Handler

_NO_BUILD: Final = "building images is not supported by this version of wherry"
_NO_PLUGINS: Final = "plugins are not supported by wherry"
#: dockerd's own words when it is not part of a swarm; clients know them.
_NO_SWARM: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)

_UNSUPPORTED: Final = (
    ("POST", "/session", _NO_BUILD),
    ("POST", "/grpc", _NO_BUILD),
    ("POST", "/plugins/pull", _NO_PLUGINS),
    ("POST", "/plugins/create", _NO_PLUGINS),
    ("POST", "/swarm/init", "swarms are not supported by wherry"),
    ("POST", "/swarm/join", "swarms are not supported by wherry"),
)
_SWARM: Final = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs")


class UnsupportedRoutes:
    """Operations that are refused, or have nothing to list."""

    def routes(self) -> list[Route]:
        """Return the operations."""
        refused = [Route(method, pattern, _refuse(Unsupported(text))) for method, pattern, text in _UNSUPPORTED]
        swarm = [
            Route(method, pattern, _refuse(Unavailable(_NO_SWARM)))
            for prefix in _SWARM
            for method in ("GET", "POST", "DELETE")
            for pattern in (prefix, prefix + "/{rest:path}")
        ]
        return [*refused, Route("GET", "/plugins", self.plugins), *swarm]

    async def plugins(self, request: ApiRequest) -> StreamResponse:
        """PluginList."""
        request.filters(("capability", "enabled"))
        return reply([])


def _refuse(error: Unavailable | Unsupported) -> Handler:
    async def refuse(_request: ApiRequest) -> StreamResponse:
        raise type(error)(error.message)

    return refuse
