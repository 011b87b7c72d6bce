"""What a walk over the networks needs to know, as values: for `trace` and `audit`."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from wherry.network.diagnose.listeners import Listener
from wherry.network.firewall.foreign import Obstacle
from wherry.network.model import Address, Endpoint, Network

__all__ = ["HostAddress", "Participant", "Topology", "names", "plain"]


class HostAddress(Struct, frozen=True):
    """An address of the host's, and the interface that has it."""

    address: Address
    interface: str


class Participant(Struct, frozen=True, kw_only=True):
    """One container.

    :ivar hostname: a further name of it.
    :ivar shares_host: it is in the network namespace of the host (``--network host``).
    :ivar shares: the name of the one whose network namespace it is in (``--network container:NAME``).
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
        """Its endpoint on a network."""
        return next((endpoint for endpoint in self.endpoints if endpoint.network_id == network_id), None)


class Topology(Struct, frozen=True, kw_only=True):
    """Networks, containers and the host, as a trace looks at them.

    :ivar participants: all containers, also those that do not run.
    :ivar host_addresses: of every interface of the host, loopback and bridges included.
    :ivar host_listeners: at which ports the host's own programs listen; None when that is not known.
    :ivar forwards: the versions of IP that the host forwards.
    :ivar obstacles: other programs' packet filters that stand in the way.
    :ivar firewall: why our tables are not there; None when they are.
    """

    networks: tuple[Network, ...]
    participants: tuple[Participant, ...]
    host_addresses: tuple[HostAddress, ...] = ()
    host_listeners: tuple[Listener, ...] | None = None
    forwards: tuple[int, ...] = (4, 6)
    obstacles: tuple[Obstacle, ...] = ()
    firewall: str | None = None

    def network(self, network_id: str) -> Network | None:
        """The network of that ID."""
        return next((network for network in self.networks if network.id == network_id), None)

    def participant(self, reference: str) -> Participant | None:
        """The participant with that name, ID, or unambiguous beginning of an ID."""
        for participant in self.participants:
            if reference in (participant.name, participant.owner):
                return participant
        found = [
            participant for participant in self.participants if reference and participant.owner.startswith(reference)
        ]
        return found[0] if len(found) == 1 else None

    def members(self, network: Network) -> Iterator[tuple[Participant, Endpoint]]:
        """Running participants with an address on a network; those in the namespace of another are left out."""
        for participant in self.participants:
            endpoint = participant.on(network.id)
            if endpoint is not None and endpoint.addresses and participant.running and not participant.shares:
                yield participant, endpoint

    def looked_up(self, source: Participant, name: str) -> Iterator[tuple[Network, Endpoint]]:
        """The endpoints that a name resolves to for a participant, by the rules of `wherry.network.dns.names`."""
        for mine in source.endpoints:
            network = self.network(mine.network_id)
            if network is None or network.is_default_bridge:
                continue
            sought = plain(name).removesuffix(f".{network.name.lower()}")
            links = {alias.lower(): target for target, _, alias in (each.rpartition(":") for each in mine.links)}
            linked = self.participant(links[sought]) if sought in links else None
            for participant, theirs in self.members(network):
                if participant is linked or (sought not in links and sought in names(participant, theirs)):
                    yield network, theirs

    def holder_of(self, address: Address) -> tuple[Participant, Endpoint] | None:
        """The participant with an address; of those that share a namespace, the owner of it."""
        found = [
            (participant, each)
            for participant in self.participants
            for each in participant.endpoints
            if address in each.addresses
        ]
        return min(found, key=lambda one: (not one[0].running, bool(one[0].shares)), default=None)

    def is_host(self, address: Address) -> bool:
        """Whether it is an address of the host's; all of 127.0.0.0/8 and ``::1`` are."""
        return address.is_loopback or any(each.address == address for each in self.host_addresses)


def plain(name: str) -> str:
    """A name as it is compared with others."""
    return name.lower().removesuffix(".")


def names(participant: Participant, endpoint: Endpoint) -> set[str]:
    """The names of a participant on a network, in lower case."""
    return {
        each.lower()
        for each in (participant.name, participant.owner[:12], participant.hostname, *endpoint.aliases)
        if each
    }
