"""Networks and volumes, as far as they exist: the networks ``none`` and ``host``, and no volumes.

Clients list both at the oddest moments, so the lists are right; making one is refused in a sentence.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Protocol

from wherry.api.answers import reply
from wherry.api.routing import Route
from wherry.errors import Forbidden, InvalidInput, NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.web import StreamResponse

    from wherry.api.call import Call, Json
    from wherry.api.query import Filters

_DRIVERS: Final = {"host": "host", "none": "null"}
_NO_DATE: Final = "0001-01-01T00:00:00Z"


class Running(Protocol):
    """What this file needs of the engine's containers."""

    def list(self, *, all: bool, limit: int, size: bool, filters: Filters) -> list[Json]:
        """Return summaries."""


def network_id(name: str) -> str:
    """Return the ID of a built-in network, the same on every machine."""
    return hashlib.sha256(f"wherry network {name}".encode()).hexdigest()


class NetworkRoutes:
    """The operations on networks."""

    def __init__(self, containers: Running) -> None:
        self._containers = containers

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/networks", self.list),
            Route("POST", "/networks/create", self.refuse),
            Route("POST", "/networks/prune", self.prune),
            Route("GET", "/networks/{id}", self.inspect),
            Route("DELETE", "/networks/{id}", self.remove),
            Route("POST", "/networks/{id}/connect", self.refuse),
            Route("POST", "/networks/{id}/disconnect", self.refuse),
        ]

    async def list(self, call: Call) -> StreamResponse:
        """NetworkList."""
        fits = _network_filter(call.filters())
        return reply([network for name in _DRIVERS if fits(network := _network(name))])

    async def inspect(self, call: Call) -> StreamResponse:
        """NetworkInspect."""
        name = _find(call.id)
        return reply({**_network(name), "Containers": self._endpoints(name)})

    async def prune(self, _call: Call) -> StreamResponse:
        """NetworkPrune: the built-in networks stay, and there are no others."""
        return reply({"NetworksDeleted": None})

    async def remove(self, call: Call) -> StreamResponse:
        """NetworkDelete."""
        raise Forbidden(f"{_find(call.id)} is a pre-defined network and cannot be removed")

    async def refuse(self, _call: Call) -> StreamResponse:
        """NetworkCreate, NetworkConnect, NetworkDisconnect."""
        raise Unsupported("this version of wherry has the networks none and host only")

    def _endpoints(self, name: str) -> Json:
        running = self._containers.list(all=False, limit=0, size=False, filters={"network": [name]})
        nothing = {"EndpointID": "", "MacAddress": "", "IPv4Address": "", "IPv6Address": ""}
        return {summary["Id"]: {"Name": summary["Names"][0].lstrip("/"), **nothing} for summary in running}


class VolumeRoutes:
    """The operations on volumes."""

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/volumes", self.list),
            Route("POST", "/volumes/create", self.refuse),
            Route("POST", "/volumes/prune", self.prune),
            Route("GET", "/volumes/{id}", self.missing),
            Route("DELETE", "/volumes/{id}", self.missing),
        ]

    async def list(self, call: Call) -> StreamResponse:
        """VolumeList."""
        call.filters()
        return reply({"Volumes": [], "Warnings": None})

    async def prune(self, _call: Call) -> StreamResponse:
        """VolumePrune."""
        return reply({"VolumesDeleted": [], "SpaceReclaimed": 0})

    async def missing(self, call: Call) -> StreamResponse:
        """VolumeInspect, VolumeDelete."""
        raise NotFound(f"get {call.id}: no such volume")

    async def refuse(self, _call: Call) -> StreamResponse:
        """VolumeCreate."""
        raise Unsupported("this version of wherry has no volumes", hint="mount a directory of the host instead")


def _network(name: str) -> Json:
    return {
        "Name": name,
        "Id": network_id(name),
        "Created": _NO_DATE,
        "Scope": "local",
        "Driver": _DRIVERS[name],
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    }


def _find(ref: str) -> str:
    """Return the name of a network.

    :param ref: its name, or the beginning of its ID.
    :raises NotFound: in dockerd's words.
    """
    for name in _DRIVERS:
        if ref == name or (ref and network_id(name).startswith(ref)):
            return name
    raise NotFound(f"network {ref} not found")


#: What each filter looks at; a network passes when one of the filter's values fits.
_FILTERS: Final[dict[str, Callable[[Json, str], Any]]] = {
    "name": lambda network, value: value in network["Name"],
    "id": lambda network, value: network["Id"].startswith(value),
    "driver": lambda network, value: network["Driver"] == value,
    "scope": lambda network, value: network["Scope"] == value,
    "type": lambda _network, value: value == "builtin",
    "label": lambda _network, _value: False,
    "dangling": lambda _network, value: value in {"0", "false"},
}


def _network_filter(filters: Filters) -> Callable[[Json], bool]:
    for name in filters:
        if name not in _FILTERS:
            raise InvalidInput(f"invalid filter '{name}'")

    def fits(network: Json) -> bool:
        return all(
            any(_FILTERS[name](network, value) for value in values) for name, values in filters.items() if values
        )

    return fits
