"""The networks that a new one must not overlap: the host's routes, its name servers, the engine's networks."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from msgspec import Struct

from wherry.linux import rtnetlink
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.network.ipam import subnets
from wherry.network.model import Address, PoolSetting, Prefix

__all__ = ["HostNetworks", "foreign_prefixes", "host_has_ipv6", "read_host_networks"]

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_DISABLE_IPV6: Final = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
_MAIN_TABLE: Final = 254
_NO_UPLINK_MTU: Final = 1500
_NOWHERE: Final = frozenset(
    (rtnetlink.RouteType.BLACKHOLE, rtnetlink.RouteType.UNREACHABLE, rtnetlink.RouteType.PROHIBIT)
)  # such a route leads nowhere: a subnet over it hides nothing


class HostNetworks(Struct, frozen=True):
    """The networks that a new one must not overlap, and what else it takes from the host.

    :ivar used: subnets of the engine's networks.
    :ivar foreign: what the host has routes to and addresses in, and its name servers.
    :ivar pools: where subnets are chosen from, of both families.
    :ivar mtu: the uplink's.
    :ivar ipv6: whether the host has IPv6.
    """

    used: tuple[Prefix, ...]
    foreign: tuple[Prefix, ...]
    pools: tuple[PoolSetting, ...]
    mtu: int
    ipv6: bool

    def choose(self, version: int) -> Prefix:
        """A free subnet.

        :raises Forbidden: there is none.
        """
        return subnets.choose(self.pools, version, (*self.used, *self.foreign))


def read_host_networks(used: Iterable[Prefix], from_pools: Iterable[PoolSetting]) -> HostNetworks:
    """Read the host's routes and name servers; takes a millisecond.

    :param used: subnets of the engine's networks.
    :param from_pools: where subnets are chosen from.
    """
    with NetlinkSocket(Family.ROUTE) as conversation:
        entries = rtnetlink.routes(conversation)
        ways = {e.link for e in entries if e.destination is None and e.prefix == 0 and e.table == _MAIN_TABLE}
        sizes = [link.mtu for link in rtnetlink.links(conversation) if link.number in ways]
    resolv_conf = _RESOLV_CONF.read_text(errors="replace") if _RESOLV_CONF.exists() else ""
    routes = [(e.destination, e.prefix) for e in entries if e.destination is not None and e.kind not in _NOWHERE]
    return HostNetworks(
        used=tuple(used),
        foreign=foreign_prefixes(routes, resolv_conf),
        pools=tuple(from_pools),
        mtu=min((size for size in sizes if size), default=_NO_UPLINK_MTU),
        ipv6=host_has_ipv6(),
    )


def host_has_ipv6() -> bool:
    """Whether IPv6 is there and not switched off."""
    try:
        return _DISABLE_IPV6.read_text().strip() == "0"
    except FileNotFoundError:
        return False


def foreign_prefixes(routes: Iterable[tuple[Address, int]], resolv_conf: str) -> tuple[Prefix, ...]:
    """What subnets must not overlap: where the host's routes lead, and its name servers (behind a VPN, perhaps).

    :param routes: destinations with their prefix lengths, the default route left out.
    """
    found = {ip_network((address, prefix), strict=False) for address, prefix in routes if _is_a_place(address)}
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                address = ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            found.add(ip_network(address))
    return tuple(found)


def _is_a_place(destination: Address) -> bool:
    """Loopback, link-local and multicast routes are on every host."""
    return not (destination.is_loopback or destination.is_link_local or destination.is_multicast)
