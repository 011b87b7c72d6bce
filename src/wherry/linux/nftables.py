"""The kernel's packet filter: tables, chains, rules, sets and maps of nf_tables, over netlink.

Builders return the `Message`\\ s of a transaction; `commit` carries them out, all or none. The readers ask the kernel
what is there. Which rules a container engine wants is not said here, but in `wherry.network`.

Source: linux/netfilter/nf_tables.h and nfnetlink.h; netfilter's conventions for batches.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from wherry.errors import SystemCallError
from wherry.linux.netlink import (
    NLM_F,
    Message,
    NetlinkSocket,
    attribute,
    attribute_list,
    attributes,
    nested,
    number,
    text,
)
from wherry.linux.nft_expressions import Hook, Verdict, data_value, data_verdict, names

__all__ = [
    "EVENT_GROUP",
    "BaseChain",
    "ChainInfo",
    "DataType",
    "Element",
    "NfFamily",
    "RuleInfo",
    "SetFlag",
    "TableFlag",
    "chains",
    "commit",
    "delete_elements",
    "delete_table",
    "destroy_table",
    "elements",
    "generation_maker",
    "has_nftables",
    "new_chain",
    "new_elements",
    "new_rule",
    "new_set",
    "new_table",
    "padded",
    "rules",
    "tables",
    "type_of",
]

#: ``NFNLGRP_NFTABLES``: the group that is told of every change of the rules; a generation ends each transaction.
EVENT_GROUP: Final = 7
_SUBSYSTEM: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_HEADER: Final = struct.Struct(">BBH")  # struct nfgenmsg: family, version, resource ID (big endian)
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _GETCHAIN = 3, 4
_NEWRULE, _GETRULE = 6, 7
_NEWSET = 9
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14
_NEWGEN: Final = 15
_DESTROYTABLE: Final = 26
_LIST_ELEMENT: Final = 1
_COMMENT: Final = 0  # NFTNL_UDATA_RULE_COMMENT, the form in which nft keeps a rule's comment
_ELEMENTS_PER_MESSAGE: Final = 32_000  # bytes; an attribute holds at most 65,535
#: NFTNL_UDATA_SET_KEYBYTEORDER, BYTEORDER_HOST_ENDIAN: without it nft cannot print the elements.
_HOST_ORDER: Final = b"\0\4" + struct.pack("=I", 1)
_VERDICT_TYPE: Final = 0xFFFFFF00  # NFT_DATA_VERDICT


class NfFamily(IntEnum):
    """Of which packets a table hears; ``NFPROTO_*``."""

    UNSPECIFIED = 0
    INET = 1
    IPV4 = 2
    ARP = 3
    BRIDGE = 7
    IPV6 = 10


class SetFlag(IntFlag):
    """``enum nft_set_flags``."""

    INTERVAL = 0x4
    MAP = 0x8
    CONCAT = 0x80


class TableFlag(IntFlag):
    """``enum nft_table_flags``."""

    #: Nobody but the socket that made the table may change it, flush it or remove it (Linux 5.12).
    OWNER = 0x2
    #: When that socket is closed, the table stays, and is everybody's (Linux 6.9); without this flag it goes.
    PERSIST = 0x4


class DataType(IntEnum):
    """What a set's keys are, in nft's own numbers (its datatype.h): for listings only, the kernel compares bytes."""

    VERDICT = 1
    NF_PROTO = 2
    IPV4_ADDR = 7
    IPV6_ADDR = 8
    ETHER_ADDR = 9
    INET_PROTO = 12
    INET_SERVICE = 13
    IFNAME = 41

    @property
    def size(self) -> int:
        """Bytes of a value, not padded."""
        return _SIZES[self]


_SIZES: Final = {
    DataType.VERDICT: 16,
    DataType.NF_PROTO: 1,
    DataType.IPV4_ADDR: 4,
    DataType.IPV6_ADDR: 16,
    DataType.ETHER_ADDR: 6,
    DataType.INET_PROTO: 1,
    DataType.INET_SERVICE: 2,
    DataType.IFNAME: 16,
}


@dataclass(frozen=True, slots=True)
class BaseChain:
    """What makes a chain one that the kernel calls by itself.

    :ivar kind: ``filter`` or ``nat``.
    :ivar priority: lower ones are called first.
    """

    kind: str
    hook: Hook
    priority: int


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a set or map.

    :ivar key: its key; the parts of a concatenation each padded to four bytes.
    :ivar end: of an interval in a concatenation: the last key.
    :ivar value: of a map: what the key leads to, or a verdict with its chain.
    :ivar is_end: it is the end of an interval, the first key behind it.
    """

    key: bytes
    end: bytes | None = None
    value: bytes | tuple[Verdict, str | None] | None = None
    is_end: bool = False

    def __lt__(self, other: Element) -> bool:
        return (self.key, self.is_end) < (other.key, other.is_end)


