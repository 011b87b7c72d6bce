"""Expressions of nftables: the instructions that a rule is made of, as bytes.

Each function builds one expression for `wherry.linux.nftables.new_rule`; a rule is their concatenation. They are
named as the kernel names them and as ``nft --debug=netlink`` prints them. Values live in a file of sixteen registers
of four bytes; a *slot* is the number of the first one used, so that a concatenation is several loads into
neighbouring slots. Slot 0 is what nft calls ``reg 1``.

Source: linux/netfilter/nf_tables.h; the semantics in nft(8), section "EXPRESSIONS".
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from wherry.linux.netlink import attribute, attribute_list, attributes, nested, number, text

__all__ = [
    "CtKey",
    "CtState",
    "CtStatus",
    "FibFlag",
    "Hook",
    "MetaKey",
    "Operator",
    "PayloadBase",
    "Verdict",
    "bitwise",
    "cmp",
    "ct",
    "data_value",
    "data_verdict",
    "dnat",
    "expression",
    "fib_type",
    "immediate_verdict",
    "lookup",
    "masquerade",
    "meta",
    "names",
    "payload",
    "snat",
]

_VALUE, _VERDICT = 1, 2  # NFTA_DATA_VALUE, NFTA_DATA_VERDICT
_LIST_ELEMENT: Final = 1  # NFTA_LIST_ELEM
_REGISTER_VERDICT: Final = 0


class Hook(IntEnum):
    """Where a base chain is called; ``NF_INET_*``, and ``NF_BR_*`` with the same numbers."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


class MetaKey(IntEnum):
    """What is known of a packet besides its bytes; ``enum nft_meta_keys``."""

    PROTOCOL = 1
    IIF = 4
    OIF = 5
    IIFNAME = 6
    OIFNAME = 7
    NFPROTO = 15
    L4PROTO = 16
    PKTTYPE = 19
    IIFKIND = 26
    OIFKIND = 27


class CtKey(IntEnum):
    """What is known of a packet's connection; ``enum nft_ct_keys``."""

    STATE = 0
    STATUS = 2


class CtState(IntFlag):
    """``ct state``; linux/netfilter/nf_conntrack_common.h, ``NF_CT_STATE_BIT``."""

    INVALID = 1
    ESTABLISHED = 2
    RELATED = 4
    NEW = 8


class CtStatus(IntFlag):
    """``ct status``; ``IPS_*`` of linux/netfilter/nf_conntrack_common.h."""

    SNAT = 0x10
    DNAT = 0x20


class PayloadBase(IntEnum):
    """From where a payload's offset counts; ``enum nft_payload_bases``."""

    LINK = 0
    NETWORK = 1
    TRANSPORT = 2


class Operator(IntEnum):
    """``enum nft_cmp_ops``."""

    EQ = 0
    NEQ = 1


class FibFlag(IntFlag):
    """``enum nft_fib_flags``: what the routing table is asked with."""

    SADDR = 0x1
    DADDR = 0x2
    IIF = 0x8


class Verdict(IntEnum):
    """``NF_DROP``, ``NF_ACCEPT`` and ``enum nft_verdicts``."""

    DROP = 0
    ACCEPT = 1
    JUMP = -3
    GOTO = -4
    RETURN = -5


def _register(slot: int) -> int:
    """The name of a slot: the old 16-byte registers where one begins there, as the kernel itself prints it."""
    return 1 + slot // 4 if slot % 4 == 0 else 8 + slot


def _number(kind: int, value: int) -> bytes:
    return number(kind, value, network_order=True)


def expression(name: str, *inside: bytes) -> bytes:
    """One expression of a rule's list (``NFTA_LIST_ELEM`` with ``NFTA_EXPR_NAME`` and ``NFTA_EXPR_DATA``)."""
    return nested(_LIST_ELEMENT, text(1, name), nested(2, *inside))


