"""The networks that there are: the engine's side of the API's network operations."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from wherry.engine import clock
from wherry.engine.events import has_label
from wherry.engine.network_shown import network_shown
from wherry.errors import Forbidden, InvalidInput, NotFound
from wherry.network.model import NetworkRequest, SubnetRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wherry.engine.config import EndpointSettings
    from wherry.engine.events import EventBus
    from wherry.engine.networking import Networking
    from wherry.engine.registry import Registry
    from wherry.network.model import Network
    from wherry.network.networks import Networks
    from wherry.network.world import World

    Filters = Mapping[str, list[str]]

__all__ = ["IpamConfig", "NetworkCatalog", "NetworkCreate"]

Json = dict[str, Any]
Words = list[str]  # `list` is a method below


class IpamPool(Struct, rename="pascal"):
    """One range of addresses."""

    subnet: str | None = None
    ip_range: str | None = field(default=None, name="IPRange")
    gateway: str | None = None
    auxiliary_addresses: dict[str, str] | None = None


class IpamConfig(Struct, rename="pascal"):
    """How addresses are managed."""

    driver: str | None = None
    options: dict[str, str] | None = None
    config: list[IpamPool] | None = None


class ConfigReference(Struct, rename="pascal"):
    """Where a network takes its configuration from."""

    network: str = ""


class NetworkCreate(Struct, rename="pascal", kw_only=True):
    """The body of NetworkCreate."""

    name: str = ""
    driver: str | None = None
    scope: str | None = None
    enable_ipv4: bool | None = field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = field(default=None, name="EnableIPv6")
    ipam: IpamConfig | None = field(default=None, name="IPAM")
    internal: bool | None = None
    attachable: bool | None = None
    ingress: bool | None = None
    config_only: bool | None = None
    config_from: ConfigReference | None = None
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class NetworkCatalog:
    """Makes, lists and removes networks, and puts containers on them.

    :param table: the name of our own nftables tables.
    """

    def __init__(
        self, networks: Networks, networking: Networking, registry: Registry, events: EventBus, table: str
    ) -> None:
        self._networks = networks
        self._networking = networking
        self._registry = registry
        self._events = events
        self._table = table

    async def create(self, body: NetworkCreate) -> tuple[str, str]:
        """Make a network; returns its ID and a warning.

        See `wherry.network.networks.Networks.create` for the errors.
        """
        ipam = body.ipam or IpamConfig()
        network = await self._networks.create(
            NetworkRequest(
                name=body.name, driver=body.driver or "bridge", ipv4=body.enable_ipv4, ipv6=body.enable_ipv6,
                internal=bool(body.internal), attachable=bool(body.attachable), ingress=bool(body.ingress),
                config_only=bool(body.config_only),
                config_from=body.config_from.network if body.config_from else "",
                scope=body.scope or "", options=body.options or {},
                labels=body.labels or {}, ipam_driver=ipam.driver or "default", ipam_options=ipam.options or {},
                subnets=tuple(_subnet_request(pool) for pool in ipam.config or []),
            )
        )  # fmt: skip
        self._networking.networks_changed()
        self._tell(network, "create")
        return network.id, ""

    def list(self, filters: Filters) -> list[Json]:
        """Networks, without who is on them.

        :raises InvalidInput: there is no such filter.
        """
        fits = self._filter(filters)
        return [network_shown(network, ()) for network in self._networks.list() if fits(network)]

    def inspect(self, ref: str, scope: str = "") -> Json:
        """Everything about a network, and who is on it.

        :raises NotFound: there is none, or none of this scope.
        """
        network = self._networks.get(ref)
        if scope and scope != network.scope:
            raise NotFound(f"network {ref} not found")
        shown = network_shown(network, self._networks.endpoints(network.id))
        if network.driver in ("host", "null"):
            shown["Containers"] = self._without_places(network.name)
        return shown

    def _without_places(self, name: str) -> Json:
        """Who is on ``host`` or ``none``: nobody has an address there."""
        nothing = {"MacAddress": "", "IPv4Address": "", "IPv6Address": ""}
        return {
            container.id: {"Name": container.name, "EndpointID": container.id, **nothing}
            for container in self._registry
            if container.state.is_alive and name in container.definition.networks
        }

    async def remove(self, ref: str) -> None:
        """Remove a network.

        :raises NotFound: there is none.
        :raises Forbidden: it is predefined, or somebody is on it.
        """
        self._removed(await self._networks.remove(ref))

    def _removed(self, network: Network) -> None:
        self._networking.networks_changed()
        self._tell(network, "destroy")

    async def prune(self, filters: Filters) -> Json:
        """Remove all that nobody is on; the body of NetworkPrune.

        :param filters: ``until``, ``label`` and ``label!``.
        """
        for name in filters:
            if name not in ("until", "label", "label!"):
                raise InvalidInput(f"invalid filter '{name}'")
        removed = []
        for network in list(self._networks.list()):
            if not network.is_builtin and _may_be_pruned(network, filters):
                try:
                    self._removed(await self._networks.remove(network.id))
                except (Forbidden, NotFound):
                    continue  # somebody is on it, or was faster
                removed.append(network.name)
        self._events.publish("network", "prune", "", {"reclaimed": "0"})
        return {"NetworksDeleted": removed or None}

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        """Put a container on a network. See `Networking.connect` for the errors."""
        await self._networking.connect(self._registry.get(container), ref, settings)

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        """Take a container off a network. See `Networking.disconnect` for the errors."""
        await self._networking.disconnect(self._registry.get(container), ref, force=force)

    # --- about networks as a whole ----------------------------------------------------------------

    def drivers(self) -> Words:
        """The kinds of networks that can be made here, and the two that are always there."""
        made = [] if self._networks.warning else ["bridge", "dummy", "macvlan"]
        return sorted([*made, "host", "null"])

    def warnings(self) -> Words:
        """What stands in the way of networks on this machine, in sentences."""
        from wherry.engine.network_world import obstacles  # noqa: PLC0415 - only ``info`` asks

        if self._networks.warning:
            return [f"WARNING: {self._networks.warning}"]
        return [f"WARNING: {obstacle.describe()}" for obstacle in obstacles(self._table)]

    # --- what reaches what ------------------------------------------------------------------------

    async def trace(self, source: str, target: str, port: str) -> Json:
        """Whether one place reaches another, and what stops it; ``wherry network trace``.

        :raises NotFound: there is no such container.
        :raises InvalidInput: the port is none.
        """
        from wherry.engine.network_world import trace_of  # noqa: PLC0415 - seldom asked for

        return await asyncio.to_thread(lambda: trace_of(self._world(), source, target, port))

    async def audit(self) -> Json:
        """What is reachable from where; ``wherry port audit``."""
        from wherry.engine.network_world import audit_of  # noqa: PLC0415 - seldom asked for

        return await asyncio.to_thread(lambda: audit_of(self._world()))

    def _world(self) -> World:
        from wherry.engine.network_world import world_of  # noqa: PLC0415 - seldom asked for

        return world_of(list(self._networks.list()), list(self._registry), self._networks.warning, self._table)

    def _tell(self, network: Network, action: str) -> None:
        self._events.publish("network", action, network.id, {"name": network.name, "type": network.driver})

    # --- filters ----------------------------------------------------------------------------------

    def _filter(self, filters: Filters) -> Callable[[Network], bool]:
        """A network passes when one of each filter's values fits; of labels all have to."""
        for name, values in filters.items():
            if name not in _FILTERS and name != "dangling":
                raise InvalidInput(f"invalid filter '{name}'")
            _check_values(name, values)

        def fits(network: Network) -> bool:
            for name, values in filters.items():
                if name == "dangling" and values:
                    if not any(self._is_dangling(network) == (value in _TRUE) for value in values):
                        return False
                elif values and not (all if name == "label" else any)(_FILTERS[name](network, v) for v in values):
                    return False
            return True

        return fits

    def _is_dangling(self, network: Network) -> bool:
        return not network.is_builtin and not self._networks.endpoints(network.id)