@dataclass(frozen=True, slots=True)
class ChainInfo:
    """A chain as the kernel has it; `base` is None for one that is only jumped to."""

    family: int
    table: str
    name: str
    base: BaseChain | None
    drops: bool


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """A rule as the kernel has it: its comment and the names of its expressions, in order."""

    chain: str
    comment: str
    expressions: tuple[str, ...]


# ----------------------------------------------------------------------------------------------------------- building


def type_of(parts: Sequence[DataType]) -> int:
    """The number under which nft knows a concatenation: six bits for each part."""
    found = 0
    for part in parts:
        found = found << 6 | part
    return found


def padded(value: bytes) -> bytes:
    """A value as part of a key: at the start of as many whole registers as it needs."""
    return value + bytes(-len(value) & 3)


def _message(operation: int, family: int, body: bytes, flags: int, what: str) -> Message:
    return Message(_SUBSYSTEM | operation, _HEADER.pack(family, 0, 0) + body, flags, what)


def new_table(family: NfFamily, name: str, *, exclusive: bool = False, flags: int = 0) -> Message:
    """Make a table; one that is there already is left alone unless it has to be new.

    :param flags: of `TableFlag`; one that is there has to have the same.
    """
    body = text(1, name) + (number(2, flags, network_order=True) if flags else b"")
    how = NLM_F.CREATE | (NLM_F.EXCL if exclusive else 0)
    return _message(_NEWTABLE, family, body, how, f"add table {family.name.lower()} {name}")


def delete_table(family: NfFamily, name: str) -> Message:
    """Remove a table with everything in it."""
    return _message(_DELTABLE, family, text(1, name), 0, f"delete table {family.name.lower()} {name}")


def destroy_table(family: NfFamily, name: str) -> Message:
    """Remove a table with everything in it, if it is there (Linux 6.3)."""
    return _message(_DESTROYTABLE, family, text(1, name), 0, f"destroy table {family.name.lower()} {name}")


def new_chain(family: NfFamily, table: str, name: str, base: BaseChain | None = None) -> Message:
    """Make a chain; a base chain accepts what its rules do not decide."""
    body = text(1, table) + text(3, name)
    if base is not None:
        priority = number(2, base.priority & 0xFFFFFFFF, network_order=True)
        body += nested(4, number(1, base.hook, network_order=True), priority)
        body += number(5, Verdict.ACCEPT, network_order=True) + text(7, base.kind)
    return _message(_NEWCHAIN, family, body, NLM_F.CREATE, f"add chain {table} {name}")