def names(code: bytes) -> tuple[str, ...]:
    """The names of concatenated expressions, in order."""
    found = (attributes(one)[1] for _, one in attribute_list(code))
    return tuple(name.rstrip(b"\0").decode(errors="replace") for name in found)


def data_value(kind: int, value: bytes) -> bytes:
    """A ``NFTA_DATA_VALUE`` inside an attribute of the given type."""
    return nested(kind, attribute(_VALUE, value))


def data_verdict(kind: int, verdict: Verdict, chain: str | None = None) -> bytes:
    """A ``NFTA_DATA_VERDICT`` inside an attribute of the given type.

    :param chain: where `Verdict.JUMP` and `Verdict.GOTO` go.
    """
    inside = _number(1, verdict & 0xFFFFFFFF)
    if chain is not None:
        inside += text(2, chain)
    return nested(kind, nested(_VERDICT, inside))


def meta(key: MetaKey, slot: int = 0) -> bytes:
    """Load what is known of the packet into a slot."""
    return expression("meta", _number(1, _register(slot)), _number(2, key))


def ct(key: CtKey, slot: int = 0) -> bytes:
    """Load what is known of the packet's connection into a slot; four bytes in the machine's order."""
    return expression("ct", _number(1, _register(slot)), _number(2, key))


def payload(base: PayloadBase, offset: int, length: int, slot: int = 0) -> bytes:
    """Load bytes of the packet into a slot; offset and length in bytes."""
    return expression("payload", _number(1, _register(slot)), _number(2, base), _number(3, offset), _number(4, length))


def fib_type(flags: FibFlag, slot: int = 0) -> bytes:
    """Load what kind of address it is to the routes: ``RTN_LOCAL`` = 2 ...; four bytes in the machine's order."""
    return expression("fib", _number(1, _register(slot)), _number(2, 3), _number(3, flags))


def cmp(operator: Operator, value: bytes, slot: int = 0) -> bytes:
    """Go on with the rule only when the slot's value compares so."""
    return expression("cmp", _number(1, _register(slot)), _number(2, operator), data_value(3, value))


def bitwise(mask: bytes, slot: int = 0) -> bytes:
    """Keep only the mask's bits of a slot's value."""
    return expression(
        "bitwise",
        _number(1, _register(slot)),
        _number(2, _register(slot)),
        _number(3, len(mask)),
        data_value(4, mask),
        data_value(5, bytes(len(mask))),
    )


def lookup(
    set_name: str, *, slot: int = 0, into: int | None = None, verdict: bool = False, invert: bool = False
) -> bytes:
    """Go on with the rule only when a set has what begins in the slot.

    :param into: of a map: the slot for the value found.
    :param verdict: of a verdict map: carry the verdict out.
    :param invert: go on only when the set does *not* have it.
    """
    inside = text(1, set_name) + _number(2, _register(slot))
    if verdict:
        inside += _number(3, _REGISTER_VERDICT)
    elif into is not None:
        inside += _number(3, _register(into))
    if invert:
        inside += _number(5, 1)
    return expression("lookup", inside)


def immediate_verdict(verdict: Verdict, chain: str | None = None) -> bytes:
    """End the rule with a verdict."""
    return expression("immediate", _number(1, _REGISTER_VERDICT), data_verdict(2, verdict, chain))


def dnat(family: int, address_slot: int, port_slot: int) -> bytes:
    """Give the connection another destination, held in two slots.

    :param family: ``NFPROTO_IPV4`` = 2 or ``NFPROTO_IPV6`` = 10.
    """
    return expression(
        "nat", _number(1, 1), _number(2, family), _number(3, _register(address_slot)), _number(5, _register(port_slot))
    )


def snat(family: int, address_slot: int) -> bytes:
    """Give the connection another source, held in a slot.

    :param family: ``NFPROTO_IPV4`` = 2 or ``NFPROTO_IPV6`` = 10.
    """
    return expression("nat", _number(1, 0), _number(2, family), _number(3, _register(address_slot)))


def masquerade() -> bytes:
    """Give the connection the leaving interface's address as its source."""
    return expression("masq")
