"""rtnetlink(7): links, addresses and routes, as messages to send and as values read.

What is to be done is a `Message`, made by a function with the name of the thing (`veth`, `address`, `route` ...) and
sent by `wherry.linux.netlink.NetlinkSocket`; so a whole plan is a list that can be compared, joined and sent at once.
What is there is dumped as frozen values (`links`, `addresses` ...). Wire formats: linux/if_link.h, linux/if_addr.h and
linux/rtnetlink.h.
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

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

__all__ = [
    "AddressEntry",
    "Group",
    "Kind",
    "Link",
    "RouteEntry",
    "RouteType",
    "address",
    "address_of_message",
    "addresses",
    "bridge",
    "delete_address",
    "delete_link",
    "delete_route",
    "dummy",
    "find_link",
    "link_of_message",
    "links",
    "name_of_message",
    "route",
    "route_of_message",
    "routes",
    "set_link",
    "upper_link",
    "veth",
]

Address = IPv4Address | IPv6Address

_LINK: Final = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS: Final = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst len, src len, tos, table, protocol, scope, type, flags
_U32: Final = struct.Struct("=I")

_IFF_UP: Final = 0x1
_IFF_LOWER_UP: Final = 0x10000
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_IFALIAS: Final = 20
_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_NET_NS_FD, _IFLA_EXT_MASK = 18, 26, 27, 28, 29
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_INFO_PEER: Final = 1
_BR_STP_STATE, _BR_MCAST_SNOOPING = 5, 23
_INET_CONF: Final = 1
_INET6_ADDR_GEN_MODE, _ADDR_GEN_EUI64, _ADDR_GEN_NONE = 8, 0, 1
_ROUTE_LOCALNET: Final = 26  # IPV4_DEVCONF_ROUTE_LOCALNET
_EXT_SKIP_STATS: Final = 8  # RTEXT_FILTER_SKIP_STATS: counters cost more than all the rest of a link
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD: Final = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_RTNH_F_ONLINK: Final = 4
_RTPROT_BOOT, _RTPROT_STATIC = 3, 4
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_TABLE_MAIN: Final = 254


class Kind(IntEnum):
    """Message types."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    NEWADDR = 20
    DELADDR = 21
    GETADDR = 22
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26


class Group(IntEnum):
    """Multicast groups, RTNLGRP_*."""

    LINK = 1
    IPV4_IFADDR = 5
    IPV4_ROUTE = 7
    IPV6_IFADDR = 9
    IPV6_ROUTE = 11


class RouteType(IntEnum):
    """What a route does, RTN_*."""

    UNICAST = 1
    LOCAL = 2
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8


class Link(NamedTuple):
    """A network interface.

    :ivar kind: ``bridge``, ``veth`` ...; empty for a real one.
    :ivar peer: index of the parent, or of a veth's other end (in another namespace as a rule); 0 without one.
    :ivar master: index of the bridge it is a port of, or 0.
    :ivar alias: a note that somebody left on it (``ip link set ... alias``).
    """

    number: int
    name: str
    kind: str
    up: bool
    mac: str
    mtu: int
    master: int
    peer: int
    alias: str = ""


class AddressEntry(NamedTuple):
    """An address of an interface."""

    link: int
    address: Address
    prefix: int


class RouteEntry(NamedTuple):
    """A route.

    :ivar destination: its network's first address; None for the default route.
    """

    kind: int
    destination: Address | None
    prefix: int
    gateway: Address | None
    link: int
    metric: int
    table: int
    family: int


# --------------------------------------------------------------------------------------------------------------- links


def veth(
    name: str,
    peer: str,
    *,
    mac: str | None = None,
    peer_mac: str | None = None,
    mtu: int | None = None,
    master: int | None = None,
    peer_namespace: int | None = None,
) -> Message:
    """Make a pair of interfaces, both down. See veth(4).

    :param master: index of the bridge that this side becomes a port of.
    :param peer_namespace: descriptor of the network namespace in which the other side appears.
    """
    other = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, peer) + _common(peer_mac, mtu, None)
    if peer_namespace is not None:
        other += number(_IFLA_NET_NS_FD, peer_namespace)
    info = nested(_IFLA_LINKINFO, text(_INFO_KIND, "veth"), nested(_INFO_DATA, nested(_VETH_INFO_PEER, other)))
    return _new_link(f"make veth pair '{name}' and '{peer}'", name, info + _common(mac, mtu, master), up=False)


