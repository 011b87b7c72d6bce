"""The names of containers on networks: the directory in which the DNS server looks them up.

One table per network, updated by `DnsDirectory.joined` and `DnsDirectory.left`; a query is a look-up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wherry.network.dns.directory import ResolverConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wherry.network.dns.directory import Upstream
    from wherry.network.model import Address, Network, Prefix

__all__ = ["DnsDirectory", "DnsEntry"]


@dataclass(frozen=True)
class DnsEntry:
    """The names and addresses of one owner on one network.

    :param names: the names that resolve to it on the network; reverse look-ups return the first. None for an owner that
        only asks.
    :param links: aliases that only this owner can use, and the names that they stand for.
    """

    network: Network
    addresses: tuple[Address, ...]
    names: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()

    def of_its_families(self, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        """The addresses of the families that the owner has itself: no IPv6 where that is switched off."""
        versions = {address.version for address in self.addresses}
        return tuple(address for address in addresses if address.version in versions)


@dataclass(eq=False)
class _Table:
    """The names on one network, in lower case."""

    called: str
    names: dict[str, dict[str, tuple[Address, ...]]] = field(default_factory=dict)  #: name -> owner -> addresses
    holders: dict[Address, str] = field(default_factory=dict)  #: address -> first name

    def add(self, owner: str, entry: DnsEntry) -> None:
        for name in entry.names:
            self.names.setdefault(name.lower(), {})[owner] = entry.addresses
        if entry.names:
            self.holders.update(dict.fromkeys(entry.addresses, entry.names[0]))

    def remove(self, owner: str, entry: DnsEntry) -> None:
        for name in entry.names:
            holders = self.names.get(name.lower(), {})
            holders.pop(owner, None)
            if not holders:
                self.names.pop(name.lower(), None)
        for address in entry.addresses:
            self.holders.pop(address, None)

    def find(self, name: str) -> tuple[Address, ...] | None:
        holders = self.names.get(name)
        return None if holders is None else tuple(address for group in holders.values() for address in group)


class DnsDirectory:
    """Implements `wherry.network.dns.directory.Directory`.

    :param upstreams: of an owner, the servers that other queries are forwarded to, and whether names without a dot are
        forwarded as well.
    :param subnets: all subnets of this engine.
    """

    def __init__(
        self,
        upstreams: Callable[[str], tuple[tuple[Upstream, ...], bool]],
        subnets: Callable[[], Iterable[Prefix]],
    ) -> None:
        self._upstreams = upstreams
        self._subnets = subnets
        self._tables: dict[str, _Table] = {}
        self._entries: dict[str, dict[str, DnsEntry]] = {}  # owner -> network ID
        self._generation = 0

    @property
    def generation(self) -> int:
        """A counter of changes; a cache of answers is valid for one value of it."""
        return self._generation

    def changed(self) -> None:
        """Subnets or upstream servers have changed."""
        self._generation += 1

    def joined(self, owner: str, entry: DnsEntry) -> None:
        """Add or replace the names of an owner on a network."""
        self.left(owner, entry.network.id)
        self._entries.setdefault(owner, {})[entry.network.id] = entry
        self._tables.setdefault(entry.network.id, _Table(entry.network.name.lower())).add(owner, entry)
        self._generation += 1

    def left(self, owner: str, network_id: str | None = None) -> None:
        """Remove the names of an owner on one network, or on all of them."""
        entries = self._entries.get(owner, {})
        for identifier in [network_id] if network_id else list(entries):
            entry = entries.pop(identifier, None)
            if entry is not None:
                table = self._tables[identifier]
                table.remove(owner, entry)
                if not table.names:
                    del self._tables[identifier]
                self._generation += 1
        if not entries:
            self._entries.pop(owner, None)

    def is_present(self, owner: str) -> bool:
        """Whether an owner is on any network with name resolution."""
        return owner in self._entries

    # --- wherry.network.dns.directory.Directory ---------------------------------------------------------------------

    def lookup(self, owner: str, name: str, network: str | None) -> Sequence[Address] | None:
        """The addresses of a name as an owner sees it; None for an unknown name."""
        for entry in self._of(owner, network):
            meant = next((target for alias, target in entry.links if alias.lower() == name), name)
            found = self._tables[entry.network.id].find(meant.lower())
            if found is not None:
                return entry.of_its_families(found)
        return None

    def _of(self, owner: str, network: str | None) -> Iterable[DnsEntry]:
        entries = self._entries.get(owner, {}).values()
        return entries if network is None else (entry for entry in entries if entry.network.name.lower() == network)

    def is_foreign(self, name: str, network: str) -> bool:
        """Whether any container has this name on the network of this name."""
        return any(table.called == network and name in table.names for table in self._tables.values())

    def reverse(self, owner: str, address: Address) -> str | None:
        """The name of another owner by its address, on one of the networks of an owner."""
        for entry in self._of(owner, None):
            name = self._tables[entry.network.id].holders.get(address)
            if name is not None:
                return f"{name}.{entry.network.name}"
        return None

    def resolver_config(self, owner: str) -> ResolverConfig:
        """The rest that answers to this owner depend on: domains, subnets, upstream servers."""
        entries = self._entries.get(owner, {}).values()
        upstreams, asks_all = self._upstreams(owner)
        if all(entry.network.internal for entry in entries):
            upstreams = ()
        domains = frozenset(entry.network.name.lower() for entry in entries)
        return ResolverConfig(domains, tuple(self._subnets()), upstreams, asks_all)
