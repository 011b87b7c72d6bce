"""Endpoint requests: translate a container's Docker settings for one network to the types of `wherry.network`."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from wherry.docker.networks import EndpointIpam, EndpointSettings
from wherry.docker.ports import exposed_ports
from wherry.network.drivers.table import driver_of
from wherry.network.model import EndpointRequest, LinkedPorts, PortRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from wherry.docker.container_requests import HostConfig
    from wherry.engine.container.container import Container
    from wherry.network.model import Address, Network, PublishedPort

__all__ = [
    "Addresses",
    "endpoint_request",
    "has_ipv6_inside",
    "linked_ports_of",
    "publishing_network",
    "request_again",
    "same_ports",
]

_LOCALHOST6: Final = IPv6Address("::1")
_DISABLED: Final = re.compile(r"net[./]ipv6[./]conf[./](.+)[./]disable_ipv6")


def endpoint_request(
    host: HostConfig, settings: EndpointSettings, ports: tuple[PortRequest, ...], linked: Iterable[Container] = ()
) -> EndpointRequest:
    """The request for the endpoint of a membership whose texts have been checked.

    :param host: of the container; its sysctls may disable IPv6.
    :param ports: the ports to publish through this network.
    :param linked: containers on this network that it links to: their exposed ports are opened to it.
    """
    ipam = settings.ipam_config or EndpointIpam()
    return EndpointRequest(
        ipv4=IPv4Address(ipam.ipv4_address) if ipam.ipv4_address else None,
        ipv6=IPv6Address(ipam.ipv6_address) if ipam.ipv6_address else None,
        link_local=tuple(ip_address(text) for text in ipam.link_local_ips or ()),
        mac=settings.mac_address or None,
        aliases=tuple(settings.aliases or ()),
        links=tuple(settings.links or ()),
        linked_ports=linked_ports_of(linked),
        driver_options=dict(settings.driver_opts or {}),
        without_ipv6=_without_ipv6(host),
        priority=settings.gw_priority or 0,
        publish=ports,
    )


class Addresses(NamedTuple):
    """What an endpoint has had."""

    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    mac: str


def request_again(request: EndpointRequest, before: Addresses) -> EndpointRequest:
    """The same request, for addresses that there were before."""
    ipv6 = None if request.without_ipv6 else before.ipv6
    return replace(request, ipv4=before.ipv4, ipv6=ipv6, mac=request.mac or before.mac or None, had_before=True)


def linked_ports_of(linked: Iterable[Container]) -> tuple[LinkedPorts, ...]:
    """The exposed ports of linked containers, to be opened to the container with the links."""
    served = ((each.id, exposed_ports(each.config, each.host)) for each in linked)
    return tuple(LinkedPorts(owner, tuple((protocol, number) for number, protocol in ports)) for owner, ports in served)


def _without_ipv6(host: HostConfig) -> frozenset[str]:
    """The interfaces for which a container's sysctls disable IPv6; also ``all`` and ``default``."""
    found = ((_DISABLED.fullmatch(name), value) for name, value in (host.sysctls or {}).items())
    return frozenset(match[1] for match, value in found if match and value.strip() not in ("", "0"))


def has_ipv6_inside(host: HostConfig) -> bool:
    """Whether a container has IPv6 on its loopback interface."""
    return not _without_ipv6(host) & {"all", "default", "lo"}


def same_ports(published: Iterable[PublishedPort], network: Network) -> tuple[PortRequest, ...]:
    """Requests for the host addresses and ports that are published now, on a network that may lack a family."""
    has = {subnet.network.version for subnet in network.subnets}
    moved = dict.fromkeys(
        PortRequest(one.protocol, one.container_port, address, one.host_port or None, one.host_port or None)
        for one in published
        if (address := _kept(one, has)) is not None
    )
    return tuple(moved)


def _kept(published: PublishedPort, has: Collection[int]) -> Address | None:
    """The host address at which a port stays published; on a network without IPv6 [::1], served by a proxy."""
    address = published.host_address
    if address.version in has:
        return address
    may_be_there = address == _LOCALHOST6 or (address.version == 6 and address.is_unspecified)
    return _LOCALHOST6 if may_be_there and published.protocol != "sctp" else None


def publishing_network(networks: Sequence[Network], members: Mapping[str, EndpointSettings]) -> Network | None:
    """The network through which a container's ports are published: the one that will have the default route.

    Through any other the answers would not find back. Internal networks have neither.
    """
    reachable = [network for network in networks if driver_of(network).publishes and not network.internal]
    return min(reachable, key=lambda network: (-(members[network.name].gw_priority or 0), network.name), default=None)
