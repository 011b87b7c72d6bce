"""Unsupported parts of the API, each refused in a sentence, and objects that do not exist here (empty lists)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.api.http.answers import reply
from wherry.api.http.routing import Route
from wherry.errors import NotFound, Unavailable, Unsupported

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest
    from wherry.api.http.routing import Handler

#: Of a dockerd for an operating system without managed plugins.
_NO_PLUGINS: Final = "plugins are not supported on this platform"
_NO_SWARM_TO_LEAVE: Final = "This node is not part of a swarm"
#: dockerd's own words when it is not part of a swarm; clients know them.
_NO_SWARM: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)

_UNSUPPORTED: Final = (
    ("GET", "/plugins/privileges", _NO_PLUGINS),
    ("POST", "/plugins/pull", _NO_PLUGINS),
    ("POST", "/plugins/create", _NO_PLUGINS),
    ("POST", "/swarm/init", "swarms are not supported by wherry"),
    ("POST", "/swarm/join", "swarms are not supported by wherry"),
)
_ON_PLUGIN: Final = (
    ("GET", "/json"), ("DELETE", ""), ("POST", "/enable"), ("POST", "/disable"), ("POST", "/upgrade"),
    ("POST", "/push"), ("POST", "/set"),
)  # fmt: skip
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
        leave = Route("POST", "/swarm/leave", _refuse(Unavailable(_NO_SWARM_TO_LEAVE)))
        by_name = [Route(method, f"/plugins/{{id:path}}{rest}", self.no_such_plugin) for method, rest in _ON_PLUGIN]
        return [*refused, Route("GET", "/plugins", self.plugins), *by_name, leave, *swarm]

    async def plugins(self, request: ApiRequest) -> StreamResponse:
        """PluginList."""
        request.filters(("capability", "enabled"))
        return reply([])

    async def no_such_plugin(self, request: ApiRequest) -> StreamResponse:
        """What is asked of one plugin: there is none."""
        raise NotFound(f'plugin "{request.id}" not found')


def _refuse(error: Unavailable | Unsupported) -> Handler:
    async def refuse(_request: ApiRequest) -> StreamResponse:
        raise type(error)(error.message)

    return refuse
