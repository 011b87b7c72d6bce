"""The answers that come out of the directory.

A name is looked up as Docker does it: as a whole on the owner's networks; then each dot of it is taken as the one
between a name and a network, the last one first: ``a.b.c`` is ``a.b`` on ``c``, or ``a`` on ``b.c``.

What can only be a name of ours and is not known has no answer elsewhere either, and is not asked for upstream: names
below those of the owner's networks, names of containers on another network, addresses of our subnets, names without a
dot, ``localhost`` (RFC 6761 section 6.3).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from wherry.network.dns.directory import Directory, ResolverConfig
from wherry.network.dns.message import (
    AA,
    IN,
    BadMessage,
    Question,
    Rcode,
    Record,
    Type,
    labels,
    name_from_text,
    name_to_text,
)
from wherry.network.dns.reply import EMPTY, Reply, make_reply, status
from wherry.network.model import Address, Prefix

__all__ = ["TTL", "local_replies"]

TTL: Final = 5
"""Seconds for which a client may keep an answer. Docker says 600, and programs that obey (nginx, JVMs) go on talking to
an address that another container has by then; asking again costs them a datagram that never leaves the machine."""

MAX_TURNS: Final = 64

_UNKNOWN: Final = status(Rcode.NXDOMAIN, authoritative=True)
_LOCALHOST: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_LOOPBACK: Final[tuple[Prefix, ...]] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_ABOUT_ZONES: Final = frozenset({Type.NS, Type.SOA, Type.DS, Type.DNSKEY})
"""Types that a validating resolver asks of top-level domains; no program looks a machine up with them."""


def local_replies(
    directory: Directory, owner: str, question: Question, resolver_config: ResolverConfig
) -> tuple[Reply, ...]:
    """What the directory has to say.

    :param resolver_config: the owner's.
    :returns: nothing where upstream servers are to be asked; else replies to be given in turn, so that equal names take
        turns in being the first.
    """
    name = name_to_text(question.name.lower())
    pointed = _reverse(question.name) if name.endswith((".in-addr.arpa", ".ip6.arpa")) else None
    if pointed is not None:
        return _pointer(directory, owner, question, pointed, resolver_config)
    addresses = _find(directory, owner, name)
    if addresses is not None:
        return _in_turn(question, addresses)
    return (_UNKNOWN,) if _is_withheld(directory, name, question.type, resolver_config) else ()


def _is_withheld(directory: Directory, name: str, kind: int, resolver_config: ResolverConfig) -> bool:
    """Whether a name that the owner has no answer for is not asked upstream."""
    if not resolver_config.upstreams:
        return True
    if resolver_config.asks_all:
        return False
    if "." not in name:
        return kind not in _ABOUT_ZONES
    return any(
        domain in resolver_config.domains or directory.is_foreign(part, domain) for part, domain in _splits(name)
    )


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """All ways of taking a name apart at a dot, the last dot first."""
    at = name.rfind(".")
    while at > 0:
        yield name[:at], name[at + 1 :]
        at = name.rfind(".", 0, at)


def _find(directory: Directory, owner: str, name: str) -> Sequence[Address] | None:
    if name == "localhost" or name.endswith(".localhost"):
        return _LOCALHOST
    found = directory.lookup(owner, name, None)
    if found is not None or "." not in name:
        return found
    for part, network in _splits(name):
        found = directory.lookup(owner, part, network)
        if found is not None:
            return found
    return None


def _in_turn(question: Question, addresses: Sequence[Address]) -> tuple[Reply, ...]:
    """The same addresses, each being the first in one reply; of very many, some by chance."""
    records = [_address_record(question, one) for one in addresses if _wanted(question, one)]
    if not records:
        return (EMPTY,)
    if len(records) > MAX_TURNS:
        random.shuffle(records)
    turns = range(min(len(records), MAX_TURNS))
    return tuple(make_reply(question, Rcode.NOERROR, records[n:] + records[:n], flags=AA) for n in turns)


def _wanted(question: Question, address: Address) -> bool:
    kind = Type.A if address.version == 4 else Type.AAAA
    return question.type in (kind, Type.ANY)


def _address_record(question: Question, address: Address) -> Record:
    kind = Type.A if address.version == 4 else Type.AAAA
    return Record(question.name, kind, IN, TTL, address.packed)


# ------------------------------------------------------------------------------------------------------ by address


def _reverse(name: bytes) -> Prefix | None:
    """The address, or the range of addresses, below ``in-addr.arpa`` or ``ip6.arpa`` (RFC 1035 3.5, RFC 3596 2.5)."""
    *digits, family, _ = (label.decode("latin-1").lower() for label in labels(name))
    digits.reverse()
    if family == "in-addr":
        return _range4(digits)
    if len(digits) > 32 or not all(len(digit) == 1 and digit in "0123456789abcdef" for digit in digits):
        return None
    return IPv6Network((int("".join(digits).ljust(32, "0"), 16), 4 * len(digits)))


def _range4(parts: list[str]) -> IPv4Network | None:
    valid = all(part.isascii() and part.isdecimal() and len(part) <= 3 and int(part) < 256 for part in parts)
    if not valid or len(parts) > 4:
        return None
    packed = bytes(int(part) for part in parts).ljust(4, b"\0")
    return IPv4Network((packed, 8 * len(parts)))


def _pointer(
    directory: Directory, owner: str, question: Question, asked: Prefix, resolver_config: ResolverConfig
) -> tuple[Reply, ...]:
    if asked.num_addresses == 1:
        address = asked.network_address
        name = "localhost" if _inside(asked, _LOOPBACK) else directory.reverse(owner, address)
        if name is not None:
            return (_named(question, name),)
    ours = _inside(asked, _LOOPBACK) or _inside(asked, resolver_config.subnets)
    return (_UNKNOWN,) if ours or not resolver_config.upstreams else ()


def _named(question: Question, name: str) -> Reply:
    if question.type not in (Type.PTR, Type.ANY):
        return EMPTY
    try:
        target = name_from_text(name)
    except BadMessage:  # a container may be called so, but no DNS name can
        return _UNKNOWN
    return make_reply(question, Rcode.NOERROR, [Record(question.name, Type.PTR, IN, TTL, target)], flags=AA)


def _inside(asked: Prefix, ranges: Sequence[Prefix]) -> bool:
    """Whether all of what was asked for lies in one of the ranges."""
    return any(
        asked.prefixlen >= one.prefixlen and asked.network_address in one
        for one in ranges
        if one.version == asked.version
    )
