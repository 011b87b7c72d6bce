"""Networks and endpoints with their addresses and ports, in memory and in the tables.

Nothing here waits or asks the kernel. A step is either done whole, or raises and leaves everything as it was; so two
that ask at once never get the same address or port.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import replace

from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, WherryError
from wherry.network.database import NetworkDatabase
from wherry.network.drivers.options import check_interface_name
from wherry.network.drivers.table import driver_of
from wherry.network.ipam.addresses import AddressPool, mac_of, parse_mac
from wherry.network.model import (
    ALL_INTERFACES,
    IFNAME,
    IFPREFIX,
    SYSCTLS,
    Address,
    Endpoint,
    EndpointRequest,
    Gateways,
    Network,
    PortRequest,
    Prefix,
    Subnet,
)
from wherry.network.port_allocator import PortAllocator

if TYPE_CHECKING:
    from wherry.network.firewall.elements import LinkRule, ReplyMasquerade

__all__ = ["NetworkStore", "check_request", "gateways_of"]

_T = TypeVar("_T", IPv4Address, IPv6Address)
_INTERFACE: Final = "eth"
_ID_LENGTH: Final = 64


class NetworkStore:
    """Networks and endpoints, with the addresses and ports that they hold.

    :param database: the tables; read at once.
    """

    def __init__(self, database: NetworkDatabase) -> None:
        self._database = database
        self.networks: dict[str, Network] = {network.id: network for network in database.networks()}
        self.endpoints: dict[str, Endpoint] = {}
        self._by_owner: dict[str, dict[str, Endpoint]] = {}  # owner, network
        self._by_network: dict[str, dict[str, Endpoint]] = {}  # network, endpoint
        self._linking: set[str] = set()  # endpoints with linked ports
        self._pools: dict[tuple[str, int], AddressPool] = {}
        self.ports = PortAllocator()
        self.links: dict[str, str] = {}  # interfaces in the host that are made, with the bridge of each
        self.gateways: set[Address] = set()  # of bridges that are made
        for network in self.networks.values():
            self._open_pools(network)
        for endpoint in database.endpoints():
            self._read(endpoint)

    def _read(self, endpoint: Endpoint) -> None:
        """Read an endpoint as it was when the last daemon ended."""
        if endpoint.network_id not in self.networks:
            if endpoint.network_id not in self._database.unreadable:
                self._database.delete_endpoint(endpoint.id)
            return
        self._reserve_addresses(endpoint)
        self.ports.restore(endpoint)
        self._index(endpoint)

    # --- networks

    def add_network(self, network: Network) -> None:
        """Store a new network; another of its name must not be there.

        :raises Conflict: there is one.
        """
        if any(other.name == network.name for other in self.networks.values()):
            raise Conflict(f"network with name {network.name} already exists")
        self.put_network(network)

    def configuration(self, name: str) -> Network:
        """The configuration of that name.

        :raises NotFound: there is none.
        """
        for network in self.networks.values():
            if network.config_only and network.name == name:
                return network
        raise NotFound(f'configuration network "{name}" does not exist')

    def check_interface(self, network: Network) -> None:
        """See that a network's interface in the host, which it may not have, is left to it by the others.

        :raises Conflict: one has it.
        """
        for other in self.on_interface(network.bridge):
            if not _may_share(other):
                raise Conflict(f"bridge name already in use: {network.bridge}")
            driver_of(network).check_beside(network, other)

    def on_interface(self, name: str) -> list[Network]:
        """The networks that are on an interface of the host; none if it has no name."""
        return [network for network in self.networks.values() if name and network.bridge == name]

    def put_network(self, network: Network) -> None:
        """Store a network, new or changed."""
        self._database.put_network(network)
        self.networks[network.id] = network
        self._open_pools(network)
        for endpoint in self._by_network.get(network.id, {}).values():
            self._reserve_addresses(endpoint)

    def network_created(self, network: Network) -> None:
        """Note that a network is in the kernel: from now on the monitor looks after it."""
        if network.bridge and not network.borrowed:
            self.links[network.bridge] = ""
            self.gateways.update(driver_of(network).host_addresses(network))

    def endpoint_created(self, endpoint: Endpoint) -> None:
        """Note that an endpoint is in the kernel."""
        if endpoint.host_interface and endpoint.id in self.endpoints:
            self.links[endpoint.host_interface] = self.networks[endpoint.network_id].bridge

    def remove_network(self, network: Network) -> None:
        """Remove a network."""
        if self.links.pop(network.bridge, None) is not None:
            self.gateways.difference_update(driver_of(network).host_addresses(network))
        self._database.delete_network(network.id)
        del self.networks[network.id]
        self._by_network.pop(network.id, None)
        for version in (4, 6):
            self._pools.pop((network.id, version), None)

    def find(self, reference: str) -> Network:
        """Find a network by ID, name or a unique beginning of its ID, in this order.

        :raises NotFound: there is none.
        :raises InvalidInput: there are several.
        """
        if reference in self.networks:
            return self.networks[reference]
        named = [network for network in self.networks.values() if network.name == reference]
        if named:
            return named[0]
        begins = [network for network in self.networks.values() if reference and network.id.startswith(reference)]
        if len(begins) > 1:
            raise InvalidInput(f"network {reference} is ambiguous ({len(begins)} matches found based on ID prefix)")
        if not begins:
            raise NotFound(f"network {reference} not found")
        return begins[0]

    def _open_pools(self, network: Network) -> None:
        for subnet in (network.subnet4, network.subnet6):
            if subnet is not None:
                self._pools[network.id, subnet.network.version] = AddressPool(subnet)

    def addresses(self, network: Network) -> dict[Prefix, tuple[int, int]]:
        """How many addresses of each subnet are in use, and how many are free, as those that are only prepared are."""
        prepared = Counter(
            address.version for one in self.on_network(network.id) if not one.owner for address in one.addresses
        )
        found = {}
        for subnet in (network.subnet4, network.subnet6):
            if subnet is not None:
                version = subnet.network.version
                used, free = self._pools[network.id, version].status
                found[subnet.network] = used - prepared[version], free + prepared[version]
        return found

    # --- endpoints

    def on_network(self, network_id: str) -> tuple[Endpoint, ...]:
        """The endpoints on a network, those that are only prepared included."""
        return tuple(self._by_network.get(network_id, {}).values())

    def of_owner(self, owner: str) -> dict[str, Endpoint]:
        """The endpoints of an owner by network, in the order of joining."""
        return self._by_owner.get(owner, {})

    def endpoint_of(self, owner: str, network_id: str) -> Endpoint:
        """The endpoint of an owner on a network.

        :raises NotFound: it has none there.
        """
        endpoint = self.of_owner(owner).get(network_id)
        if endpoint is None:
            name = self.networks[network_id].name if network_id in self.networks else network_id
            raise NotFound(f"container {owner} is not connected to network {name}")
        return endpoint

    def owners(self) -> set[str]:
        """The owners that have endpoints."""
        return set(self._by_owner)

    def draft(self, network: Network, owner: str, owner_name: str, request: EndpointRequest) -> Endpoint:
        """An endpoint with addresses, a name and all that follows; nothing but the addresses is taken yet.

        :raises Forbidden: no address is free, or the requested one is taken.
        :raises InvalidInput: the request cannot be granted.
        """
        mac = parse_mac(request.mac) if request.mac else None
        if mac and not driver_of(network).own_macs:
            raise InvalidInput(f"{network.driver} interfaces do not support custom mac address assignment")
        name = request.driver_options.get(IFNAME) or self._free_name(owner, network.options.get(IFPREFIX) or _INTERFACE)
        check_interface_name(name)
        check_request(network, request)
        has_ipv6 = not _is_without_ipv6(request, name)
        if not has_ipv6 and request.ipv6 is not None:
            raise InvalidInput(f"IPv6 address {request.ipv6} is asked for, and IPv6 is switched off by a sysctl")
        ipv4 = self._address(network, 4, request.ipv4)
        try:
            ipv6 = self._address(network, 6, request.ipv6) if has_ipv6 else None
        except WherryError:
            self._release_address(network, ipv4)
            raise
        assert not isinstance(ipv4, IPv6Address)
        assert not isinstance(ipv6, IPv4Address)
        identifier = secrets.token_hex(_ID_LENGTH // 2)
        return Endpoint(
            id=identifier,
            network_id=network.id,
            owner=owner,
            owner_name=owner_name,
            interface=name,
            host_interface=driver_of(network).host_interface(identifier),
            mac=(mac or mac_of(ipv4, identifier)) if driver_of(network).own_macs else "",
            ipv4=ipv4,
            ipv4_prefix=network.subnet4.network.prefixlen if network.subnet4 else 0,
            ipv6=ipv6,
            ipv6_prefix=network.subnet6.network.prefixlen if network.subnet6 else 0,
            link_local=request.link_local,
            gateway4=_router(network, network.subnet4, IPv4Address),
            gateway6=_router(network, network.subnet6, IPv6Address) if has_ipv6 else None,
            aliases=request.aliases,
            links=request.links,
            linked_ports=request.linked_ports,
            driver_options=request.driver_options,
            priority=request.priority,
        )

    def publish(self, endpoint: Endpoint, requests: Iterable[PortRequest], default: Address | None) -> Endpoint:
        """Take ports for an endpoint besides those that it has.

        :raises InvalidInput: a request makes no sense.
        :raises SystemFault: a port is taken.
        """
        network = self.networks[endpoint.network_id]
        found = self.ports.allocate(endpoint, requests, default, driver_of(network).routed(network))
        return replace(endpoint, published=(*endpoint.published, *found)) if found else endpoint

    def add(self, endpoint: Endpoint) -> None:
        """Store an endpoint, new or changed."""
        if endpoint.owner:  # without an owner it is a warm spare, which ends with the daemon
            self._database.put_endpoint(endpoint)
        self._index(endpoint)

    def drop(self, endpoint: Endpoint) -> bool:
        """Remove an endpoint and release its addresses and ports; again, it has no effect.

        :returns: whether it was there.
        """
        if self.endpoints.pop(endpoint.id, None) is None:
            return False
        self.links.pop(endpoint.host_interface, None)
        self._linking.discard(endpoint.id)
        if endpoint.owner:
            self._database.delete_endpoint(endpoint.id)
        mine = self._by_owner.get(endpoint.owner, {})
        mine.pop(endpoint.network_id, None)
        if not mine:
            self._by_owner.pop(endpoint.owner, None)
        self._by_network.get(endpoint.network_id, {}).pop(endpoint.id, None)
        self.release_draft(endpoint)
        return True

    def release_draft(self, endpoint: Endpoint) -> None:
        """Release the addresses and ports of a drafted endpoint."""
        self.ports.release(endpoint.id, endpoint.published)
        network = self.networks.get(endpoint.network_id)
        if network is not None:
            for address in endpoint.addresses:
                self._release_address(network, address)

    def proxy6_target(self, protocol: str, port: int) -> tuple[Address, int] | None:
        """Where a port leads that is published at [::1]; None when none is."""
        from wherry.network.proxy6 import target_among  # noqa: PLC0415 - its only caller

        holders = self.ports.holders(protocol, port)
        return target_among((self.endpoints[each] for each in holders if each in self.endpoints), protocol, port)

    def _index(self, endpoint: Endpoint) -> None:
        self.endpoints[endpoint.id] = endpoint
        if endpoint.linked_ports:
            self._linking.add(endpoint.id)
        else:
            self._linking.discard(endpoint.id)
        if endpoint.owner:
            self._by_owner.setdefault(endpoint.owner, {})[endpoint.network_id] = endpoint
        self._by_network.setdefault(endpoint.network_id, {})[endpoint.id] = endpoint

    def _reserve_addresses(self, endpoint: Endpoint) -> None:
        """Take the addresses that an endpoint has already."""
        for address in endpoint.addresses:
            pool = self._pools.get((endpoint.network_id, address.version))
            if pool is not None:
                with suppress(WherryError):  # the subnet is another one now; the address goes with its owner
                    pool.reserve(address)

    def _free_name(self, owner: str, prefix: str) -> str:
        taken = {endpoint.interface for endpoint in self.of_owner(owner).values()}
        return next(name for number in range(len(taken) + 1) if (name := f"{prefix}{number}") not in taken)

    def _address(self, network: Network, version: int, requested: Address | None) -> Address | None:
        pool = self._pools.get((network.id, version))
        if pool is None:
            return None
        if requested is not None:
            pool.reserve(requested)
            return requested
        found = pool.take()
        if found is None:
            where = f"{network.name} ({network.id})"
            raise Forbidden(f"no available IPv{version} addresses on this network's address pools: {where}")
        return found

    def _release_address(self, network: Network, address: Address | None) -> None:
        if address is not None and (network.id, address.version) in self._pools:
            self._pools[network.id, address.version].release(address)

    # --- firewall rules between two endpoints

    def link_rules(self) -> frozenset[LinkRule]:
        """Which ports are open to others on networks whose containers are kept apart."""
        if not self._linking:
            return frozenset()
        from wherry.network.firewall.pair_rules import link_rules  # noqa: PLC0415 - most engines have no links

        apart = (self.endpoints[each] for each in self._linking)
        return link_rules((each for each in apart if self._is_isolated(each)), self.of_owner)

    def _is_isolated(self, endpoint: Endpoint) -> bool:
        network = self.networks[endpoint.network_id]
        rules = driver_of(network).network_rules(network)
        return rules is not None and not rules.icc

    def reply_masquerades_of(self, owner: str) -> frozenset[ReplyMasquerade]:
        """The clients whose replies leave by another of an owner's networks than that which publishes its ports."""
        mine = self.of_owner(owner)
        publishing = next((endpoint for endpoint in mine.values() if endpoint.published), None)
        if publishing is None or len(mine) < 2:
            return frozenset()
        from wherry.network.firewall.pair_rules import reply_masquerades  # noqa: PLC0415 - most owners have one network

        others = [(self.networks[each.network_id], each) for each in mine.values() if each is not publishing]
        return reply_masquerades(publishing, [network for network, _ in others], self.routes_of(owner))

    def routes_of(self, owner: str) -> Gateways:
        """Where an owner's default routes lead: the highest priority wins, then the network's name."""
        endpoints = sorted(self.of_owner(owner).values(), key=lambda e: (-e.priority, self.networks[e.network_id].name))
        return gateways_of(endpoints)


