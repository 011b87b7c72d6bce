"""Rules between two endpoints: masquerading of replies, and links.

An owner on several networks publishes its ports by one, and replies to some clients by another. A client on another of
its networks is a neighbour, and would get a reply from an address that it never called; all other clients get theirs by
the default route, which may lead through a network that publishes no ports (a macvlan). Such clients are masqueraded:
they get the bridge's address as their source, so that the reply comes back to the host.

On a bridge without ICC, a link opens the ports that the linked container exposes to the one that links to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from wherry.network.firewall.elements import LinkRule, ReplyMasquerade
from wherry.network.model import Endpoint, Gateways, Network, Prefix

__all__ = ["link_rules", "reply_masquerades"]

_EVERYBODY: Final[dict[int, Prefix]] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


def reply_masquerades(publishing: Endpoint, others: Iterable[Network], routes: Gateways) -> frozenset[ReplyMasquerade]:
    """The clients of an owner that are masqueraded, because it replies by another network.

    :param publishing: the endpoint by which its ports are published.
    :param others: its other networks.
    :param routes: its default routes.
    """
    neighbours = [subnet.network for network in others for subnet in network.subnets]
    found = set()
    for address in publishing.addresses:
        route = routes.ipv4 if address.version == 4 else routes.ipv6
        if route is None or route[1] != publishing.interface:
            found.add(ReplyMasquerade(_EVERYBODY[address.version], address))
        else:
            found |= {ReplyMasquerade(each, address) for each in neighbours if each.version == address.version}
    return frozenset(found)


def link_rules(callers: Iterable[Endpoint], of_owner: Callable[[str], Mapping[str, Endpoint]]) -> frozenset[LinkRule]:
    """The ports that links open.

    :param callers: endpoints with linked ports, on networks without ICC.
    :param of_owner: the endpoints of an owner, by network.
    """
    found = set()
    for caller in callers:
        for linked in caller.linked_ports:
            callee = of_owner(linked.owner).get(caller.network_id)
            if callee is not None and linked.ports:
                ends = (caller.host_interface, callee.host_interface, caller.addresses, callee.addresses)
                found.add(LinkRule(*ends, linked.ports))
    return frozenset(found)
