"""What bridges, endpoints and published ports are in the tables: elements of sets and maps, as bytes."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from msgspec import Struct

from wherry.linux.nft_expressions import Verdict
from wherry.linux.nftables import Element, NfFamily, padded
from wherry.network.rules_tables import DNAT_ONLY

__all__ = [
    "PROTOCOLS",
    "Binding",
    "BridgeRules",
    "Closing",
    "Elements",
    "Guard",
    "binding_elements",
    "bridge_elements",
    "closing_elements",
    "guard_elements",
]

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network
#: Family of the table and name of the set: what is in it.
Elements = dict[tuple[NfFamily, str], list[Element]]

PROTOCOLS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}


class BridgeRules(Struct, frozen=True):
    """What is allowed on a bridge.

    :ivar interface: its name in the kernel.
    :ivar subnets: of its network.
    :ivar internal: nothing goes in or out, and of the host only the bridge's own addresses are reached.
    :ivar icc: its containers reach one another; without it only through published ports, and guards must say so, too.
    :ivar masquerade: what leaves the host has the host's address.
    """

    interface: str
    subnets: tuple[Prefix, ...] = ()
    internal: bool = False
    icc: bool = True
    masquerade: bool = True


class Guard(Struct, frozen=True):
    """The addresses that a bridge's port may send from.

    :ivar host_interface: the port.
    :ivar mac: as ``02:42:ac:11:00:02``; the IPv6 link-local address that comes of it is allowed, too.
    :ivar isolated: it reaches no other port of the bridge.
    """

    host_interface: str
    mac: str
    addresses: tuple[Address, ...] = ()
    isolated: bool = False


class Binding(Struct, frozen=True):
    """A published port.

    :ivar protocol: ``tcp``, ``udp`` or ``sctp``.
    :ivar host_address: the address of the host; None or the unspecified address means all.
    :ivar address: the container's, which decides of which family the binding is.
    :ivar bridge: the bridge that the container is on.
    """

    protocol: str
    host_address: Address | None
    host_port: int
    address: Address
    port: int
    bridge: str = ""


class Closing(Struct, frozen=True):
    """A family whose packets the host did not pass on before wherry had it do so, and the links that were there then.

    :ivar version: 4 or 6.
    :ivar bridges: the bridges, but those of this engine's.
    :ivar veths: the veth links, likewise.
    :ivar routers: of IPv4, the links whose packets were passed on all the same (``net.ipv4.conf.LINK.forwarding``).
    """

    version: int
    bridges: tuple[str, ...] = ()
    veths: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()


def _name(value: str) -> bytes:
    return value.encode().ljust(16, b"\0")


def _put(found: Elements, family: NfFamily, name: str, *elements: Element) -> None:
    found.setdefault((family, name), []).extend(elements)


def bridge_elements(bridges: Iterable[BridgeRules]) -> Elements:
    """The elements of bridges."""
    found: Elements = {}
    for bridge in bridges:
        name = _name(bridge.interface)
        _put(found, NfFamily.INET, "bridges", Element(name))
        if bridge.internal:
            _put(found, NfFamily.INET, "internal", Element(name))
        verdict = (Verdict.ACCEPT, None) if bridge.icc else (Verdict.GOTO, DNAT_ONLY)
        _put(found, NfFamily.INET, "within", Element(name + name, value=verdict))
        for subnet in bridge.subnets:
            first, last = subnet.network_address.packed, subnet.broadcast_address.packed
            _put(found, NfFamily.INET, f"sources{subnet.version}", Element(first + name, end=last + name))
            if bridge.masquerade and not bridge.internal:
                _put(found, NfFamily.INET, f"masquerade{subnet.version}", *_interval(subnet))
    return found


def closing_elements(closings: Iterable[Closing]) -> Elements:
    """The elements of families that are closed for links that are not ours."""
    found: Elements = {}
    themselves: set[str] = set()
    for closing in closings:
        family = bytes((NfFamily.IPV4 if closing.version == 4 else NfFamily.IPV6,))
        _put(found, NfFamily.INET, "closed", Element(family))
        for name in (*closing.bridges, *closing.veths):
            _put(found, NfFamily.INET, "earlier", Element(padded(family) + _name(name)))
        for name in closing.routers:
            _put(found, NfFamily.INET, "routers4", Element(_name(name)))
        themselves.update(closing.bridges)
    for name in sorted(themselves):
        _put(found, NfFamily.INET, "itself", Element(_name(name) * 2))
    return found


def _interval(subnet: Prefix) -> Iterator[Element]:
    """A range alone is two elements: its first key, and the first behind it."""
    yield Element(subnet.network_address.packed)
    yield Element((subnet.broadcast_address + 1).packed, is_end=True)


def guard_elements(guards: Iterable[Guard]) -> Elements:
    """The elements of guarded ports."""
    found: Elements = {}
    for guard in guards:
        name, mac = _name(guard.host_interface), bytes.fromhex(guard.mac.replace(":", ""))
        _put(found, NfFamily.BRIDGE, "ports", Element(name))
        if guard.isolated:
            _put(found, NfFamily.BRIDGE, "isolated", Element(name))
        sender = name + padded(mac)
        _put(found, NfFamily.BRIDGE, "macs", Element(sender))
        _put(found, NfFamily.BRIDGE, "owners6", Element(sender + _link_local(mac)))
        for address in guard.addresses:
            _put(found, NfFamily.BRIDGE, f"owners{address.version}", Element(sender + address.packed))
    return found


def _link_local(mac: bytes) -> bytes:
    """The address that an interface gives itself (RFC 4291, appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def binding_elements(bindings: Iterable[Binding], localhost6: int = 0) -> Elements:
    """The elements of published ports.

    :param localhost6: the port of the forwarder at [::1]; 0: there is none.
    """
    found: Elements = {}
    for binding in bindings:
        version = binding.address.version
        key = padded(bytes((PROTOCOLS[binding.protocol],))) + padded(binding.host_port.to_bytes(2, "big"))
        name = f"ports{version}"
        if binding.host_address is not None and not binding.host_address.is_unspecified:
            key, name = binding.host_address.packed + key, f"addresses{version}"
        value = binding.address.packed + padded(binding.port.to_bytes(2, "big"))
        _put(found, NfFamily.INET, name, Element(key, value=value))
        if localhost6 and _is_at_localhost6(binding):
            forwarder = _LOCALHOST6.packed + padded(localhost6.to_bytes(2, "big"))
            _put(found, NfFamily.INET, "localhost6", Element(key[-8:], value=forwarder))
    return found


_LOCALHOST6: Final = IPv6Address("::1")


def _is_at_localhost6(binding: Binding) -> bool:
    """Whether a binding is reached at [::1], and by a protocol that the forwarder speaks."""
    where = binding.host_address
    is_there = where is None or where.is_unspecified or where == _LOCALHOST6
    return is_there and binding.address.version == 6 and binding.protocol != "sctp"