def new_set(
    family: NfFamily,
    table: str,
    name: str,
    key: Sequence[DataType],
    data: Sequence[DataType] = (),
    *,
    number_in_batch: int,
    interval: bool = False,
) -> Message:
    """Make a set, or with data a map.

    :param number_in_batch: any number that no other set of the transaction has.
    :param interval: the keys are ranges.
    """
    flags = (SetFlag.INTERVAL if interval else 0) | (SetFlag.MAP if data else 0)
    if interval and len(key) > 1:
        flags |= SetFlag.CONCAT
    body = text(1, table) + text(2, name) + number(3, flags, network_order=True)
    body += number(4, type_of(key), network_order=True) + number(5, _length(key), network_order=True)
    if data:
        kind = _VERDICT_TYPE if data[0] is DataType.VERDICT else type_of(data)
        body += number(6, kind, network_order=True) + number(7, _length(data), network_order=True)
    if flags & SetFlag.CONCAT:
        fields = (nested(_LIST_ELEMENT, number(1, part.size, network_order=True)) for part in key)
        body += nested(9, nested(2, *fields))
    body += number(10, number_in_batch, network_order=True)
    if tuple(key) == (DataType.IFNAME,):
        body += attribute(13, _HOST_ORDER)
    return _message(_NEWSET, family, body, NLM_F.CREATE, f"add {'map' if data else 'set'} {table} {name}")


def _length(parts: Sequence[DataType]) -> int:
    """Bytes of a key or value: alone as it is, in a concatenation padded."""
    return parts[0].size if len(parts) == 1 else sum((part.size + 3) & ~3 for part in parts)


def new_rule(family: NfFamily, table: str, chain: str, expressions: bytes, comment: str = "") -> Message:
    """Append a rule to a chain.

    :param expressions: from `wherry.linux.nft_expressions`, concatenated.
    :param comment: at most 127 bytes; shown in listings.
    """
    body = text(1, table) + text(2, chain) + nested(4, expressions)
    if comment:
        said = comment.encode() + b"\0"
        body += attribute(7, bytes((_COMMENT, len(said))) + said)
    return _message(_NEWRULE, family, body, NLM_F.CREATE | NLM_F.APPEND, f"add rule {table} {chain}: {comment}")


def new_elements(family: NfFamily, table: str, name: str, found: Iterable[Element]) -> list[Message]:
    """Put elements into a set or map, in as few messages as they fit in. One that is there already is no error."""
    what = f"add elements to {table} {name}"
    return [_message(_NEWSETELEM, family, body, NLM_F.CREATE, what) for body in _element_lists(table, name, found)]


def delete_elements(family: NfFamily, table: str, name: str, found: Iterable[Element]) -> list[Message]:
    """Take elements out of a set or map; one that is not there is an error (ENOENT)."""
    what = f"delete elements of {table} {name}"
    return [_message(_DELSETELEM, family, body, 0, what) for body in _element_lists(table, name, found)]


def _element_lists(table: str, name: str, found: Iterable[Element]) -> Iterator[bytes]:
    head = text(1, table) + text(2, name)
    room = b""
    for element in found:
        room += _element(element)
        if len(room) >= _ELEMENTS_PER_MESSAGE:
            yield head + nested(3, room)
            room = b""
    if room:
        yield head + nested(3, room)


def _element(element: Element) -> bytes:
    body = data_value(1, element.key)
    if element.end is not None:
        body += data_value(10, element.end)
    if isinstance(element.value, tuple):
        body += data_verdict(2, *element.value)
    elif element.value is not None:
        body += data_value(2, element.value)
    if element.is_end:
        body += number(3, 1, network_order=True)
    return nested(_LIST_ELEMENT, body)


# --------------------------------------------------------------------------------------------------------- conversing


def commit(connection: NetlinkSocket, messages: Sequence[Message]) -> None:
    """Carry out a transaction: all of it or nothing.

    :raises SystemCallError: what the kernel refused; nothing was changed.
    """
    frame = _HEADER.pack(0, 0, 10)  # the resource ID of a batch is the subsystem that it is for
    begin = Message(_BATCH_BEGIN, frame, 0, "change the packet filter")
    connection.transaction(messages, begin, Message(_BATCH_END, frame))


