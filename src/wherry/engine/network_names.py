"""Who is called what on which network: the directory that the DNS server asks.

A table per network, kept in step by `NameDirectory.joined` and `NameDirectory.left`; questions only look things up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wherry.network.dns.directory import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wherry.network.dns.directory import Upstream
    from wherry.network.model import Address, Network, Prefix

__all__ = ["NameDirectory", "Place"]


@dataclass(frozen=True)
class Place:
    """One owner on one network.

    :param names: by which everybody on the network finds it; the first is the one that addresses lead back to.
    :param links: names that only this owner uses, and the names that they stand for.
    """

    network: Network
    addresses: tuple[Address, ...]
    names: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()


@dataclass(eq=False)
class _Table:
    """What is known on one network; names are lower case."""

    called: str
    names: dict[str, dict[str, tuple[Address, ...]]] = field(default_factory=dict)  #: name -> owner -> addresses
    holders: dict[Address, str] = field(default_factory=dict)  #: address -> first name

    def add(self, owner: str, place: Place) -> None:
        for name in place.names:
            self.names.setdefault(name.lower(), {})[owner] = place.addresses
        self.holders.update(dict.fromkeys(place.addresses, place.names[0]))

    def remove(self, owner: str, place: Place) -> None:
        for name in place.names:
            holders = self.names.get(name.lower(), {})
            holders.pop(owner, None)
            if not holders:
                self.names.pop(name.lower(), None)
        for address in place.addresses:
            self.holders.pop(address, None)

    def find(self, name: str) -> tuple[Address, ...] | None:
        holders = self.names.get(name)
        return None if holders is None else tuple(address for group in holders.values() for address in group)


class NameDirectory:
    """Implements `wherry.network.dns.directory.Directory`.

    :param upstreams: whom an owner's other questions go to, and whether unknown names are among them.
    :param subnets: every range of addresses that this engine hands out.
    """

    def __init__(
        self,
        upstreams: Callable[[str], tuple[tuple[Upstream, ...], bool]],
        subnets: Callable[[], Iterable[Prefix]],
    ) -> None:
        self._upstreams = upstreams
        self._subnets = subnets
        self._tables: dict[str, _Table] = {}
        self._places: dict[str, dict[str, Place]] = {}  # owner -> network ID -> place
        self._generation = 0

    @property
    def generation(self) -> int:
        """Counts changes."""
        return self._generation

    def changed(self) -> None:
        """Something else than names has changed: subnets or upstream servers."""
        self._generation += 1

    def joined(self, owner: str, place: Place) -> None:
        """An owner has a place on a network, in place of the one that it may have had there."""
        self.left(owner, place.network.id)
        self._places.setdefault(owner, {})[place.network.id] = place
        self._tables.setdefault(place.network.id, _Table(place.network.name.lower())).add(owner, place)
        self._generation += 1

    def left(self, owner: str, network_id: str | None = None) -> None:
        """An owner has left a network, or all of them."""
        places = self._places.get(owner, {})
        for identifier in [network_id] if network_id else list(places):
            place = places.pop(identifier, None)
            if place is not None:
                table = self._tables[identifier]
                table.remove(owner, place)
                if not table.names:
                    del self._tables[identifier]
                self._generation += 1
        if not places:
            self._places.pop(owner, None)

    def is_present(self, owner: str) -> bool:
        """Whether an owner has a place on any network with name resolution."""
        return owner in self._places

    # --- what the server asks ---------------------------------------------------------------------

    def lookup(self, owner: str, name: str, network: str | None) -> Sequence[Address] | None:
        """The addresses that a name has for an owner; None when it is unknown."""
        for place in self._of(owner, network):
            meant = next((target for alias, target in place.links if alias.lower() == name), name)
            found = self._tables[place.network.id].find(meant.lower())
            if found is not None:
                return found
        return None

    def _of(self, owner: str, network: str | None) -> Iterable[Place]:
        places = self._places.get(owner, {}).values()
        return places if network is None else (place for place in places if place.network.name.lower() == network)

    def is_foreign(self, name: str, network: str) -> bool:
        """Whether somebody has this name on the network of this name, whoever is asking."""
        return any(table.called == network and name in table.names for table in self._tables.values())

    def reverse(self, owner: str, address: Address) -> str | None:
        """The name of whoever has an address on one of the owner's networks."""
        for place in self._of(owner, None):
            name = self._tables[place.network.id].holders.get(address)
            if name is not None:
                return f"{name}.{place.network.name}"
        return None

    def surroundings(self, owner: str) -> Surroundings:
        """What else counts for this owner's questions."""
        places = self._places.get(owner, {}).values()
        upstreams, asks_all = self._upstreams(owner)
        if all(place.network.internal for place in places):
            upstreams = ()
        domains = frozenset(place.network.name.lower() for place in places)
        return Surroundings(domains, tuple(self._subnets()), upstreams, asks_all)
