"""What may reach what: wherry's tables in the kernel's packet filter.

The rules are fixed (`wherry.network.firewall.tables`); bridges, endpoints and published ports are elements. `Firewall`
keeps nothing in memory: its user knows what should be there, and says so again for `Firewall.restore` and
`Firewall.intact`.

The rules count on three things that are settings of links: the host forwards (``ip_forward``,
``ipv6.conf.all.forwarding``); a bridge takes answers to 127.0.0.1 (``route_localnet``); and a container's port of the
bridge is in hairpin mode, without which, where br_netfilter is on, a container does not reach itself through its
published port.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from wherry.errors import SystemCallError
from wherry.linux import conntrack, nftables
from wherry.linux.netlink import Family, Message, NetlinkSocket
from wherry.linux.nftables import NfFamily, TableFlag
from wherry.network.firewall.elements import (
    PROTOCOLS,
    AntiSpoof,
    BridgeRules,
    Elements,
    ForwardBlock,
    PairRule,
    PortMapping,
    anti_spoof_elements,
    bridge_elements,
    forward_block_elements,
    pair_rule_elements,
    port_mapping_elements,
)
from wherry.network.firewall.rule_language import Table
from wherry.network.firewall.tables import bridge_table, inet_table

__all__ = ["AntiSpoof", "BridgeRules", "Firewall", "PortMapping"]

_NO_TABLES = (
    "this kernel has no nf_tables: networks, addresses and names work, but ports are not published, "
    "nothing is translated on the way out, networks are not kept apart, and forwarding is left as it is"
)
_NO_ANTI_SPOOF = (
    "this kernel has no nf_tables for bridges: containers on one network are not kept from using each other's addresses"
)


_OWNED: Final = TableFlag.OWNER | TableFlag.PERSIST
_UNKNOWN: Final = (errno.EINVAL, errno.EOPNOTSUPP)


class Firewall:
    """The tables of one engine. For one thread, in whose network namespace they are.

    :param table: the name of both: ``wherry``, or another for another engine on the same machine.
    :param owned: where the kernel can do it (Linux 6.9), no other program can change or flush the tables as long as a
        process has this socket. After that they stay, and any program can.
    :param connection: that of a former daemon, which has made the tables so; it is this object's from now on.
    :ivar proxy6_port: the port at which `wherry.network.proxy6` listens; 0: there is no proxy. Set it before
        `restore`.
    :ivar forward_blocks: the IP versions not to be forwarded between links that are not ours; likewise.
    :ivar is_owned: whether no other program can change the tables; as asked for, until `restore` has found out.
    """

    def __init__(self, table: str = "wherry", *, owned: bool = False, connection: NetlinkSocket | None = None) -> None:
        self._tables = (inet_table(table), bridge_table(table))
        self.is_owned = owned
        self.proxy6_port = 0
        self.forward_blocks: tuple[ForwardBlock, ...] = ()
        self._connection = connection
        self._reasons: dict[NfFamily, str | None] | None = None

    @property
    def port(self) -> int:
        """The netlink port by which events of its own making are known."""
        return self._open().port

    def fileno(self) -> int:
        """The descriptor of the conversation, to which the tables belong where they are owned."""
        return self._open().fileno()

    def close(self) -> None:
        """Close the socket; the tables stay."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- what this kernel can

    def available(self) -> str | None:
        """Why there is no firewall here, with what works nevertheless, as one sentence; None when there is one.

        Unless `restore` has worked, the kernel is asked by making the tables in a transaction that is then not
        carried out, which takes it some 20 ms.
        """
        reason = self._missing()[NfFamily.INET]
        return f"{_NO_TABLES} ({reason})" if reason else None

    def limits(self) -> tuple[str, ...]:
        """What does not work here, in sentences; asked for like `available`."""
        none = self.available()
        if none:
            return (none,)
        reason = self._missing()[NfFamily.BRIDGE]
        return (f"{_NO_ANTI_SPOOF} ({reason})",) if reason else ()

    def _missing(self) -> dict[NfFamily, str | None]:
        if self._reasons is None:
            self._reasons = {table.family: self._refusal(table) for table in self._tables}
        return self._reasons

    def _refusal(self, table: Table) -> str | None:
        """Why the kernel does not take a table; None when it does."""
        impossible = nftables.delete_table(table.family, f"{table.name}-none")
        trial = Table(table.family, f"{table.name}-trial", table.sets, table.chains)
        try:
            nftables.commit(self._open(), [*trial.messages(), impossible])
        except SystemCallError as exc:
            return None if exc.operands == impossible.what else str(exc)
        return None

    def _possible(self) -> tuple[Table, ...]:
        """The tables that this kernel takes: as far as is known, all."""
        missing = self._reasons or {}
        return tuple(table for table in self._tables if missing.get(table.family) is None)

    def _open(self) -> NetlinkSocket:
        if self._connection is None:
            self._connection = NetlinkSocket(Family.NETFILTER)
        return self._connection

    # --- all at once

    def restore(
        self,
        bridges: Iterable[BridgeRules],
        anti_spoof: Iterable[AntiSpoof],
        mappings: Iterable[PortMapping],
        pair_rules: Iterable[PairRule] = (),
    ) -> None:
        """Replace the tables by new ones with exactly this in them, in one transaction that no packet sees half of.

        :raises SystemCallError: the kernel refuses; what was there before still is.
        """
        elements = self._all(bridges, anti_spoof, mappings, pair_rules)
        try:
            self._renew(elements)
        except SystemCallError:
            if self._reasons is not None or not any(self._missing().values()):
                raise
            self._renew(elements)
        self._reasons = self._reasons or dict.fromkeys(table.family for table in self._tables)

    def _renew(self, elements: Elements) -> None:
        additions = self._additions(elements)
        self._commit_whole(
            lambda: (
                [
                    message
                    for table in self._possible()
                    for message in (*self._removal(table), *table.messages(_OWNED if self.is_owned else 0))
                ]
                + additions
            )
        )

    def remove_all(self) -> None:
        """Remove the tables."""
        self._commit_whole(lambda: [message for table in self._possible() for message in self._removal(table)])

    def _removal(self, table: Table) -> list[Message]:
        """Remove a table that may not be there."""
        if self.is_owned:
            return [nftables.destroy_table(table.family, table.name)]
        # "Delete" needs something to delete, so that it is there is made sure first, as nft scripts do it.
        return [nftables.new_table(table.family, table.name), nftables.delete_table(table.family, table.name)]

    def _commit_whole(self, messages: Callable[[], list[Message]]) -> None:
        """Carry out what begins with a table's removal; if the kernel knows no owned tables, then without owning."""
        try:
            self._commit(messages())
        except SystemCallError as exc:
            if not self.is_owned or exc.errno not in _UNKNOWN or not exc.operands.startswith(("destroy", "add table")):
                raise
            self.is_owned = False
            self._commit(messages())

    def intact(
        self,
        bridges: Iterable[BridgeRules],
        anti_spoof: Iterable[AntiSpoof],
        mappings: Iterable[PortMapping],
        pair_rules: Iterable[PairRule] = (),
    ) -> bool:
        """Whether the tables are in the kernel as `restore` would make them."""
        wanted = self._all(bridges, anti_spoof, mappings, pair_rules)
        return all(self._is_intact(table, wanted) for table in self._possible())

    def _is_intact(self, table: Table, wanted: Elements) -> bool:
        connection = self._open()
        if (table.family, table.name) not in nftables.tables(connection):
            return False
        chains = {
            (chain.name, chain.base, chain.drops)
            for chain in nftables.chains(connection, table.family)
            if chain.table == table.name
        }
        if chains != {(chain.name, chain.base, False) for chain in table.chains}:
            return False
        rules = [
            (rule.chain, rule.comment, rule.expressions)
            for rule in nftables.rules(connection, table.family, table.name)
        ]
        if sorted(rules) != sorted(_rules_of(table)) or _order(rules) != _order(_rules_of(table)):
            return False
        return all(self._has(table, name.name, wanted.get((table.family, name.name), [])) for name in table.sets)

    def _has(self, table: Table, name: str, wanted: Sequence[nftables.Element]) -> bool:
        try:
            return set(nftables.elements(self._open(), table.family, table.name, name)) == set(wanted)
        except SystemCallError as exc:
            if exc.errno == errno.ENOENT:
                return False
            raise

    # --- one by one

    def add_bridge(self, rules: BridgeRules) -> None:
        """Let a bridge in.

        :raises SystemCallError: the kernel refuses; ENOENT means that another program has removed the tables.
        """
        self._commit(self._additions(bridge_elements([rules])))

    def remove_bridge(self, rules: BridgeRules) -> None:
        """Forget a bridge; what is gone already is no error."""
        self._remove(bridge_elements([rules]))

    def add(self, anti_spoof: Iterable[AntiSpoof] = (), mappings: Sequence[PortMapping] = ()) -> None:
        """Let endpoints in, and publish ports, in one transaction.

        Peers that sent datagrams to a port before it was published are let through from now on.

        :raises SystemCallError: the kernel refuses; ENOENT means that another program has removed the tables, EEXIST or
            EBUSY that a port leads elsewhere already.
        """
        self._commit(
            self._additions(_merge(anti_spoof_elements(anti_spoof), port_mapping_elements(mappings, self.proxy6_port)))
        )
        self._forget(mappings, published=True)

    def remove(self, anti_spoof: Iterable[AntiSpoof] = (), mappings: Sequence[PortMapping] = ()) -> None:
        """Let endpoints go, and their published ports; what is gone already is no error.

        Connections of datagrams to such a port are forgotten.
        """
        self._remove(_merge(anti_spoof_elements(anti_spoof), port_mapping_elements(mappings, self.proxy6_port)))
        self._forget(mappings, published=False)

    def change_pair_rules(self, gone: Iterable[PairRule], new: Iterable[PairRule]) -> None:
        """Replace rules between two endpoints by others.

        :raises SystemCallError: the kernel refuses; ENOENT means that another program has removed the tables.
        """
        self._remove(pair_rule_elements(gone))
        self._commit(self._additions(pair_rule_elements(new)))

    # --- plumbing

    def _all(
        self,
        bridges: Iterable[BridgeRules],
        anti_spoof: Iterable[AntiSpoof],
        mappings: Iterable[PortMapping],
        pair_rules: Iterable[PairRule],
    ) -> Elements:
        published = port_mapping_elements(mappings, self.proxy6_port)
        closed = forward_block_elements(self.forward_blocks)
        return _merge(
            bridge_elements(bridges), anti_spoof_elements(anti_spoof), published, closed, pair_rule_elements(pair_rules)
        )

    def _additions(self, elements: Elements) -> list[Message]:
        return [
            message
            for table in self._possible()
            for (family, name), found in elements.items()
            if family == table.family
            for message in nftables.new_elements(family, table.name, name, found)
        ]

    def _removals(self, elements: Elements) -> list[Message]:
        return [
            message
            for table in self._possible()
            for (family, name), found in elements.items()
            if family == table.family
            for message in nftables.delete_elements(family, table.name, name, found)
        ]

    def _commit(self, messages: Sequence[Message]) -> None:
        if messages:
            nftables.commit(self._open(), messages)

    def _remove(self, elements: Elements) -> None:
        try:
            self._commit(self._removals(elements))
        except SystemCallError as exc:
            if exc.errno != errno.ENOENT:
                raise
            self._remove_what_is_there(elements)

    def _remove_what_is_there(self, elements: Elements) -> None:
        """Another program has been at work: a transaction with something missing in it does nothing at all."""
        for table in self._possible():
            for (family, name), found in elements.items():
                if family != table.family:
                    continue
                try:
                    there = set(nftables.elements(self._open(), family, table.name, name))
                except SystemCallError as exc:
                    if exc.errno == errno.ENOENT:
                        continue
                    raise
                left = [element for element in found if element in there]
                self._commit(nftables.delete_elements(family, table.name, name, left))

    def _forget(self, mappings: Sequence[PortMapping], *, published: bool) -> None:
        """Forget what the kernel remembers of datagrams to ports that were just published, or are no longer."""
        kinds = {(mapping.address.version, mapping.protocol) for mapping in mappings if mapping.protocol != "tcp"}
        for version, protocol in kinds:
            mine = [each for each in mappings if (each.address.version, each.protocol) == (version, protocol)]
            family = _FAMILIES[version]
            found = conntrack.entries(self._open(), family, PROTOCOLS[protocol])
            conntrack.forget(self._open(), _stale(found, mine, published=published))

    # --- text

    def describe(self) -> str:
        """The rules, as ``nft list ruleset`` prints them, without elements."""
        return "\n\n".join(table.describe() for table in self._tables)


_FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6


def _merge(*parts: Elements) -> Elements:
    found: Elements = {}
    for part in parts:
        for key, elements in part.items():
            found.setdefault(key, []).extend(elements)
    return found


def _stale(
    found: Iterable[conntrack.Entry], mappings: Iterable[PortMapping], *, published: bool
) -> list[conntrack.Entry]:
    """The entries that have another answer than the mappings give now."""
    targets = {(mapping.address, mapping.port) for mapping in mappings}
    ports = {mapping.host_port for mapping in mappings}
    return [
        entry
        for entry in found
        if entry.destination_port in ports and ((entry.answerer, entry.answerer_port) in targets) != published
    ]


def _rules_of(table: Table) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(chain.name, rule.why, rule.names) for chain in table.chains for rule in chain.rules]


def _order(rules: Iterable[tuple[str, str, tuple[str, ...]]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for chain, comment, _ in rules:
        found.setdefault(chain, []).append(comment)
    return found
