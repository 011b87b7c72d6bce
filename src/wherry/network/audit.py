"""``wherry port audit``: what is reachable from where.

A look at values (`wherry.network.world`), as `wherry.network.trace` takes it for one pair: here for everything at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from wherry.network.bridge import ICC
from wherry.network.drivers import is_true
from wherry.network.model import Address, Endpoint, Network, Published
from wherry.network.world import Party, World

__all__ = ["Audit", "Exposure", "From", "Neighbours", "audit"]


class From(StrEnum):
    """From where something is reachable; each includes those behind it."""

    EVERYWHERE = "everywhere"  #: whoever reaches one of the host's addresses
    LINK = "link"  #: the machines on the link of a macvlan's parent
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


def audit(world: World) -> Audit:
    """Look at everything: widest first."""
    order = list(From)
    ports = sorted(_exposures(world), key=lambda each: (order.index(each.reach), each.container, each.port))
    return Audit(tuple(ports), tuple(_neighbours(world)), tuple(_warnings(world)))


def _exposures(world: World) -> Iterator[Exposure]:
    for party in world.parties:
        if not party.running:
            continue
        if party.shares_host:
            yield _on_host(world, party)
        if party.shares:
            continue  # told once, of the one whose network it is
        for endpoint in party.endpoints:
            network = world.network(endpoint.network_id)
            if network is None:
                continue
            if network.driver == "macvlan":
                yield _on_link(party, endpoint, network)
            for published in endpoint.published:
                yield _published(world, party, endpoint, network, published)


def _on_host(world: World, party: Party) -> Exposure:
    at = tuple(_at(each.address, "*") for each in world.host_addresses if not each.address.is_loopback)
    return Exposure(party.name, "*", From.EVERYWHERE, at, "it has the host's network")


def _on_link(party: Party, endpoint: Endpoint, network: Network) -> Exposure:
    at = tuple(_at(address, "*") for address in endpoint.addresses)
    if network.internal or not network.bridge:
        return Exposure(party.name, "*", From.NETWORK, at, f"macvlan network {network.name} has no parent to leave by")
    return Exposure(party.name, "*", From.LINK, at, f"macvlan network {network.name} is on {network.bridge}'s link")


def _published(world: World, party: Party, endpoint: Endpoint, network: Network, published: Published) -> Exposure:
    name = f"{published.container_port}/{published.protocol}"
    inside = endpoint.ipv6 if published.host_address.version == 6 else endpoint.ipv4
    listening = _listens(party, published, inside)
    if world.firewall is not None or network.internal:
        why = "this kernel cannot publish ports" if world.firewall else f"network {network.name} is internal"
        return Exposure(party.name, name, From.NETWORK, (), why, listening)
    at = tuple(_at(each, published.host_port) for each in _addresses(world, published.host_address))
    if published.host_address.is_loopback:
        return Exposure(party.name, name, From.HOST, at, "published on loopback", listening)
    if not at:
        where = published.host_address
        return Exposure(party.name, name, From.NOWHERE, at, f"the host has no address {where} now", listening)
    everywhere = published.host_address.is_unspecified
    why = "published on every address" if everywhere else f"published on {published.host_address}"
    return Exposure(party.name, name, From.EVERYWHERE, at, why, listening)


def _listens(party: Party, published: Published, inside: Address | None) -> bool | None:
    if party.listeners is None or published.protocol == "sctp" or inside is None:
        return None
    return any(each.takes(published.protocol, published.container_port, inside) for each in party.listeners)


def _addresses(world: World, at: Address) -> list[Address]:
    """The addresses of the host that an address to publish on stands for."""
    if at.is_loopback:
        return [at]
    mine = [each.address for each in world.host_addresses if not each.address.is_link_local]
    if not at.is_unspecified:
        return [at] if at in mine else []
    return [each for each in mine if each.version == at.version and not each.is_loopback]


def _at(address: Address, port: int | str) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _neighbours(world: World) -> Iterator[Neighbours]:
    for network in world.networks:
        names = tuple(sorted(party.name for party in world.parties if party.running and party.on(network.id)))
        if names:
            is_open = network.driver != "bridge" or is_true(network.options, ICC, True)
            yield Neighbours(network.name, network.driver, names, is_open, network.internal)


def _warnings(world: World) -> Iterator[str]:
    if world.firewall is not None:
        yield world.firewall
        return
    for each in world.obstacles:
        yield each.describe()
    for version in (4, 6):
        if version not in world.forwards and any(_has(world, version)):
            yield f"the host does not forward IPv{version}: published ports are reached from the host only"


def _has(world: World, version: int) -> Iterator[bool]:
    for party in world.parties:
        for endpoint in party.endpoints:
            yield any(address.version == version for address in endpoint.addresses)
