"""What there is, in memory and in the tables: networks, endpoints, addresses, ports.

Nothing here waits or asks the kernel. A step is either done whole, or raises and leaves everything as it was; so two
that ask at once never get the same address or port.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeVar

from msgspec.structs import replace

from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, WherryError
from wherry.network.addresses import AddressPool, mac_of, parse_mac
from wherry.network.definition import ROUTER
from wherry.network.drivers import check_interface_name
from wherry.network.model import IFNAME, IFPREFIX, Address, Endpoint, Gateways, Network, PortRequest, Subnet, Wishes
from wherry.network.ports import PortTable
from wherry.network.state import State

__all__ = ["Book", "check_wishes", "gateways_of"]

_T = TypeVar("_T", IPv4Address, IPv6Address)
_INTERFACE: Final = "eth"
_ID_LENGTH: Final = 64


class Book:
    """Networks and endpoints, with what they hold.

    :param state: the tables; read at once.
    :raises CorruptData: a row cannot be read.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.networks: dict[str, Network] = {network.id: network for network in state.networks()}
        self.endpoints: dict[str, Endpoint] = {}
        self._by_owner: dict[str, dict[str, Endpoint]] = {}  # owner, network
        self._by_network: dict[str, dict[str, Endpoint]] = {}  # network, endpoint
        self._pools: dict[tuple[str, int], AddressPool] = {}
        self.ports = PortTable()
        self.links: dict[str, str] = {}  # interfaces in the host that are made, with the bridge of each
        self.gateways: set[Address] = set()  # of bridges that are made
        for network in self.networks.values():
            self._open_pools(network)
        for endpoint in state.endpoints():
            self._read(endpoint)

    def _read(self, endpoint: Endpoint) -> None:
        """Take an endpoint over as it was when the last daemon ended."""
        if endpoint.network_id not in self.networks:
            self._state.delete_endpoint(endpoint.id)
            return
        self._claim(endpoint)
        self.ports.restore(endpoint)
        self._index(endpoint)

    # --- networks

    def add_network(self, network: Network) -> None:
        """Write a network down; another of its name must not be there.

        :raises Conflict: there is one.
        """
        if any(other.name == network.name for other in self.networks.values()):
            raise Conflict(f"network with name {network.name} already exists")
        self.put_network(network)

    def put_network(self, network: Network) -> None:
        """Write a network down, in place of what was known of it."""
        self._state.put_network(network)
        self.networks[network.id] = network
        self._open_pools(network)
        for endpoint in self._by_network.get(network.id, {}).values():
            self._claim(endpoint)

    def network_made(self, network: Network) -> None:
        """Note down that a network is in the kernel: from now on it is missed when it is not."""
        if network.bridge and not network.borrowed:
            self.links[network.bridge] = ""
            if network.driver == "bridge":
                self.gateways |= _gateways(network)

    def endpoint_made(self, endpoint: Endpoint) -> None:
        """Note down that an endpoint is in the kernel."""
        if endpoint.host_interface and endpoint.id in self.endpoints:
            self.links[endpoint.host_interface] = self.networks[endpoint.network_id].bridge

    def remove_network(self, network: Network) -> None:
        """Forget a network."""
        if self.links.pop(network.bridge, None) is not None:
            self.gateways -= _gateways(network)
        self._state.delete_network(network.id)
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

    # --- endpoints

    def on_network(self, network_id: str) -> tuple[Endpoint, ...]:
        """The endpoints on a network, those that are only prepared included."""
        return tuple(self._by_network.get(network_id, {}).values())

    def of_owner(self, owner: str) -> dict[str, Endpoint]:
        """The endpoints of an owner by network, in the order of joining."""
        return self._by_owner.get(owner, {})

    def owners(self) -> set[str]:
        """Whoever has an endpoint."""
        return set(self._by_owner)

    def draft(self, network: Network, owner: str, owner_name: str, wishes: Wishes) -> Endpoint:
        """An endpoint with addresses, a name and all that follows; nothing but the addresses is taken yet.

        :raises Forbidden: no address is free, or the one wished for is taken.
        :raises InvalidInput: a wish cannot be fulfilled.
        """
        mac = parse_mac(wishes.mac) if wishes.mac else None
        name = wishes.driver_options.get(IFNAME) or self._free_name(owner, network.options.get(IFPREFIX) or _INTERFACE)
        check_interface_name(name)
        check_wishes(network, wishes)
        ipv4 = self._address(network, 4, wishes.ipv4)
        try:
            ipv6 = self._address(network, 6, wishes.ipv6)
        except WherryError:
            self._give_back(network, ipv4)
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
            host_interface=f"wv{identifier[:12]}" if network.driver == "bridge" else "",
            mac=mac or mac_of(ipv4, identifier),
            ipv4=ipv4,
            ipv4_prefix=network.subnet4.network.prefixlen if network.subnet4 else 0,
            ipv6=ipv6,
            ipv6_prefix=network.subnet6.network.prefixlen if network.subnet6 else 0,
            link_local=wishes.link_local,
            gateway4=_router(network, network.subnet4, IPv4Address),
            gateway6=_router(network, network.subnet6, IPv6Address),
            aliases=wishes.aliases,
            links=wishes.links,
            driver_options=wishes.driver_options,
            priority=wishes.priority,
        )

    def publish(self, endpoint: Endpoint, requests: Iterable[PortRequest], default: Address | None) -> Endpoint:
        """Take ports for an endpoint besides those that it has.

        :raises InvalidInput: a request makes no sense.
        :raises SystemFault: a port is taken.
        """
        found = self.ports.allocate(endpoint, requests, default)
        return replace(endpoint, published=(*endpoint.published, *found)) if found else endpoint

    def add(self, endpoint: Endpoint) -> None:
        """Write an endpoint down, or write it anew."""
        if endpoint.owner:  # nobody's is a warm spare, which ends with the daemon
            self._state.put_endpoint(endpoint)
        self._index(endpoint)

    def drop(self, endpoint: Endpoint) -> bool:
        """Forget an endpoint and give back what it held; again, it has no effect.

        :returns: whether it was there.
        """
        if self.endpoints.pop(endpoint.id, None) is None:
            return False
        self.links.pop(endpoint.host_interface, None)
        if endpoint.owner:
            self._state.delete_endpoint(endpoint.id)
        mine = self._by_owner.get(endpoint.owner, {})
        mine.pop(endpoint.network_id, None)
        if not mine:
            self._by_owner.pop(endpoint.owner, None)
        self._by_network.get(endpoint.network_id, {}).pop(endpoint.id, None)
        self.abandon(endpoint)
        return True

    def abandon(self, endpoint: Endpoint) -> None:
        """Give back what a drafted endpoint holds."""
        self.ports.release(endpoint.id, endpoint.published)
        network = self.networks.get(endpoint.network_id)
        if network is not None:
            for address in endpoint.addresses:
                self._give_back(network, address)

    def target_at_localhost6(self, protocol: str, port: int) -> tuple[Address, int] | None:
        """Where a port leads that is published at [::1]; None when none is."""
        from wherry.network.localhost6 import target_among  # noqa: PLC0415 - whoever asks has imported it

        holders = self.ports.holders(protocol, port)
        return target_among((self.endpoints[each] for each in holders if each in self.endpoints), protocol, port)

    def _index(self, endpoint: Endpoint) -> None:
        self.endpoints[endpoint.id] = endpoint
        if endpoint.owner:
            self._by_owner.setdefault(endpoint.owner, {})[endpoint.network_id] = endpoint
        self._by_network.setdefault(endpoint.network_id, {})[endpoint.id] = endpoint

    def _claim(self, endpoint: Endpoint) -> None:
        """Take the addresses that an endpoint has already."""
        for address in endpoint.addresses:
            pool = self._pools.get((endpoint.network_id, address.version))
            if pool is not None:
                with suppress(WherryError):  # the subnet is another one now; the address goes with its owner
                    pool.claim(address)

    def _free_name(self, owner: str, prefix: str) -> str:
        taken = {endpoint.interface for endpoint in self.of_owner(owner).values()}
        return next(name for number in range(len(taken) + 1) if (name := f"{prefix}{number}") not in taken)

    def _address(self, network: Network, version: int, wish: Address | None) -> Address | None:
        pool = self._pools.get((network.id, version))
        if pool is None:
            return None
        if wish is not None:
            pool.claim(wish)
            return wish
        found = pool.take()
        if found is None:
            where = f"{network.name} ({network.id})"
            raise Forbidden(f"no available IPv{version} addresses on this network's address pools: {where}")
        return found

    def _give_back(self, network: Network, address: Address | None) -> None:
        if address is not None and (network.id, address.version) in self._pools:
            self._pools[network.id, address.version].give_back(address)

    # --- routes

    def routes_of(self, owner: str) -> Gateways:
        """Where an owner's default routes lead: the highest priority wins, then the network's name."""
        places = sorted(self.of_owner(owner).values(), key=lambda e: (-e.priority, self.networks[e.network_id].name))
        return gateways_of(places)


