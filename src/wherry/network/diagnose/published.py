"""Published ports, as a client that wants to reach a container sees them; see `trace`."""

from __future__ import annotations

from wherry.network.diagnose.topology import Participant, Topology
from wherry.network.model import Address, Endpoint, PublishedPort

__all__ = ["instead", "published_at"]


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
    if published.host_address.is_unspecified:
        return f"an address of the host and port {published.host_port}/{published.protocol}"
    return _at(published)


def _at(published: PublishedPort) -> str:
    host = published.host_address
    return f"{f'[{host}]' if host.version == 6 else host}:{published.host_port}/{published.protocol}"