def _dump(connection: NetlinkSocket, operation: int, family: int, body: bytes, what: str) -> list[dict[int, bytes]]:
    message = _message(operation, family, body, 0, what)
    for _ in range(_TRIES):
        try:
            return [attributes(answer.body, _HEADER.size) | {0: answer.body[:1]} for answer in connection.dump(message)]
        except SystemCallError as exc:
            if exc.errno != errno.EINTR:  # somebody changed the rules while they were read
                raise
    raise SystemCallError("netlink", what, errno.EINTR, hint="another program changes the rules all the time")


_TRIES: Final = 20


def _string(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "big")


def tables(connection: NetlinkSocket) -> set[tuple[int, str]]:
    """Family and name of every table of this network namespace."""
    found = _dump(connection, _GETTABLE, NfFamily.UNSPECIFIED, b"", "list tables")
    return {(table[0][0], _string(table[1])) for table in found}


def chains(connection: NetlinkSocket, family: NfFamily = NfFamily.UNSPECIFIED) -> list[ChainInfo]:
    """Every chain of a family, or of all."""
    return [_chain(found) for found in _dump(connection, _GETCHAIN, family, b"", "list chains")]


def _chain(found: dict[int, bytes]) -> ChainInfo:
    base = None
    if 4 in found:
        hook = attributes(found[4])
        place = _HOOKS.get(_integer(hook[1]))
        if place is not None:
            priority = int.from_bytes(hook[2], "big", signed=True)
            base = BaseChain(_string(found.get(7, b"")), place, priority)
    drops = 5 in found and _integer(found[5]) == Verdict.DROP
    return ChainInfo(found[0][0], _string(found[1]), _string(found[3]), base, drops)


#: Without the hooks of a single device, ingress and egress, for which nobody asks here.
_HOOKS: Final = {hook.value: hook for hook in Hook}


def rules(connection: NetlinkSocket, family: NfFamily, table: str) -> list[RuleInfo]:
    """The rules of a table, chain by chain, in order."""
    found = _dump(connection, _GETRULE, family, text(1, table), f"list rules of {table}")
    return [_rule(each) for each in found if _string(each[1]) == table]


def _rule(found: dict[int, bytes]) -> RuleInfo:
    data = found.get(7, b"")
    comment = _string(data[2 : 2 + data[1]]) if len(data) > 2 and data[0] == _COMMENT else ""
    return RuleInfo(_string(found[2]), comment, names(found.get(4, b"")))


def elements(connection: NetlinkSocket, family: NfFamily, table: str, name: str) -> list[Element]:
    """The elements of a set or map.

    :raises SystemCallError: ENOENT, there is no such set.
    """
    message = text(1, table) + text(2, name)
    found: list[Element] = []
    for answer in _dump(connection, _GETSETELEM, family, message, f"list elements of {table} {name}"):
        found += [_read_element(attributes(one)) for _, one in attribute_list(answer.get(3, b""))]
    return found


def _read_element(found: dict[int, bytes]) -> Element:
    value: bytes | tuple[Verdict, str | None] | None = None
    if 2 in found:
        data = attributes(found[2])
        value = _read_verdict(attributes(data[2])) if 2 in data else data[1]
    end = attributes(found[10])[1] if 10 in found else None
    return Element(attributes(found[1])[1], end, value, bool(_integer(found.get(3, b"")) & 1))


def _read_verdict(found: dict[int, bytes]) -> bytes | tuple[Verdict, str | None]:
    """A verdict with its chain; the bytes of one that is never ours."""
    try:
        verdict = Verdict(int.from_bytes(found[1], "big", signed=True))
    except ValueError:
        return found[1]
    return verdict, _string(found[2]) if 2 in found else None


def generation_maker(message: Message) -> int | None:
    """Which thread committed a transaction, from the event that ends it; None for events inside one."""
    if message.kind != _SUBSYSTEM | _NEWGEN:
        return None
    return _integer(attributes(message.body, _HEADER.size).get(2, b""))


def has_nftables(connection: NetlinkSocket) -> bool:
    """Whether this kernel has nf_tables at all."""
    try:
        tables(connection)
    except SystemCallError as exc:
        if exc.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT, errno.EPROTONOSUPPORT):
            return False
        raise
    return True
