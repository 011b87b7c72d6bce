"""``wherry port audit``: what is reachable from where.

A look at values (`wherry.network.diagnose.topology`), as `trace` takes it for one pair: here for everything at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from wherry.network.diagnose.topology import Participant, Topology
from wherry.network.drivers.table import driver_of
from wherry.network.model import Address, Endpoint, Network, PublishedPort

__all__ = ["Audit", "Exposure", "From", "Neighbours", "audit"]


class From(StrEnum):
    """From where something is reachable; each includes those behind it."""

    EVERYWHERE = "everywhere"  #: clients that reach one of the host's addresses
    LINK = "link"  #: the machines on the link of a parent interface
    HOST = "host"  #: programs on the host only
    NETWORK = "network"  #: containers on the same network only
    NOWHERE = "nowhere"


class Exposure(Struct, frozen=True):
    """One port, or all ports, of one container.

    :ivar port: as ``80/tcp``; ``*`` for every port that a program listens at.
    :ivar at: addresses and ports at which it is reached, as ``192.0.2.1:8080``.
    :ivar listening: whether a program listens there; None when that is not known.
    :ivar why: in a few words.
    """

    container: str
    port: str
    reach: From
    at: tuple[str, ...]
    why: str
    listening: bool | None = None


class Neighbours(Struct, frozen=True):
    """Who reaches whom within one network.

    :ivar open: the containers reach every port of one another.
    :ivar internal: nothing goes in or out.
    """

    network: str
    driver: str
    containers: tuple[str, ...]
    open: bool
    internal: bool


class Audit(Struct, frozen=True):
    """The answer; `warnings` are sentences."""

    ports: tuple[Exposure, ...]
    networks: tuple[Neighbours, ...]
    warnings: tuple[str, ...]


def audit(topology: Topology) -> Audit:
    """Look at everything: widest first."""
    order = list(From)
    ports = sorted(_exposures(topology), key=lambda each: (order.index(each.reach), each.container, each.port))
    return Audit(tuple(ports), tuple(_neighbours(topology)), tuple(_warnings(topology)))


def _exposures(topology: Topology) -> Iterator[Exposure]:
    for participant in topology.participants:
        if not participant.running:
            continue
        if participant.shares_host:
            yield _on_host(topology, participant)
        if participant.shares:
            continue  # listed once, for the owner of the namespace
        for endpoint in participant.endpoints:
            network = topology.network(endpoint.network_id)
            if network is None:
                continue
            if driver_of(network).on_parent_link:
                yield _on_link(participant, endpoint, network)
            yield from _unprotected(participant, endpoint, network)
            for published in endpoint.published:
                yield _published(topology, participant, endpoint, network, published)


def _on_host(topology: Topology, participant: Participant) -> Exposure:
    at = tuple(_at(each.address, "*") for each in topology.host_addresses if not each.address.is_loopback)
    return Exposure(participant.name, "*", From.EVERYWHERE, at, "it has the host's network")


def _on_link(participant: Participant, endpoint: Endpoint, network: Network) -> Exposure:
    at = tuple(_at(address, "*") for address in endpoint.addresses)
    label = f"{network.driver} network {network.name}"
    if not network.borrowed:
        return Exposure(participant.name, "*", From.NETWORK, at, f"{label} has no parent to leave by")
    return Exposure(participant.name, "*", From.LINK, at, f"{label} is on {network.bridge}'s link")


def _unprotected(participant: Participant, endpoint: Endpoint, network: Network) -> Iterator[Exposure]:
    rules = driver_of(network).network_rules(network)
    versions = rules.unprotected if rules is not None and not network.internal else ()
    at = tuple(_at(address, "*") for address in endpoint.addresses if address.version in versions)
    if at:
        why = f"network {network.name} is unprotected: whoever has a route to it"
        yield Exposure(participant.name, "*", From.EVERYWHERE, at, why)


def _published(
    topology: Topology, participant: Participant, endpoint: Endpoint, network: Network, published: PublishedPort
) -> Exposure:
    name = f"{published.container_port}/{published.protocol}"
    inside = endpoint.ipv6 if published.host_address.version == 6 else endpoint.ipv4
    listening = _listens(participant, published, inside)
    if topology.firewall is not None or network.internal:
        why = "this kernel cannot publish ports" if topology.firewall else f"network {network.name} is internal"
        return Exposure(participant.name, name, From.NETWORK, (), why, listening)
    if not published.host_port:
        own = () if inside is None else (_at(inside, published.container_port),)
        return Exposure(participant.name, name, From.EVERYWHERE, own, f"network {network.name} is routed", listening)
    at = tuple(_at(each, published.host_port) for each in _addresses(topology, published.host_address))
    if published.host_address.is_loopback:
        return Exposure(participant.name, name, From.HOST, at, "published on loopback", listening)
    if not at:
        where = published.host_address
        return Exposure(participant.name, name, From.NOWHERE, at, f"the host has no address {where} now", listening)
    everywhere = published.host_address.is_unspecified
    why = "published on every address" if everywhere else f"published on {published.host_address}"
    return Exposure(participant.name, name, From.EVERYWHERE, at, why, listening)


def _listens(participant: Participant, published: PublishedPort, inside: Address | None) -> bool | None:
    if participant.listeners is None or published.protocol == "sctp" or inside is None:
        return None
    return any(each.takes(published.protocol, published.container_port, inside) for each in participant.listeners)


def _addresses(topology: Topology, at: Address) -> list[Address]:
    """The addresses of the host that an address to publish on stands for."""
    if at.is_loopback:
        return [at]
    mine = [each.address for each in topology.host_addresses if not each.address.is_link_local]
    if not at.is_unspecified:
        return [at] if at in mine else []
    return [each for each in mine if each.version == at.version and not each.is_loopback]


def _at(address: Address, port: int | str) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _neighbours(topology: Topology) -> Iterator[Neighbours]:
    for network in topology.networks:
        names = tuple(
            sorted(
                participant.name
                for participant in topology.participants
                if participant.running and participant.on(network.id)
            )
        )
        if names:
            rules = driver_of(network).network_rules(network)
            is_open = driver_of(network).connects(network) and (rules is None or rules.icc)
            yield Neighbours(network.name, network.driver, names, is_open, network.internal)


def _warnings(topology: Topology) -> Iterator[str]:
    if topology.firewall is not None:
        yield topology.firewall
        return
    for each in topology.obstacles:
        yield each.describe()
    for version in (4, 6):
        if version not in topology.forwards and any(_has(topology, version)):
            yield f"the host does not forward IPv{version}: published ports are reached from the host only"


def _has(topology: Topology, version: int) -> Iterator[bool]:
    for participant in topology.participants:
        for endpoint in participant.endpoints:
            yield any(address.version == version for address in endpoint.addresses)
