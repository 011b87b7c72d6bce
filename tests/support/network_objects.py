"""What an engine has in the kernel's network; and routes that protect the tests."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

from wherry.errors import SystemCallError
from wherry.linux import rtnetlink
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.linux.nftables import chains
from wherry.network.firewall.firewall import Firewall

POOLS = ("172.16.0.0/12", *(f"10.{second}.0.0/16" for second in range(213, 219)))
"""What the tests' networks get their subnets from: the first of the default pools, and what tests choose themselves.

Not all of 10.0.0.0/8: somebody's name server may be there.
"""


def mark(exec_root: Path) -> str:
    """The note on the engine's interfaces, and the name of its tables."""
    return f"wherry_{hashlib.sha256(str(exec_root).encode()).hexdigest()[:6]}"


def network_objects(exec_root: Path) -> list[str]:
    """The interfaces and tables of the engine with this exec root."""
    own = mark(exec_root)
    with NetlinkSocket(Family.ROUTE) as conversation:
        found = [f"interface {link.name}" for link in rtnetlink.links(conversation) if link.alias == own]
    with suppress(SystemCallError), NetlinkSocket(Family.NETFILTER) as conversation:
        found += sorted({f"table {chain.table}" for chain in chains(conversation) if chain.table == own})
    return found


def remove_network_objects(exec_root: Path) -> None:
    """Remove what an engine has left that was killed for good."""
    own = mark(exec_root)
    with NetlinkSocket(Family.ROUTE) as conversation:
        for link in rtnetlink.links(conversation):
            if link.alias == own:
                with suppress(SystemCallError):  # the other end of a pair that is gone already
                    conversation.request(rtnetlink.delete_link(link.number))
    firewall = Firewall(own)
    with suppress(SystemCallError):
        firewall.remove_all()
    firewall.close()


_CALLS = itertools.count()


@contextmanager
def unreachable_pools() -> Iterator[None]:
    """Let no packet for a container that is gone leave by the machine's own interface: the least of all routes says no.

    The metric is this call's own, as several test runs may be at it, and several folders of tests in one run.
    """
    metric = 4_000_000_000 + (os.getpid() << 3) + next(_CALLS)
    kind = rtnetlink.RouteType.UNREACHABLE
    nets = [ip_network(text) for text in POOLS]
    with NetlinkSocket(Family.ROUTE) as conversation:
        for net in nets:
            conversation.request(rtnetlink.route(net.network_address, net.prefixlen, kind=kind, metric=metric))
        try:
            yield
        finally:
            for net in nets:
                message = rtnetlink.delete_route(net.network_address, net.prefixlen, kind=kind, metric=metric)
                conversation.request(message)
