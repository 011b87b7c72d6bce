"""What a walk over the networks needs to know, as values: for `wherry.network.trace` and `wherry.network.audit`."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from wherry.network.listeners import Listener
from wherry.network.model import Address, Endpoint, Network
from wherry.network.rules_foreign import Obstacle

__all__ = ["HostAddress", "Party", "World", "names", "plain"]


class HostAddress(Struct, frozen=True):
    """An address of the host's, and the interface that has it."""

    address: Address
    interface: str


class Party(Struct, frozen=True, kw_only=True):
    """Somebody with a place on networks.

    :ivar hostname: by which it is found, too.
    :ivar shares_host: it has no network of its own, but the host's (``--network host``).
    :ivar shares: the name of the one whose network it has (``--network container:NAME``), with the endpoints.
    :ivar listeners: at which ports its programs listen; None when that is not known.
    """

    owner: str
    name: str
    running: bool = True
    hostname: str = ""
    shares_host: bool = False
    shares: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    listeners: tuple[Listener, ...] | None = None

    def on(self, network_id: str) -> Endpoint | None:
        """Its place on a network."""
        return next((endpoint for endpoint in self.endpoints if endpoint.network_id == network_id), None)


class World(Struct, frozen=True, kw_only=True):
    """What there is.

    :ivar parties: all containers, also those that do not run.
    :ivar host_addresses: of every interface of the host, loopback and bridges included.
    :ivar host_listeners: at which ports the host's own programs listen; None when that is not known.
    :ivar forwards: the versions of IP that the host forwards.
    :ivar obstacles: other programs' packet filters that stand in the way.
    :ivar firewall: why there is none of ours; None when there is.
    """

    networks: tuple[Network, ...]
    parties: tuple[Party, ...]
    host_addresses: tuple[HostAddress, ...] = ()
    host_listeners: tuple[Listener, ...] | None = None
    forwards: tuple[int, ...] = (4, 6)
    obstacles: tuple[Obstacle, ...] = ()
    firewall: str | None = None

    def network(self, network_id: str) -> Network | None:
        """The network of that ID."""
        return next((network for network in self.networks if network.id == network_id), None)

    def party(self, reference: str) -> Party | None:
        """Whoever has that name or ID, or an ID that alone begins so."""
        for party in self.parties:
            if reference in (party.name, party.owner):
                return party
        found = [party for party in self.parties if reference and party.owner.startswith(reference)]
        return found[0] if len(found) == 1 else None

    def members(self, network: Network) -> Iterator[tuple[Party, Endpoint]]:
        """Who is there and has names there: who shares another's network has none."""
        for party in self.parties:
            endpoint = party.on(network.id)
            if endpoint is not None and endpoint.addresses and party.running and not party.shares:
                yield party, endpoint

    def called(self, source: Party, name: str) -> Iterator[tuple[Network, Endpoint]]:
        """Those that somebody finds by a name, as `wherry.network.dns.names` does it."""
        for mine in source.endpoints:
            network = self.network(mine.network_id)
            if network is None or network.is_default_bridge:
                continue
            sought = plain(name).removesuffix(f".{network.name.lower()}")
            links = {alias.lower(): target for target, _, alias in (each.rpartition(":") for each in mine.links)}
            linked = self.party(links[sought]) if sought in links else None
            for party, theirs in self.members(network):
                if party is linked or (sought not in links and sought in names(party, theirs)):
                    yield network, theirs

    def holder(self, address: Address) -> tuple[Party, Endpoint] | None:
        """Whose address it is, if it is a container's; of those that share a network, the one that it belongs to."""
        found = [(party, each) for party in self.parties for each in party.endpoints if address in each.addresses]
        return min(found, key=lambda one: (not one[0].running, bool(one[0].shares)), default=None)

    def is_host(self, address: Address) -> bool:
        """Whether it is an address of the host's; all of 127.0.0.0/8 and ``::1`` are."""
        return address.is_loopback or any(each.address == address for each in self.host_addresses)


def plain(name: str) -> str:
    """A name as it is compared with others."""
    return name.lower().removesuffix(".")


def names(party: Party, endpoint: Endpoint) -> set[str]:
    """By which somebody is found on a network, in lower case."""
    return {each.lower() for each in (party.name, party.owner[:12], party.hostname, *endpoint.aliases) if each}