def bridge(name: str, *, mac: str | None = None, mtu: int | None = None, namespace: int | None = None) -> Message:
    """Make a bridge, up, without spanning tree."""
    data = nested(_INFO_DATA, number(_BR_STP_STATE, 0), number(_BR_MCAST_SNOOPING, 1, 1))
    info = nested(_IFLA_LINKINFO, text(_INFO_KIND, "bridge"), data)
    return _new_link(f"make bridge '{name}'", name, info + _common(mac, mtu, None) + _into(namespace))


def dummy(name: str, *, mac: str | None = None, mtu: int | None = None, namespace: int | None = None) -> Message:
    """Make an interface that swallows what is sent to it, up."""
    info = nested(_IFLA_LINKINFO, text(_INFO_KIND, "dummy"))
    return _new_link(f"make dummy interface '{name}'", name, info + _common(mac, mtu, None) + _into(namespace))


def upper_link(
    kind: str,
    name: str,
    lower: int,
    data: bytes,
    *,
    mac: str | None = None,
    mtu: int | None = None,
    namespace: int | None = None,
) -> Message:
    """Make an interface that lies on another one; it is down. See `wherry.linux.upper_links`.

    :param lower: index of the other one, in this socket's namespace.
    :param data: the attributes of its kind.
    :param namespace: descriptor of the network namespace in which it appears.
    """
    info = nested(_IFLA_LINKINFO, text(_INFO_KIND, kind), nested(_INFO_DATA, data))
    body = number(_IFLA_LINK, lower) + info + _common(mac, mtu, None) + _into(namespace)
    return _new_link(f"make {kind} interface '{name}'", name, body, up=False)


def set_link(
    link: int | str,
    *,
    name: str | None = None,
    up: bool | None = None,
    mac: str | None = None,
    mtu: int | None = None,
    master: int | None = None,
    namespace: int | None = None,
    route_localnet: bool | None = None,
    link_local: bool | None = None,
    alias: str | None = None,
    group: int | None = None,
) -> Message:
    """Change an interface; what is None stays.

    :param link: its index, or its name.
    :param master: index of a bridge to become a port of; 0: of none.
    :param alias: a note to leave on it.
    :param group: one of the groups of interfaces, which have numbers.
    :param link_local: whether the kernel gives it an IPv6 link-local address when it comes up.
    :param route_localnet: whether 127.0.0.0/8 is routed like any address by way of it; see ip-sysctl in the kernel's
        documentation. Over netlink, because /proc/sys/net is that of the caller's namespace and may be read-only.
    """
    index, known = (link, b"") if isinstance(link, int) else (0, text(_IFLA_IFNAME, link))
    body = known + (text(_IFLA_IFNAME, name) if name is not None else b"")
    body += text(_IFLA_IFALIAS, alias) if alias is not None else b""
    body += number(_IFLA_GROUP, group) if group is not None else b""
    body += _common(mac, mtu, master) + _into(namespace) + _families(route_localnet, link_local)
    flags = _IFF_UP if up else 0
    header = _LINK.pack(0, 0, index, flags, 0 if up is None else _IFF_UP)
    return Message(Kind.NEWLINK, header + body, 0, f"change interface {link}" + (f" to '{name}'" if name else ""))


def delete_link(link: int | str) -> Message:
    """Remove an interface, by index or by name."""
    index, name = (link, b"") if isinstance(link, int) else (0, text(_IFLA_IFNAME, link))
    return Message(Kind.DELLINK, _LINK.pack(0, 0, index, 0, 0) + name, 0, f"remove interface {link!r}")


def delete_group(group: int) -> Message:
    """Remove all interfaces of a group, which is not 0, at once."""
    return Message(Kind.DELLINK, _LINK.pack(0, 0, 0, 0, 0) + number(_IFLA_GROUP, group), 0, "remove interfaces")


def links(conversation: NetlinkSocket) -> list[Link]:
    """All interfaces of the socket's namespace."""
    body = _LINK.pack(0, 0, 0, 0, 0) + number(_IFLA_EXT_MASK, _EXT_SKIP_STATS)
    return [link_of_message(m) for m in conversation.dump(Message(Kind.GETLINK, body, 0, "list interfaces"))]


