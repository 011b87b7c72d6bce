"""Networks on a bridge that the host has already, perhaps with a network card or virtual machines on it.

It is borrowed: what a network needs to work on it is switched on, and off again in the end. Its addresses, its ports
and its life are its owner's. (Docker gives such a bridge the network's address, in place of its own.)
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Final

from msgspec.structs import replace

from wherry.errors import InvalidInput
from wherry.linux import rtnetlink
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.network.model import Network, NetworkRequest, NetworkSettings, SubnetRequest

__all__ = ["MTU", "NAME", "borrow", "place_default", "place_request", "wants_host_bridge"]

NAME: Final = "com.docker.network.bridge.name"
"""The driver's option that names the bridge."""

MTU: Final = "com.docker.network.driver.mtu"

_Interface = IPv4Interface | IPv6Interface


def wants_host_bridge(request: NetworkRequest, mark: str) -> bool:
    """Whether the bridge that a request names is there, and not one of ours.

    :param mark: what our own have as their alias.
    """
    name = request.options.get(NAME, "")
    if not name or request.driver != "bridge":
        return False
    with NetlinkSocket(Family.ROUTE) as conversation:
        link = rtnetlink.find_link(conversation, name)
    return link is not None and link.kind == "bridge" and link.alias != mark


def place_request(request: NetworkRequest) -> NetworkRequest:
    """A request for a network on a bridge of the host's, with the bridge's addresses where it names none.

    :raises InvalidInput: the bridge has none.
    """
    bridge = request.options[NAME]
    addresses, _ = _look_at(bridge)
    if any(entry.subnet for entry in request.subnets):
        gateways = {str(each.network): str(each.ip) for each in reversed(addresses)}
        subnets = [replace(each, gateway=each.gateway or gateways.get(each.subnet, "")) for each in request.subnets]
        ipv6 = request.ipv6 or any(":" in each.subnet for each in subnets)
    else:
        first4, first6 = _firsts(bridge, addresses, ipv4=request.ipv4 is not False, ipv6=request.ipv6)
        found = [each for each in (first4, first6) if each is not None]
        subnets = [SubnetRequest(str(each.network), gateway=str(each.ip)) for each in found]
        ipv6 = first6 is not None
    return replace(request, ipv6=ipv6, subnets=tuple(subnets))


def borrow(network: Network) -> Network:
    """The definition that came of such a request.

    :raises InvalidInput: it wants a gateway whose address the bridge does not have.
    """
    addresses, mtu = _look_at(network.bridge)
    for subnet in network.subnets:
        wanted = f"{subnet.gateway}/{subnet.network.prefixlen}"
        if wanted not in map(str, addresses):
            has = ", ".join(map(str, addresses)) or "none"
            raise InvalidInput(f"bridge {network.bridge} does not have the address {wanted}", hint=f"it has {has}")
    return replace(network, borrowed=True, mtu=network.mtu if network.options.get(MTU) else mtu)


def place_default(settings: NetworkSettings) -> NetworkSettings:
    """The daemon's settings for a default network on a bridge of the host's (``--bridge``).

    :raises InvalidInput: there is no such bridge, or it has no address.
    """
    addresses, mtu = _look_at(settings.bridge)
    first4, first6 = _firsts(settings.bridge, addresses, ipv4=True, ipv6=settings.ipv6)
    return replace(settings, bip=str(first4), bip6=str(first6 or ""), ipv6=first6 is not None, mtu=settings.mtu or mtu)


def _firsts(
    bridge: str, addresses: Sequence[_Interface], *, ipv4: bool, ipv6: bool | None
) -> tuple[_Interface | None, _Interface | None]:
    """The first address of each family that is wanted; of IPv6 with None: if it has one."""
    found: list[_Interface | None] = []
    for version, wanted in ((4, ipv4), (6, ipv6)):
        first = next((each for each in addresses if each.version == version), None)
        if wanted and first is None:
            raise InvalidInput(f"bridge {bridge} has no IPv{version} address")
        found.append(None if wanted is False else first)
    return found[0], found[1]


def _look_at(bridge: str) -> tuple[list[_Interface], int]:
    """Its addresses, without link-local ones, and its MTU.

    :raises InvalidInput: there is no such bridge.
    """
    with NetlinkSocket(Family.ROUTE) as conversation:
        link = rtnetlink.find_link(conversation, bridge)
        if link is None:
            raise InvalidInput(f"bridge device with non default name {bridge} must be created manually")
        if link.kind != "bridge":
            raise InvalidInput(f"existing interface {bridge} is not a bridge")
        found = [entry for entry in rtnetlink.addresses(conversation) if entry.link == link.number]
    own = [ip_interface(f"{entry.address}/{entry.prefix}") for entry in found if not entry.address.is_link_local]
    return own, link.mtu