_TRUE: Final = ("true", "1")
_FALSE: Final = ("false", "0")
_FILTERS: Final[Mapping[str, Callable[[Network, str], bool]]] = {
    "name": lambda network, value: _matches(network.name, value),
    "id": lambda network, value: _matches(network.id, value),
    "driver": lambda network, value: network.driver == value,
    "scope": lambda network, value: network.scope == value,
    "type": lambda network, value: network.is_builtin == (value == "builtin"),
    "label": lambda network, value: has_label(network.labels, value),
}


def _matches(text: str, pattern: str) -> bool:
    """As in Docker: the text itself, or a regular expression that fits anywhere in it; what is none does not."""
    try:
        return text == pattern or re.search(pattern, text) is not None
    except re.error:
        return False


def _check_values(name: str, values: list[str]) -> None:
    allowed = {"type": ("builtin", "custom"), "dangling": (*_TRUE, *_FALSE)}.get(name)
    for value in values:
        if allowed and value not in allowed:
            raise InvalidInput(f"invalid filter '{name}={value}'")


def _may_be_pruned(network: Network, filters: Filters) -> bool:
    until = [clock.moment(text) for text in filters.get("until") or []]
    return (
        all(network.created <= moment for moment in until or [time.time_ns()])
        and all(has_label(network.labels, wanted) for wanted in filters.get("label") or [])
        and not any(has_label(network.labels, wanted) for wanted in filters.get("label!") or [])
    )


def _subnet_request(pool: IpamPool) -> SubnetRequest:
    return SubnetRequest(pool.subnet or "", pool.ip_range or "", pool.gateway or "", pool.auxiliary_addresses or {})