def find_link(conversation: NetlinkSocket, name: str) -> Link | None:
    """The interface of that name; None when there is none."""
    body = _LINK.pack(0, 0, 0, 0, 0) + number(_IFLA_EXT_MASK, _EXT_SKIP_STATS) + text(_IFLA_IFNAME, name)
    try:
        return link_of_message(conversation.ask(Message(Kind.GETLINK, body, 0, f"look up interface '{name}'")))
    except SystemCallError as exc:
        if exc.errno == _ENODEV:
            return None
        raise


_ENODEV: Final = 19


def link_of_message(message: Message) -> Link:
    """Read an answer or an event about an interface."""
    _, _, index, flags, _ = _LINK.unpack_from(message.body)
    found = attributes(message.body, _LINK.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    return Link(
        number=index,
        name=_string(found.get(_IFLA_IFNAME, b"")),
        kind=_string(info.get(_INFO_KIND, b"")),
        up=bool(flags & _IFF_UP),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_integer(found.get(_IFLA_MTU)),
        master=_integer(found.get(_IFLA_MASTER)),
        peer=_integer(found.get(_IFLA_LINK)),
        alias=_string(found.get(_IFLA_IFALIAS, b"")),
    )


def name_of_message(message: Message) -> str:
    """The name in an event about an interface; the rest is not parsed."""
    found = (payload for kind, payload in attribute_list(message.body, _LINK.size) if kind == _IFLA_IFNAME)
    return _string(next(found, b""))


def _new_link(what: str, name: str, body: bytes, *, up: bool = True) -> Message:
    flags = _IFF_UP if up else 0
    header = _LINK.pack(0, 0, 0, flags, flags)
    return Message(Kind.NEWLINK, header + text(_IFLA_IFNAME, name) + body, NLM_F.CREATE | NLM_F.EXCL, what)


def _common(mac: str | None, mtu: int | None, master: int | None) -> bytes:
    body = attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", ""))) if mac else b""
    if mtu:
        body += number(_IFLA_MTU, mtu)
    if master is not None:
        body += number(_IFLA_MASTER, master)
    return body


def _families(route_localnet: bool | None, link_local: bool | None) -> bytes:
    inside = b""
    if route_localnet is not None:
        conf = nested(_INET_CONF, number(_ROUTE_LOCALNET, int(route_localnet)))
        inside += nested(socket.AF_INET, conf)
    if link_local is not None:
        mode = _ADDR_GEN_EUI64 if link_local else _ADDR_GEN_NONE
        inside += nested(socket.AF_INET6, number(_INET6_ADDR_GEN_MODE, mode, 1))
    return nested(_IFLA_AF_SPEC, inside) if inside else b""


def _into(namespace: int | None) -> bytes:
    return number(_IFLA_NET_NS_FD, namespace) if namespace is not None else b""


# ----------------------------------------------------------------------------------------------------------- addresses


def address(link: int, own: Address, prefix: int) -> Message:
    """Give an interface an address; an IPv6 address is usable at once, without duplicate address detection.

    :param link: the interface's index.
    """
    payload = own.packed
    body = attribute(_IFA_LOCAL, payload) + attribute(_IFA_ADDRESS, payload)
    if own.version == 6:
        body += number(_IFA_FLAGS, _IFA_F_NODAD)
    header = _ADDRESS.pack(_family(own), prefix, 0, _SCOPE_UNIVERSE, link)
    return Message(Kind.NEWADDR, header + body, NLM_F.CREATE | NLM_F.REPLACE, f"add address {own}/{prefix}")


def delete_address(link: int, own: Address, prefix: int) -> Message:
    """Take an address from an interface."""
    header = _ADDRESS.pack(_family(own), prefix, 0, 0, link)
    return Message(Kind.DELADDR, header + attribute(_IFA_LOCAL, own.packed), 0, f"remove address {own}/{prefix}")


def addresses(conversation: NetlinkSocket, family: int = socket.AF_UNSPEC) -> list[AddressEntry]:
    """The addresses of all interfaces."""
    asked = Message(Kind.GETADDR, _ADDRESS.pack(family, 0, 0, 0, 0), 0, "list addresses")
    return [entry for m in conversation.dump(asked) if (entry := address_of_message(m)) is not None]


def address_of_message(message: Message) -> AddressEntry | None:
    """Read an answer or an event about an address; None for another family than IP."""
    _, prefix, _, _, link = _ADDRESS.unpack_from(message.body)
    found = attributes(message.body, _ADDRESS.size)
    payload = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    return AddressEntry(link, ip_address(payload), prefix) if payload else None


# -------------------------------------------------------------------------------------------------------------- routes


def route(
    destination: Address | None = None,
    prefix: int = 0,
    *,
    via: Address | None = None,
    link: int | None = None,
    kind: RouteType = RouteType.UNICAST,
    metric: int = 0,
    onlink: bool = False,
    family: int = socket.AF_INET,
    replace: bool = True,
) -> Message:
    """Add a route, or replace the one of the same destination and metric.

    :param destination: None for the default route, of `family` (or of the gateway's).
    :param via: the gateway.
    :param onlink: the gateway is a neighbour, although no route says so.
    :param replace: if False, a route that is there already is left as it is, and the kernel answers EEXIST.
    """
    body = _route(destination, prefix, via, link, kind=kind, metric=metric, onlink=onlink, family=family)
    what = f"add route to {_shown(destination, prefix)}" + (f" via {via}" if via else "")
    return Message(Kind.NEWROUTE, body, NLM_F.CREATE | (NLM_F.REPLACE if replace else NLM_F.EXCL), what)


def delete_route(
    destination: Address | None = None,
    prefix: int = 0,
    *,
    via: Address | None = None,
    link: int | None = None,
    kind: RouteType = RouteType.UNICAST,
    metric: int = 0,
    family: int = socket.AF_INET,
) -> Message:
    """Remove a route."""
    body = _route(destination, prefix, via, link, kind=kind, metric=metric, onlink=False, family=family)
    return Message(Kind.DELROUTE, body, 0, f"remove route to {_shown(destination, prefix)}")


def routes(conversation: NetlinkSocket, family: int = socket.AF_UNSPEC) -> list[RouteEntry]:
    """All routes of all tables, those to the host's own addresses included."""
    asked = Message(Kind.GETROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0), 0, "list routes")
    return [route_of_message(m) for m in conversation.dump(asked)]