def _may_share(network: Network) -> bool:
    """Whether a network leaves its interface to other networks, too."""
    return network.borrowed and driver_of(network).shares_interface


def _router(network: Network, subnet: Subnet | None, kind: type[_T]) -> _T | None:
    """Where the default route of an endpoint leads: the bridge, unless another router is configured."""
    found = None if subnet is None else driver_of(network).default_route(network, subnet)
    return found if isinstance(found, kind) else None


def _is_without_ipv6(request: EndpointRequest, interface: str) -> bool:
    """Whether an interface gets no IPv6 address, because the owner has it switched off there."""
    if request.without_ipv6 & {interface, *ALL_INTERFACES}:
        return True
    own = request.driver_options.get(SYSCTLS, "").lower().replace(" ", "").split(",")
    return "net.ipv6.conf.ifname.disable_ipv6=1" in own


def check_request(network: Network, request: EndpointRequest) -> None:
    """Refuse addresses that no subnet of the network has, in Docker's words.

    :raises InvalidInput: the request names one.
    """
    for address, subnet in ((request.ipv4, network.subnet4), (request.ipv6, network.subnet6)):
        if address is None:
            continue
        if subnet is not None and address in subnet.network and request.had_before:
            continue
        if network.is_default_bridge:
            raise InvalidInput("user specified IP address is supported on user defined networks only")
        if not network.chosen:
            raise InvalidInput(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
        if subnet is None or address not in subnet.network:
            raise InvalidInput(f"no configured subnet contains IP address {address}")


def gateways_of(endpoints: Iterable[Endpoint]) -> Gateways:
    """The default routes by the first of those endpoints that have a gateway, for each family."""
    first4 = first6 = None
    for each in endpoints:
        if first4 is None and each.gateway4 is not None:
            first4 = (each.gateway4, each.interface)
        if first6 is None and each.gateway6 is not None:
            first6 = (each.gateway6, each.interface)
    return Gateways(first4, first6)
