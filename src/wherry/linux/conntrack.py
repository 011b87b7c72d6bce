"""Connection tracking: look entries up, and delete them.

An entry keeps the addresses that its first packet was given. So when a rule for datagrams goes or comes, entries made
before have to be forgotten, or a peer that sends on from the same port stays with the old answer for as long as it
sends.

Source: linux/netfilter/nfnetlink_conntrack.h; conntrack(8).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from wherry.errors import SystemCallError
from wherry.linux.netlink import Message, NetlinkSocket, attribute, attributes, nested, number

__all__ = ["Entry", "entries", "forget", "original_port"]

_SUBSYSTEM: Final = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2
_HEADER: Final = struct.Struct(">BBH")  # struct nfgenmsg
_ORIGINAL, _REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25  # CTA_*
_IP, _PROTOCOL = 1, 2  # CTA_TUPLE_IP, CTA_TUPLE_PROTO
_FILTER_PROTOCOL: Final = 1 << 3  # CTA_FILTER_F_CTA_PROTO_NUM
_TRIES: Final = 20
_UDP: Final = socket.IPPROTO_UDP
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}

Address = IPv4Address | IPv6Address


class Entry(NamedTuple):
    """One connection, from the point of view of its first packet.

    :ivar answerer: who answers: the destination after translation, with `answerer_port`.
    :ivar handle: what the kernel knows it by; for `forget`.
    """

    protocol: int
    source: Address
    destination: Address
    source_port: int
    destination_port: int
    answerer: Address
    answerer_port: int
    handle: bytes


def entries(connection: NetlinkSocket, family: int, protocol: int) -> list[Entry]:
    """The connections of one protocol with ports.

    Kernels since 5.8 leave the others out of the answer by themselves.

    :param family: ``AF_INET`` or ``AF_INET6``.
    :param protocol: ``IPPROTO_UDP`` ...
    :raises SystemCallError: the kernel has no connection tracking, or refuses.
    """
    wanted = nested(_FILTER, number(1, _FILTER_PROTOCOL)) + nested(_ORIGINAL, nested(_PROTOCOL, number(1, protocol, 1)))
    body = _HEADER.pack(family, 0, 0) + wanted
    message = Message(_SUBSYSTEM | _GET, body, 0, "list tracked connections")
    found = (_entry(answer.body) for answer in _dump(connection, message))
    return [entry for entry in found if entry is not None and entry.protocol == protocol]


def _dump(connection: NetlinkSocket, message: Message) -> list[Message]:
    for _ in range(_TRIES - 1):
        try:
            return connection.dump(message)
        except SystemCallError as exc:
            if exc.errno != errno.EINTR:
                raise
    return connection.dump(message)


def _entry(body: bytes) -> Entry | None:
    parts = attributes(body, _HEADER.size)
    source, destination, protocol, source_port, destination_port = _tuple(parts[_ORIGINAL])
    if source_port is None or destination_port is None:
        return None  # ICMP and others without ports
    answerer, _, _, answerer_port, _ = _tuple(parts[_REPLY])
    handle = (
        body[: _HEADER.size]
        + nested(_ORIGINAL, parts[_ORIGINAL])
        + number(_ID, _integer(parts[_ID]), network_order=True)
    )
    if _ZONE in parts:
        handle += number(_ZONE, _integer(parts[_ZONE]), 2, network_order=True)
    return Entry(protocol, source, destination, source_port, destination_port, answerer, answerer_port or 0, handle)


def _tuple(data: bytes) -> tuple[Address, Address, int, int | None, int | None]:
    parts = attributes(data)
    addresses, protocol = attributes(parts[_IP]), attributes(parts[_PROTOCOL])
    source, destination = (addresses[1], addresses[2]) if 1 in addresses else (addresses[3], addresses[4])
    ports = [_integer(protocol[kind]) if kind in protocol else None for kind in (2, 3)]
    return ip_address(source), ip_address(destination), protocol[1][0], ports[0], ports[1]


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "big")


def original_port(connection: NetlinkSocket, answerer: tuple[Address, int], peer: tuple[Address, int]) -> int | None:
    """To which port a peer sent its datagrams, before they were translated to the answerer's.

    :returns: None, when there is no such connection.
    :raises SystemCallError: the kernel refuses.
    """
    version = answerer[0].version
    first = 1 if version == 4 else 3
    addresses = attribute(first, answerer[0].packed) + attribute(first + 1, peer[0].packed)
    ports = number(2, answerer[1], 2, network_order=True) + number(3, peer[1], 2, network_order=True)
    reply = nested(_REPLY, nested(_IP, addresses), nested(_PROTOCOL, number(1, _UDP, 1), ports))
    family = _FAMILIES[version]
    try:
        found = connection.ask(
            Message(_SUBSYSTEM | _GET, _HEADER.pack(family, 0, 0) + reply, 0, "look up a connection")
        )
    except SystemCallError as exc:
        if exc.errno == errno.ENOENT:
            return None
        raise
    entry = _entry(found.body)
    return None if entry is None else entry.destination_port


def forget(connection: NetlinkSocket, found: Iterable[Entry]) -> int:
    """Take entries out of the table; those that are gone by themselves are no error.

    :returns: how many were there.
    :raises SystemCallError: the kernel refuses.
    """
    count = 0
    for entry in found:
        what = f"forget the connection from {entry.source} port {entry.source_port}"
        try:
            connection.request(Message(_SUBSYSTEM | _DELETE, entry.handle, 0, what))
        except SystemCallError as exc:
            if exc.errno != errno.ENOENT:
                raise
        else:
            count += 1
    return count