def route_of_message(message: Message) -> RouteEntry:
    """Read an answer or an event about a route."""
    family, prefix, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(message.body)
    found = attributes(message.body, _ROUTE.size)
    return RouteEntry(
        kind=kind,
        destination=ip_address(found[_RTA_DST]) if _RTA_DST in found else None,
        prefix=prefix,
        gateway=ip_address(found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else None,
        link=_integer(found.get(_RTA_OIF)),
        metric=_integer(found.get(_RTA_PRIORITY)),
        table=_integer(found.get(_RTA_TABLE)) or table,
        family=family,
    )


def _route(
    destination: Address | None,
    prefix: int,
    via: Address | None,
    link: int | None,
    *,
    kind: RouteType,
    metric: int,
    onlink: bool,
    family: int,
) -> bytes:
    known = destination or via
    family = _family(known) if known is not None else family
    scope = _SCOPE_LINK if kind is RouteType.UNICAST and via is None and family == socket.AF_INET else _SCOPE_UNIVERSE
    flags = _RTNH_F_ONLINK if onlink else 0
    body = _ROUTE.pack(family, prefix, 0, 0, _TABLE_MAIN, _RTPROT_BOOT, scope, kind, flags)
    if destination is not None:
        body += attribute(_RTA_DST, destination.packed)
    if via is not None:
        body += attribute(_RTA_GATEWAY, via.packed)
    if link is not None:
        body += number(_RTA_OIF, link)
    return body + number(_RTA_PRIORITY, metric) if metric else body


# ------------------------------------------------------------------------------------------------------------ plumbing


def _family(own: Address) -> int:
    return int(socket.AF_INET if own.version == 4 else socket.AF_INET6)


def _shown(destination: Address | None, prefix: int) -> str:
    return "default" if destination is None else f"{destination}/{prefix}"


def _string(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="surrogateescape")


def _integer(payload: bytes | None) -> int:
    return int(_U32.unpack(payload)[0]) if payload and len(payload) == 4 else 0
