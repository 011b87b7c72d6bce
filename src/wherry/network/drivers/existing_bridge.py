"""Networks on a bridge that the host has already, perhaps with a network card or virtual machines on it.

It is borrowed: settings that a network needs are switched on, and off again when the network is removed. Its addresses
and ports are left alone, and it stays. (Docker gives such a bridge the network's address, in place of its own.)
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from msgspec import Struct
from msgspec.structs import replace

from wherry.errors import InvalidInput
from wherry.linux import rtnetlink
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.network.drivers.gateway_mode import GatewayMode, gateway_mode, has_host_address
from wherry.network.model import BRIDGE_NAME, MTU, Network, NetworkRequest, NetworkSettings, SubnetRequest

__all__ = ["ExistingBridge", "default_on", "wanted"]

_Interface = IPv4Interface | IPv6Interface


class ExistingBridge(Struct, frozen=True):
    """A bridge that the host has, and that is not one of ours.

    :ivar addresses: its own with their prefix lengths, without link-local ones.
    :ivar mtu: in bytes.
    """

    name: str
    addresses: tuple[_Interface, ...]
    mtu: int

    def with_subnets(self, request: NetworkRequest) -> NetworkRequest:
        """A request for a network on it, with its addresses where the request names none.

        :raises InvalidInput: it has none.
        """
        if any(entry.subnet for entry in request.subnets):
            gateways = {str(each.network): str(each.ip) for each in reversed(self.addresses)}
            subnets = [replace(each, gateway=each.gateway or gateways.get(each.subnet, "")) for each in request.subnets]
        else:
            first4, first6 = self.firsts(ipv4=request.ipv4 is not False, ipv6=bool(request.ipv6))
            found = [each for each in (first4, first6) if each is not None]
            subnets = [SubnetRequest(str(each.network), gateway=str(each.ip)) for each in found]
        return replace(request, subnets=tuple(subnets))

    def borrow(self, network: Network) -> Network:
        """The definition that came of such a request.

        :raises InvalidInput: it wants a gateway whose address the bridge does not have.
        """
        own = [str(each) for each in self.addresses]
        for subnet in network.subnets:
            if gateway_mode(network.options, subnet.network.version) is GatewayMode.ISOLATED:
                raise InvalidInput(f"gateway mode 'isolated' needs a bridge of its own, and {self.name} is the host's")
            if not has_host_address(network, subnet.network.version):
                continue
            gateway = f"{subnet.gateway}/{subnet.network.prefixlen}"
            if gateway not in own:
                hint = f"it has {', '.join(own) or 'none'}"
                raise InvalidInput(f"bridge {self.name} does not have the address {gateway}", hint=hint)
        return replace(network, borrowed=True, mtu=network.mtu if network.options.get(MTU) else self.mtu)

    def firsts(self, *, ipv4: bool, ipv6: bool) -> tuple[_Interface | None, _Interface | None]:
        """Its first address of each family that is wanted.

        :raises InvalidInput: it has none.
        """
        found: list[_Interface | None] = []
        for version, needed in ((4, ipv4), (6, ipv6)):
            first = next((each for each in self.addresses if each.version == version), None)
            if needed and first is None:
                raise InvalidInput(f"bridge {self.name} has no IPv{version} address")
            found.append(first if needed else None)
        return found[0], found[1]


def wanted(request: NetworkRequest, alias: str) -> ExistingBridge | None:
    """The bridge that a request for a bridge network names, if the host has it and it is not one of ours.

    :param alias: what our own have as their alias.
    """
    name = request.options.get(BRIDGE_NAME, "")
    if not name:
        return None
    with NetlinkSocket(Family.ROUTE) as conversation:
        link = rtnetlink.find_link(conversation, name)
        if link is None or link.kind != "bridge" or link.alias == alias:
            return None
        return _with_addresses(conversation, link)


def default_on(settings: NetworkSettings, old: Network | None) -> NetworkSettings:
    """The daemon's settings for a default network on a bridge of the host's (``--bridge``).

    :param old: the default network as it was so far, and goes on where the settings say nothing.
    :raises InvalidInput: there is no such bridge, or it has no address.
    """
    with NetlinkSocket(Family.ROUTE) as conversation:
        link = rtnetlink.find_link(conversation, settings.bridge)
        if link is None:
            raise InvalidInput(f"bridge device with non default name {settings.bridge} must be created manually")
        if link.kind != "bridge":
            raise InvalidInput(f"existing interface {settings.bridge} is not a bridge")
        bridge = _with_addresses(conversation, link)
    had_ipv6 = old is not None and old.ipv6 and any(each.version == 6 for each in bridge.addresses)
    first4, first6 = bridge.firsts(ipv4=True, ipv6=had_ipv6 if settings.ipv6 is None else settings.ipv6)
    mtu = settings.mtu or bridge.mtu
    return replace(settings, bip=str(first4), bip6=str(first6 or ""), ipv6=first6 is not None, mtu=mtu)


def _with_addresses(conversation: NetlinkSocket, link: rtnetlink.Link) -> ExistingBridge:
    found = [entry for entry in rtnetlink.addresses(conversation) if entry.link == link.number]
    own = (ip_interface(f"{entry.address}/{entry.prefix}") for entry in found if not entry.address.is_link_local)
    return ExistingBridge(link.name, tuple(own), link.mtu)
