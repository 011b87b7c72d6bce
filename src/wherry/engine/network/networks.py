"""Networks: the engine's side of the API's network operations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from wherry.docker.filters import Filters, check_names, check_prune, has_label, may_be_pruned
from wherry.docker.networks import (
    EndpointResource,
    IpamConfig,
    IpamPool,
    NetworkCreate,
    NetworkInspect,
    NetworkPruneReport,
)
from wherry.engine.network.views import network_to_api
from wherry.errors import Forbidden, InvalidInput, NotFound
from wherry.network.drivers.table import DRIVERS, driver_of
from wherry.network.model import NetworkRequest, SubnetRequest
from wherry.oci.go_patterns import any_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wherry.docker.networks import EndpointSettings
    from wherry.engine.container.store import ContainerStore
    from wherry.engine.events import EventBus
    from wherry.engine.network.connect import Connector
    from wherry.engine.network.endpoint_effects import EndpointEffects
    from wherry.engine.network.topology import AuditReport, TraceReport
    from wherry.network.controller import Controller
    from wherry.network.diagnose.topology import Topology
    from wherry.network.model import Network


__all__ = ["Networks"]

Words = list[str]  # `list` is a method below


class Networks:
    """Creates, lists and removes networks, and connects containers to them.

    :param table: the name of our own nftables tables.
    """

    def __init__(
        self,
        controller: Controller,
        connector: Connector,
        effects: EndpointEffects,
        containers: ContainerStore,
        events: EventBus,
        *,
        table: str,
    ) -> None:
        self._controller = controller
        self._connector = connector
        self._effects = effects
        self._containers = containers
        self._events = events
        self._table = table

    def host_gateway(self) -> str:
        """The address that ``host-gateway`` means to a container on the default bridge; empty: there is none."""
        return self._effects.host_gateway()

    async def create(self, body: NetworkCreate) -> tuple[str, str]:
        """Create a network; returns its ID and a warning.

        See `wherry.network.controller.Controller.create` for the errors.
        """
        ipam = body.ipam or IpamConfig()
        network = await self._controller.create(
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
        self._effects.networks_changed()
        self._publish(network, "create")
        return network.id, ""

    def list(self, filters: Filters) -> list[NetworkInspect]:
        """All networks that pass, without their endpoints.

        :raises InvalidInput: there is no such filter.
        """
        fits = self._filter(filters)
        return [network_to_api(network, ()) for network in self._controller.list() if fits(network)]

    def inspect(self, ref: str, scope: str = "") -> NetworkInspect:
        """Everything about a network, with its endpoints.

        :raises NotFound: there is none, or none of this scope.
        """
        network = self._controller.get(ref)
        if scope and scope != network.scope:
            raise NotFound(f"network {ref} not found")
        view = network_to_api(network, self._controller.endpoints(network.id), self._controller.addresses(network))
        if driver_of(network).single:
            view.containers = self._members_without_endpoint(network.name)
        return view

    def _members_without_endpoint(self, name: str) -> dict[str, EndpointResource]:
        """Running containers on ``host`` or ``none``; these have no endpoint."""
        return {
            container.id: EndpointResource(name=container.name, endpoint_id=container.id)
            for container in self._containers
            if container.state.is_alive and name in container.definition.networks
        }

    async def remove(self, ref: str) -> None:
        """Remove a network.

        :raises NotFound: there is none.
        :raises Forbidden: it is predefined, or has endpoints.
        """
        self._removed(await self._controller.remove(ref))

    def _removed(self, network: Network) -> None:
        self._effects.networks_changed()
        if not network.config_only:  # of which Docker says nothing
            self._publish(network, "destroy")

    async def prune(self, filters: Filters) -> NetworkPruneReport:
        """Remove all networks without endpoints; returns the body of NetworkPrune.

        :param filters: ``until``, ``label`` and ``label!``.
        """
        check_prune(filters)
        removed = []
        for network in list(self._controller.list()):
            if not (network.is_builtin or network.config_only) and may_be_pruned(
                network.created, network.labels, filters
            ):
                try:
                    self._removed(await self._controller.remove(network.id))
                except (Forbidden, NotFound):
                    continue  # it has an endpoint by now, or was removed by another request
                removed.append(network.name)
        self._events.publish("network", "prune", "", {"reclaimed": "0"})
        return NetworkPruneReport(removed or None)

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        """Connect a container to a network. See `Connector.connect` for the errors."""
        await self._connector.connect(self._containers.get(container), ref, settings)

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        """Disconnect a container from a network. See `Connector.disconnect` for the errors."""
        await self._connector.disconnect(self._containers.get(container), ref, force=force)

    # --- about networks as a whole ----------------------------------------------------------------

    def drivers(self) -> Words:
        """The drivers of networks that can be created here, and the two that always exist."""
        return sorted(name for name, driver in DRIVERS.items() if driver.single or not self._controller.warning)

    def warnings(self) -> Words:
        """Warnings about what keeps networks from working on this machine."""
        from wherry.engine.network.topology import obstacles  # noqa: PLC0415 - only ``info`` asks

        if self._controller.warning:
            return [f"WARNING: {self._controller.warning}"]
        return [f"WARNING: {obstacle.describe()}" for obstacle in obstacles(self._table)]

    # --- what reaches what ------------------------------------------------------------------------

    async def trace(self, source: str, target: str, port: str) -> TraceReport:
        """Whether one container or host reaches another, and what stops it; ``wherry network trace``.

        :raises NotFound: there is no such container.
        :raises InvalidInput: the port is none.
        """
        from wherry.engine.network.topology import trace_of  # noqa: PLC0415 - seldom asked for

        return await asyncio.to_thread(lambda: trace_of(self._topology(), source, target, port))

    async def audit(self) -> AuditReport:
        """What is reachable from where; ``wherry port audit``."""
        from wherry.engine.network.topology import audit_of  # noqa: PLC0415 - seldom asked for

        return await asyncio.to_thread(lambda: audit_of(self._topology()))

    def _topology(self) -> Topology:
        from wherry.engine.network.topology import topology_of  # noqa: PLC0415 - seldom asked for

        return topology_of(list(self._controller.list()), list(self._containers), self._controller.warning, self._table)

    def _publish(self, network: Network, action: str) -> None:
        self._events.publish("network", action, network.id, {"name": network.name, "type": network.driver})

    # --- filters ----------------------------------------------------------------------------------

    def _filter(self, filters: Filters) -> Callable[[Network], bool]:
        """A network passes when one of each filter's values fits; of labels all have to."""
        check_names(filters, {*_FILTERS, *_MATCHED, "dangling"})
        for name, values in filters.items():
            _check_values(name, values)
        given = {name: values for name, values in filters.items() if values}
        matching = [(_MATCHED[name], any_of(given[name])) for name in _MATCHED if name in given]
        dangling = given.get("dangling")

        def fits(network: Network) -> bool:
            if not all(matches(read(network)) for read, matches in matching):
                return False
            if dangling and not any(self._is_dangling(network) == (value in _TRUE) for value in dangling):
                return False
            return all(
                (all if name == "label" else any)(test(network, value) for value in given[name])
                for name, test in _FILTERS.items()
                if name in given
            )

        return fits

    def _is_dangling(self, network: Network) -> bool:
        return not network.is_builtin and not self._controller.endpoints(network.id)


_TRUE: Final = ("true", "1")
_FALSE: Final = ("false", "0")
#: What is compared with regular expressions.
_MATCHED: Final[Mapping[str, Callable[[Network], str]]] = {"name": lambda n: n.name, "id": lambda n: n.id}
_FILTERS: Final[Mapping[str, Callable[[Network, str], bool]]] = {
    "driver": lambda network, value: network.driver == value,
    "scope": lambda network, value: network.scope == value,
    "type": lambda network, value: network.is_builtin == (value == "builtin"),
    "label": lambda network, value: has_label(network.labels, value),
}


def _check_values(name: str, values: list[str]) -> None:
    allowed = {"type": ("builtin", "custom"), "dangling": (*_TRUE, *_FALSE)}.get(name)
    for value in values:
        if allowed and value not in allowed:
            raise InvalidInput(f"invalid filter '{name}={value}'")


def _subnet_request(pool: IpamPool) -> SubnetRequest:
    return SubnetRequest(pool.subnet or "", pool.ip_range or "", pool.gateway or "", pool.auxiliary_addresses or {})
