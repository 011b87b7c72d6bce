"""Other programs' packet filters, as far as they stand in the way of containers.

A packet passes only when every table lets it pass. Docker, for one, drops whatever its host forwards and it does not
know, which includes the traffic of wherry's containers; and where br_netfilter is on, even that between containers on
one bridge. wherry does not touch such rules: it says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from wherry.linux.netlink import NetlinkSocket
from wherry.linux.nft_expressions import Hook
from wherry.linux.nftables import ChainInfo, NfFamily, chains

__all__ = ["Obstacle", "find_obstacles", "obstacles_among"]

_FAMILIES: Final = {NfFamily.INET: (4, 6), NfFamily.IPV4: (4,), NfFamily.IPV6: (6,)}
_HOOKS: Final = (Hook.INPUT, Hook.FORWARD)


class Obstacle(Struct, frozen=True):
    """A chain of another program's that drops what it does not know.

    :ivar hook: ``forward``: what is routed to and from containers; ``input``: what they send to the host itself.
    :ivar versions: of IP.
    """

    family: str
    table: str
    chain: str
    hook: str
    versions: tuple[int, ...]

    def describe(self) -> str:
        """One sentence for people, with what can be done."""
        what = "forwarded packets" if self.hook == "forward" else "packets to the host"
        text = f"{self.where} is not wherry's and drops {what} that it does not accept, those of containers included"
        return f"{text}; {self.remedy}" if self.remedy else text

    @property
    def where(self) -> str:
        """The chain, as nft names it."""
        return f"chain {self.family} {self.table} {self.chain}"

    @property
    def remedy(self) -> str:
        """What makes it let containers pass, where that is known."""
        if (self.table, self.chain) != ("filter", "FORWARD"):
            return ""
        command = "ip6tables" if self.family == "ip6" else "iptables"
        chain = "DOCKER-USER" if self.family == "ip" else "FORWARD"
        return f"{command} -I {chain} -i BRIDGE -j ACCEPT, and the same with -o, lets a bridge's pass"


def find_obstacles(connection: NetlinkSocket, own: str) -> tuple[Obstacle, ...]:
    """Look for such chains in this network namespace.

    :param own: the name of wherry's tables.
    :raises SystemCallError: the kernel has no nf_tables.
    """
    return obstacles_among(chains(connection), own)


def obstacles_among(found: Iterable[ChainInfo], own: str) -> tuple[Obstacle, ...]:
    """The obstacles among chains."""
    return tuple(_obstacle(chain) for chain in found if chain.table != own and _is_obstacle(chain))


def _is_obstacle(chain: ChainInfo) -> bool:
    base = chain.base
    return (
        chain.drops and base is not None and base.kind == "filter" and base.hook in _HOOKS and chain.family in _FAMILIES
    )


def _obstacle(chain: ChainInfo) -> Obstacle:
    assert chain.base is not None
    family = {NfFamily.INET: "inet", NfFamily.IPV4: "ip", NfFamily.IPV6: "ip6"}[NfFamily(chain.family)]
    versions = _FAMILIES[NfFamily(chain.family)]
    return Obstacle(family, chain.table, chain.name, chain.base.hook.name.lower(), versions)
