"""From what a container asks of a network to what `wherry.network` understands."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from wherry.engine.config import EndpointIpam, EndpointSettings
from wherry.network.model import PortRequest, Wishes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wherry.network.model import Network, Published

__all__ = ["publishing_network", "same_ports", "wishes_of"]


def wishes_of(settings: EndpointSettings, ports: tuple[PortRequest, ...]) -> Wishes:
    """The wishes of a membership; its texts have been checked.

    :param ports: what is published through this network.
    """
    ipam = settings.ipam_config or EndpointIpam()
    return Wishes(
        ipv4=IPv4Address(ipam.ipv4_address) if ipam.ipv4_address else None,
        ipv6=IPv6Address(ipam.ipv6_address) if ipam.ipv6_address else None,
        link_local=tuple(ip_address(text) for text in ipam.link_local_ips or ()),
        mac=settings.mac_address or None,
        aliases=tuple(settings.aliases or ()),
        links=tuple(settings.links or ()),
        driver_options=dict(settings.driver_opts or {}),
        priority=settings.gw_priority or 0,
        publish=ports,
    )


def same_ports(published: Iterable[Published], network: Network) -> tuple[PortRequest, ...]:
    """Requests for exactly the places on the host that are published now, as far as a network has their family."""
    has = {subnet.network.version for subnet in network.subnets}
    return tuple(
        PortRequest(one.protocol, one.container_port, one.host_address, one.host_port, one.host_port)
        for one in published
        if one.host_address.version in has
    )


def publishing_network(networks: Sequence[Network], members: Mapping[str, EndpointSettings]) -> Network | None:
    """The network through which a container's ports are published: the one that will have the default route.

    Through any other the answers would not find back. Internal networks have neither.
    """
    reachable = [network for network in networks if network.driver == "bridge" and not network.internal]
    return min(reachable, key=lambda network: (-(members[network.name].gw_priority or 0), network.name), default=None)
