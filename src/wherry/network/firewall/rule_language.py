"""A small language for packet filters: rules as values that can be read, compared and sent to the kernel.

A `Rule` is a row of parts; each `Part` carries the words that nft(8) would print and the expressions that the kernel
runs. So `describe` and what is in the kernel cannot drift apart, and a test compares the words with nft's own listing.
Nothing here acts, and which rules there are is said in `wherry.network.firewall.tables`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from ipaddress import IPv4Network, ip_address
from typing import Final, NamedTuple

from msgspec import Struct

from wherry.linux import nft_expressions as nft
from wherry.linux.netlink import Message
from wherry.linux.nft_expressions import CtKey, CtState, CtStatus, FibFlag, MetaKey, Operator, PayloadBase, Verdict
from wherry.linux.nftables import BaseChain, DataType, NfFamily, new_chain, new_rule, new_set, new_table

__all__ = [
    "Chain",
    "Part",
    "Rule",
    "SetOf",
    "Table",
    "accept",
    "conntrack",
    "dnat_to",
    "drop",
    "ether_type",
    "fib",
    "goto",
    "in_set",
    "is_loopback",
    "is_value",
    "jump",
    "masquerade",
    "not_from_loopback",
    "snat_to",
    "verdict_of",
]


class Part(NamedTuple):
    """Words and expressions of one condition or statement."""

    words: str
    code: bytes


class Rule(Struct, frozen=True):
    """One rule.

    :ivar why: its comment: shown in listings, and how it is recognised when the kernel is compared.
    """

    why: str
    parts: tuple[Part, ...]

    def describe(self) -> str:
        """As nft prints it."""
        return " ".join(part.words for part in self.parts) + f' comment "{self.why}"'

    @property
    def code(self) -> bytes:
        """Its expressions, concatenated."""
        return b"".join(part.code for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its expressions, in order."""
        return nft.names(self.code)


class Chain(Struct, frozen=True):
    """A chain with its rules; without `base` it is only jumped to."""

    name: str
    rules: tuple[Rule, ...]
    base: BaseChain | None = None

    def describe(self) -> str:
        """As nft prints it."""
        lines = [f"\tchain {self.name} {{"]
        if self.base is not None:
            hook = self.base.hook.name.lower()
            lines.append(f"\t\ttype {self.base.kind} hook {hook} priority {self.base.priority}; policy accept;")
        lines += [f"\t\t{rule.describe()}" for rule in self.rules]
        return "\n".join([*lines, "\t}"])


class SetOf(Struct, frozen=True):
    """A set, or with `data` a map."""

    name: str
    key: tuple[DataType, ...]
    data: tuple[DataType, ...] = ()
    interval: bool = False

    def describe(self) -> str:
        """As nft prints it, without elements."""
        kind = " . ".join(part.name.lower() for part in self.key)
        if self.data:
            kind += " : " + " . ".join(part.name.lower() for part in self.data)
        lines = [f"\t{'map' if self.data else 'set'} {self.name} {{", f"\t\ttype {kind}"]
        if self.interval:
            lines.append("\t\tflags interval")
        return "\n".join([*lines, "\t}"])


class Table(Struct, frozen=True):
    """A table: everything that comes and goes together."""

    family: NfFamily
    name: str
    sets: tuple[SetOf, ...]
    chains: tuple[Chain, ...]

    def describe(self) -> str:
        """As ``nft list table`` prints it."""
        inside = [item.describe() for item in self.sets] + [chain.describe() for chain in self.chains]
        return f"table {self.family.name.lower()} {self.name} {{\n" + "\n\n".join(inside) + "\n}"

    def messages(self, flags: int = 0) -> list[Message]:
        """What makes it, where no table of that name is.

        :param flags: of `wherry.linux.nftables.TableFlag`.
        """
        found = [new_table(self.family, self.name, flags=flags)]
        for number, item in enumerate(self.sets, 1):
            found.append(
                new_set(
                    self.family,
                    self.name,
                    item.name,
                    item.key,
                    item.data,
                    number_in_batch=number,
                    interval=item.interval,
                )
            )
        # Chains that are jumped to must be there before the rule that jumps.
        found += [new_chain(self.family, self.name, chain.name, chain.base) for chain in self.chains]
        for chain in self.chains:
            found += [new_rule(self.family, self.name, chain.name, rule.code, rule.why) for rule in chain.rules]
        return found


# -------------------------------------------------------------------------------------------------------------- fields


class _Field(NamedTuple):
    """Something of a packet that can be compared."""

    size: int
    load: tuple[int, ...]  # a meta key alone, or base, offset, length of a payload
    family: int = 0  # of which packets it is, where that must be asked first

    def code(self, slot: int) -> bytes:
        if len(self.load) == 1:
            return nft.meta(MetaKey(self.load[0]), slot)
        base, offset, length = self.load
        return nft.payload(PayloadBase(base), offset, length, slot)