def _gateways(network: Network) -> set[Address]:
    return {subnet.gateway for subnet in network.subnets if subnet.gateway is not None}


def _router(network: Network, subnet: Subnet | None, kind: type[_T]) -> _T | None:
    """Where the default route of an endpoint leads: the bridge, unless another router is configured."""
    if subnet is None or network.internal or network.driver == "dummy":
        return None
    found = subnet.auxiliary.get(ROUTER[subnet.network.version], subnet.gateway)
    return found if isinstance(found, kind) else None


def check_wishes(network: Network, wishes: Wishes) -> None:
    """Refuse addresses that no subnet of the network has, in Docker's words.

    :raises InvalidInput: one is wished for.
    """
    for address, subnet in ((wishes.ipv4, network.subnet4), (wishes.ipv6, network.subnet6)):
        if address is None:
            continue
        if network.is_default_bridge:
            raise InvalidInput("user specified IP address is supported on user defined networks only")
        if not network.chosen:
            raise InvalidInput(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
        if subnet is None or address not in subnet.network:
            raise InvalidInput(f"no configured subnet contains IP address {address}")


def gateways_of(places: Iterable[Endpoint]) -> Gateways:
    """The default routes by the first of those endpoints that have a gateway, for each family."""
    first4 = first6 = None
    for each in places:
        if first4 is None and each.gateway4 is not None:
            first4 = (each.gateway4, each.interface)
        if first6 is None and each.gateway6 is not None:
            first6 = (each.gateway6, each.interface)
    return Gateways(first4, first6)
