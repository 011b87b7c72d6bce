"""Published ports, as a client that wants to reach a container sees them; see `trace`."""

from __future__ import annotations

from wherry.network.diagnose.topology import Participant, Topology
from wherry.network.drivers.table import driver_of
from wherry.network.model import Address, Endpoint, Network, PublishedPort

__all__ = ["instead", "opened", "published_at"]


def published_at(
    topology: Topology, protocol: str, port: int, address: Address | None, *, on_host: bool
) -> tuple[Participant, Endpoint, int] | None:
    """Whose port it is that is published at the host's address and port, and which of the container's it is.

    :param address: None: at any that the asker may reach.
    :param on_host: whether the asker is the host itself, whom loopback addresses are for.
    """
    for participant in topology.participants:
        for endpoint in () if participant.shares else participant.endpoints:
            for each in endpoint.published:
                at = each.host_address
                anywhere = address is None and (on_host or not at.is_loopback)
                fits = anywhere or at == address or (at.is_unspecified and address and at.version == address.version)
                if (each.protocol, each.host_port) == (protocol, port) and fits:
                    return participant, endpoint, each.container_port
    return None


def opened(network: Network, endpoint: Endpoint, protocol: str, port: int | None, version: int) -> str:
    """By which rule others reach an endpoint at its own address, as the chain names it; empty: they do not.

    :param port: None: whether any packet arrives.
    """
    rules = driver_of(network).network_rules(network)
    if rules is None or network.internal:
        return ""
    if version in rules.unprotected:
        return "an unprotected network"
    if version not in rules.routed:
        return ""
    if port is None:
        return "ICMP to a routed network" if version == 4 else "ICMPv6 to a routed network"
    own = ((one.protocol, one.container_port) for one in endpoint.published if one.host_address.version == version)
    return ("open port" if version == 4 else "open port, IPv6") if (protocol, port) in own else ""


def instead(participant: Participant, endpoint: Endpoint, protocol: str, port: int | None) -> str:
    """How else a client that is not the host reaches a container.

    :param port: the container's port that is wanted; None stands for any.
    """
    wanted = [
        each for each in endpoint.published if port is None or (each.protocol, each.container_port) == (protocol, port)
    ]
    ways = sorted({_way(each) for each in wanted if not each.host_address.is_loopback})
    if ways:
        return f"{participant.name} is published: use {' or '.join(ways)}"
    if wanted:
        here = ", ".join(sorted({_at(each) for each in wanted}))
        return (
            f"{participant.name} is published at {here} only, which is for the host itself: join one of its networks, "
            "or publish the port without that address"
        )
    return f"join one of {participant.name}'s networks, or publish the port"


def _way(published: PublishedPort) -> str:
    if not published.host_port:
        return f"its own address and port {published.container_port}/{published.protocol}"
    if published.host_address.is_unspecified:
        return f"an address of the host and port {published.host_port}/{published.protocol}"
    return _at(published)


def _at(published: PublishedPort) -> str:
    host = published.host_address
    return f"{f'[{host}]' if host.version == 6 else host}:{published.host_port}/{published.protocol}"