_IPV4, _IPV6 = int(NfFamily.IPV4), int(NfFamily.IPV6)
_LINK, _NET, _TRANSPORT = PayloadBase.LINK, PayloadBase.NETWORK, PayloadBase.TRANSPORT
# Offsets: RFC 791, RFC 8200, RFC 826, RFC 4443, RFC 4861; ports are at the same place in TCP, UDP and SCTP.
_FIELDS: Final = {
    "iifname": _Field(16, (MetaKey.IIFNAME,)),
    "oifname": _Field(16, (MetaKey.OIFNAME,)),
    "meta iifkind": _Field(16, (MetaKey.IIFKIND,)),
    "meta oifkind": _Field(16, (MetaKey.OIFKIND,)),
    "meta nfproto": _Field(1, (MetaKey.NFPROTO,)),
    "meta l4proto": _Field(1, (MetaKey.L4PROTO,)),
    "meta pkttype": _Field(1, (MetaKey.PKTTYPE,)),
    "ip saddr": _Field(4, (_NET, 12, 4), _IPV4),
    "ip daddr": _Field(4, (_NET, 16, 4), _IPV4),
    "ip6 saddr": _Field(16, (_NET, 8, 16), _IPV6),
    "ip6 daddr": _Field(16, (_NET, 24, 16), _IPV6),
    "ip6 hoplimit": _Field(1, (_NET, 7, 1), _IPV6),
    "ether saddr": _Field(6, (_LINK, 6, 6)),
    "arp saddr ether": _Field(6, (_NET, 8, 6)),
    "arp saddr ip": _Field(4, (_NET, 14, 4)),
    "th sport": _Field(2, (_TRANSPORT, 0, 2)),
    "th dport": _Field(2, (_TRANSPORT, 2, 2)),
    "udp sport": _Field(2, (_TRANSPORT, 0, 2)),
    "icmpv6 type": _Field(1, (_TRANSPORT, 0, 1)),
    "@th,64,128": _Field(16, (_TRANSPORT, 8, 16)),  # the target of a neighbour's question or answer
}
_ETHER_TYPES: Final = {"ip": 0x0800, "arp": 0x0806, "ip6": 0x86DD}
_FAMILIES: Final = {"ipv4": _IPV4, "ipv6": _IPV6}
_PROTOCOLS: Final = {"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58, "sctp": 132}
_ICMPV6: Final = {
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "nd-redirect": 137,
}
_PACKET_TYPES: Final = {"host": 0}  # PACKET_HOST of linux/if_packet.h
_ADDRESS_KINDS: Final = {
    "unicast": 1,
    "local": 2,
    "broadcast": 3,
    "multicast": 5,
    "unreachable": 7,
}  # RTN_* of linux/rtnetlink.h


def _family_first(fields: Sequence[_Field]) -> bytes:
    """In a table for all families: ask of which one the packet is, as nft does without showing it."""
    family = next((field.family for field in fields if field.family), 0)
    return nft.meta(MetaKey.NFPROTO) + nft.cmp(Operator.EQ, bytes((family,))) if family else b""


def _load(names: str, *, ask_family: bool) -> bytes:
    """Load a concatenation into neighbouring slots."""
    fields = [_FIELDS[name] for name in names.split(" . ")]
    code = _family_first(fields) if ask_family else b""
    slot = 0
    for field in fields:
        code += field.code(slot)
        slot += (field.size + 3) // 4
    return code


def in_set(names: str, set_name: str, *, invert: bool = False, ask_family: bool = True) -> Part:
    """The packet's fields are, or with `invert` are not, in a set.

    :param names: fields as nft names them, with `` . `` between those of a concatenation.
    :param ask_family: False in tables where the rule has asked what the packet is by other means.
    """
    code = _load(names, ask_family=ask_family) + nft.lookup(set_name, invert=invert)
    return Part(f"{names} {'!= ' if invert else ''}@{set_name}", code)


def verdict_of(names: str, map_name: str) -> Part:
    """The map says what happens to a packet with these fields."""
    return Part(f"{names} vmap @{map_name}", _load(names, ask_family=True) + nft.lookup(map_name, verdict=True))


def dnat_to(names: str, map_name: str, *, ipv6: bool = False) -> Part:
    """The map says which address and port the connection gets instead."""
    family, port_slot = (_IPV6, 4) if ipv6 else (_IPV4, 1)
    ask = any(_FIELDS[name].family for name in names.split(" . "))
    code = _load(names, ask_family=True)
    if not ask:
        code = nft.meta(MetaKey.NFPROTO) + nft.cmp(Operator.EQ, bytes((family,))) + code
    code += nft.lookup(map_name, into=0) + nft.dnat(family, 0, port_slot)
    prefix = "" if ask else f"meta nfproto {'ipv6' if ipv6 else 'ipv4'} "
    return Part(f"{prefix}dnat {'ip6' if ipv6 else 'ip'} to {names} map @{map_name}", code)


def snat_to(name: str, map_name: str, *, ipv6: bool = False) -> Part:
    """The map says which source the connection gets instead."""
    family = _IPV6 if ipv6 else _IPV4
    code = _load(name, ask_family=True) + nft.lookup(map_name, into=0) + nft.snat(family, 0)
    return Part(f"snat {'ip6' if ipv6 else 'ip'} to {name} map @{map_name}", code)


def is_value(name: str, value: str, *, invert: bool = False, ask_family: bool = True) -> Part:
    """A field has, or with `invert` has not, a value: a protocol, a message type, a port, an address, a quoted word."""
    field = _FIELDS[name]
    code = _load(name, ask_family=ask_family) + nft.cmp(Operator.NEQ if invert else Operator.EQ, _value(field, value))
    if name == "udp sport":
        code = nft.meta(MetaKey.L4PROTO) + nft.cmp(Operator.EQ, bytes((_PROTOCOLS["udp"],))) + code
    if name == "icmpv6 type":
        code = nft.meta(MetaKey.L4PROTO) + nft.cmp(Operator.EQ, bytes((_PROTOCOLS["ipv6-icmp"],))) + code
    return Part(f"{name} {'!= ' if invert else ''}{value}", code)


def _value(field: _Field, value: str) -> bytes:
    if value.startswith('"'):
        return value.strip('"').encode().ljust(field.size, b"\0")
    known = _FAMILIES | _PROTOCOLS | _ICMPV6 | _PACKET_TYPES
    if value in known:
        return known[value].to_bytes(field.size, "big")
    return int(value).to_bytes(field.size, "big") if value.isdigit() else ip_address(value).packed


def ether_type(name: str) -> Part:
    """The frame carries ``ip``, ``ip6`` or ``arp``, and no VLAN tag."""
    code = nft.payload(_LINK, 12, 2) + nft.cmp(Operator.EQ, _ETHER_TYPES[name].to_bytes(2, "big"))
    return Part(f"ether type {name}", code)


def not_from_loopback() -> Part:
    """The packet came by another link than ``lo``, whose number is always 1."""
    return Part('iif != "lo"', nft.meta(MetaKey.IIF) + nft.cmp(Operator.NEQ, _native(1)))


def is_loopback(direction: str) -> Part:
    """The packet is of IPv4, and its source (``saddr``) or destination (``daddr``) in 127.0.0.0/8."""
    field = _FIELDS[f"ip {direction}"]
    code = _family_first([field]) + nft.payload(_NET, field.load[1], 1) + nft.cmp(Operator.EQ, b"\x7f")
    return Part(f"ip {direction} {IPv4Network('127.0.0.0/8')}", code)


def fib(kind: str, *, on_this_link: bool = False) -> Part:
    """What the destination is to the host, or to the link that the packet came by.

    :param kind: ``local``, ``broadcast``, ``multicast``, ``unicast``: somewhere else, ``unreachable``: no route.
    """
    flags = FibFlag.DADDR | (FibFlag.IIF if on_this_link else 0)
    code = nft.fib_type(flags) + nft.cmp(Operator.EQ, _native(_ADDRESS_KINDS[kind]))
    return Part(f"fib daddr {'. iif ' if on_this_link else ''}type {kind}", code)


def conntrack(wanted: CtState | CtStatus) -> Part:
    """The packet's connection is in one of these states, or has one of these marks."""
    key, word = (CtKey.STATE, "state") if isinstance(wanted, CtState) else (CtKey.STATUS, "status")
    code = nft.ct(key) + nft.bitwise(_native(wanted)) + nft.cmp(Operator.NEQ, _native(0))
    return Part(f"ct {word} {','.join(str(flag.name).lower() for flag in wanted)}", code)


def _native(value: int) -> bytes:
    """Four bytes in the machine's order, as the kernel keeps what is not from a packet."""
    return value.to_bytes(4, _ORDER)


_ORDER: Final = sys.byteorder

# ---------------------------------------------------------------------------------------------------------- statements

accept: Final = Part("accept", nft.immediate_verdict(Verdict.ACCEPT))
drop: Final = Part("drop", nft.immediate_verdict(Verdict.DROP))
masquerade: Final = Part("masquerade", nft.masquerade())


def jump(chain: str) -> Part:
    """Go through another chain, and then on here."""
    return Part(f"jump {chain}", nft.immediate_verdict(Verdict.JUMP, chain))


def goto(chain: str) -> Part:
    """Go on in another chain instead."""
    return Part(f"goto {chain}", nft.immediate_verdict(Verdict.GOTO, chain))
