"""Published ports, bridges and endpoints, as the firewall has them: elements of sets and maps, as bytes.

The rules, which never change, are in `wherry.network.firewall.tables`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from msgspec import Struct

from wherry.linux.nft_expressions import Verdict
from wherry.linux.nftables import Element, NfFamily, padded
from wherry.network.firewall.tables import APART

__all__ = [
    "PROTOCOLS",
    "AntiSpoof",
    "BridgeRules",
    "Elements",
    "EndpointRules",
    "ForwardBlock",
    "LinkRule",
    "PairRule",
    "PortMapping",
    "ReplyMasquerade",
    "anti_spoof_elements",
    "bridge_elements",
    "forward_block_elements",
    "pair_rule_elements",
    "port_mapping_elements",
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
    :ivar icc: its containers reach one another; without it only by published ports (and `AntiSpoof.isolated`).
    :ivar masquerade: what leaves the host has the host's address.
    :ivar routed: the IP versions that are not translated; echo requests pass.
    :ivar unprotected: the IP versions of which all that is sent to the containers passes.
    :ivar outgoing: what leaves the host has this address of its, rather than that of the interface.
    """

    interface: str
    subnets: tuple[Prefix, ...] = ()
    internal: bool = False
    icc: bool = True
    masquerade: bool = True
    routed: frozenset[int] = frozenset()
    unprotected: frozenset[int] = frozenset()
    outgoing: tuple[Address, ...] = ()


class AntiSpoof(Struct, frozen=True):
    """Anti-spoofing of a bridge's port: the MAC and IP addresses that it may send from.

    :ivar host_interface: the port.
    :ivar mac: as ``02:42:ac:11:00:02``; the IPv6 link-local address that comes of it is allowed, too.
    :ivar isolated: it reaches no other port of the bridge.
    """

    host_interface: str
    mac: str
    addresses: tuple[Address, ...] = ()
    isolated: bool = False


class PortMapping(Struct, frozen=True):
    """A published port: the destination NAT from an address of the host to a container.

    :ivar protocol: ``tcp``, ``udp`` or ``sctp``.
    :ivar host_address: the address of the host; None or the unspecified address means all.
    :ivar address: the container's, which decides the family of the mapping, unless it is on [::1].
    :ivar bridge: the bridge that the container is on.
    :ivar host_port: 0: nothing is translated, the port is open at the container's address.
    :ivar trusted: the interfaces of the host by which the port is open at the container's address, too.
    """

    protocol: str
    host_address: Address | None
    host_port: int
    address: Address
    port: int
    bridge: str = ""
    trusted: tuple[str, ...] = ()


class EndpointRules(Struct, frozen=True):
    """What the tables have of one endpoint."""

    anti_spoof: AntiSpoof
    mappings: tuple[PortMapping, ...] = ()


class ReplyMasquerade(Struct, frozen=True):
    """A container on several networks that replies by another one than that by which its ports are published.

    :ivar source: the clients that get these replies: they are masqueraded.
    :ivar target: the container's address at which its ports are published.
    """

    source: Prefix
    target: Address


class LinkRule(Struct, frozen=True):
    """Ports of a container that are open to another one, on a bridge whose containers are kept apart: a link.

    :ivar caller: the bridge port of the client, and `callee` that of the server.
    :ivar sources: the caller's addresses, and `targets` the other's.
    :ivar ports: protocol and number.
    """

    caller: str
    callee: str
    sources: tuple[Address, ...]
    targets: tuple[Address, ...]
    ports: tuple[tuple[str, int], ...]


PairRule = ReplyMasquerade | LinkRule
"""A rule between two endpoints."""


class ForwardBlock(Struct, frozen=True):
    """Keeps an IP version from being forwarded between links that are not ours, where wherry switched forwarding on.

    The links are those that were there at that moment.

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
        verdict = (Verdict.ACCEPT, None) if bridge.icc else (Verdict.GOTO, APART)
        _put(found, NfFamily.INET, "within", Element(name + name, value=verdict))
        for subnet in bridge.subnets:
            first, last = subnet.network_address.packed, subnet.broadcast_address.packed
            _put(found, NfFamily.INET, f"sources{subnet.version}", Element(first + name, end=last + name))
            if bridge.masquerade and not bridge.internal and subnet.version not in bridge.routed:
                address = next((each for each in bridge.outgoing if each.version == subnet.version), None)
                name_of_set = f"masquerade{subnet.version}" if address is None else f"outgoing{subnet.version}"
                _put(found, NfFamily.INET, name_of_set, *_interval(subnet, address))
        for versions, name_of_set in ((bridge.routed, "routed"), (bridge.unprotected, "unprotected")):
            if not bridge.internal:
                keys = (Element(padded(_family(version)) + name) for version in sorted(versions))
                _put(found, NfFamily.INET, name_of_set, *keys)
    return found


def _family(version: int) -> bytes:
    return bytes((NfFamily.IPV4 if version == 4 else NfFamily.IPV6,))


def forward_block_elements(blocks: Iterable[ForwardBlock]) -> Elements:
    """The elements of forward blocks."""
    found: Elements = {}
    themselves: set[str] = set()
    for block in blocks:
        family = _family(block.version)
        _put(found, NfFamily.INET, "closed", Element(family))
        for name in (*block.bridges, *block.veths):
            _put(found, NfFamily.INET, "earlier", Element(padded(family) + _name(name)))
        for name in block.routers:
            _put(found, NfFamily.INET, "routers4", Element(_name(name)))
        themselves.update(block.bridges)
    for name in sorted(themselves):
        _put(found, NfFamily.INET, "itself", Element(_name(name) * 2))
    return found


def _interval(subnet: Prefix, value: Address | None = None) -> Iterator[Element]:
    """A range alone is two elements: its first key, and the first behind it.

    :param value: what a map says of the range.
    """
    yield Element(subnet.network_address.packed, value=value.packed if value is not None else None)
    yield Element((subnet.broadcast_address + 1).packed, is_end=True)


def anti_spoof_elements(anti_spoof: Iterable[AntiSpoof]) -> Elements:
    """The elements of bridge ports."""
    found: Elements = {}
    for each in anti_spoof:
        name, mac = _name(each.host_interface), bytes.fromhex(each.mac.replace(":", ""))
        _put(found, NfFamily.BRIDGE, "ports", Element(name))
        if each.isolated:
            _put(found, NfFamily.BRIDGE, "isolated", Element(name))
        sender = name + padded(mac)
        _put(found, NfFamily.BRIDGE, "macs", Element(sender))
        _put(found, NfFamily.BRIDGE, "owners6", Element(sender + _link_local(mac)))
        for address in each.addresses:
            _put(found, NfFamily.BRIDGE, f"owners{address.version}", Element(sender + address.packed))
    return found


def _link_local(mac: bytes) -> bytes:
    """The address that an interface gives itself (RFC 4291, appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def port_mapping_elements(mappings: Iterable[PortMapping], proxy6_port: int = 0) -> Elements:
    """The elements of published ports.

    :param proxy6_port: the port of the proxy at [::1]; 0: there is none.
    """
    found: Elements = {}
    for mapping in mappings:
        _put_open_port(found, mapping)
        if not mapping.host_port:
            continue
        version = mapping.address.version
        is_passed_on = version == 4 and mapping.host_address == _LOCALHOST6
        key = padded(bytes((PROTOCOLS[mapping.protocol],))) + padded(mapping.host_port.to_bytes(2, "big"))
        name = f"ports{version}"
        if mapping.host_address is not None and not mapping.host_address.is_unspecified:
            key, name = mapping.host_address.packed + key, f"addresses{version}"
        value = mapping.address.packed + padded(mapping.port.to_bytes(2, "big"))
        if not is_passed_on:
            _put(found, NfFamily.INET, name, Element(key, value=value))
        if proxy6_port and _is_at_localhost6(mapping):
            proxy = _LOCALHOST6.packed + padded(proxy6_port.to_bytes(2, "big"))
            _put(found, NfFamily.INET, "localhost6", Element(key[-8:], value=proxy))
    return found


def _put_open_port(found: Elements, mapping: PortMapping) -> None:
    """A port that is open at the container's address; it may be published several times."""
    protocol = padded(bytes((PROTOCOLS[mapping.protocol],)))
    key = mapping.address.packed + protocol + padded(mapping.port.to_bytes(2, "big"))
    version = mapping.address.version
    own = {f"open{version}": [Element(key)]} if not mapping.host_port else {}
    trusted = {f"trusted{version}": [Element(_name(name) + key) for name in mapping.trusted]}
    for name_of_set, elements in (own | trusted).items():
        known = found.get((NfFamily.INET, name_of_set), [])
        new = [each for each in elements if each not in known]
        if new:
            _put(found, NfFamily.INET, name_of_set, *new)


def pair_rule_elements(pair_rules: Iterable[PairRule]) -> Elements:
    """The elements of rules between two endpoints."""
    found: Elements = {}
    for pair_rule in pair_rules:
        if isinstance(pair_rule, ReplyMasquerade):
            source, target = pair_rule.source, pair_rule.target
            first, last = source.network_address.packed + target.packed, source.broadcast_address.packed + target.packed
            _put(found, NfFamily.INET, f"detours{target.version}", Element(first, end=last))
        else:
            _put_link_rule(found, pair_rule)
    return found


def _put_link_rule(found: Elements, link_rule: LinkRule) -> None:
    caller, callee = _name(link_rule.caller), _name(link_rule.callee)
    ports = [padded(bytes((PROTOCOLS[name],))) + padded(number.to_bytes(2, "big")) for name, number in link_rule.ports]
    _put(found, NfFamily.BRIDGE, "linked", Element(caller + callee), Element(callee + caller))
    _put(found, NfFamily.BRIDGE, "linked_ports", *(Element(caller + callee + port) for port in ports))
    for source in link_rule.sources:
        for target in link_rule.targets:
            if source.version == target.version:
                keys = (Element(source.packed + target.packed + port) for port in ports)
                _put(found, NfFamily.INET, f"linked{source.version}", *keys)


_LOCALHOST6: Final = IPv6Address("::1")


def _is_at_localhost6(mapping: PortMapping) -> bool:
    """Whether a mapping is reached at [::1], and by a protocol that the proxy knows."""
    where = mapping.host_address
    is_at_all = mapping.address.version == 6 and (where is None or where.is_unspecified)
    return (is_at_all or where == _LOCALHOST6) and mapping.protocol != "sctp"
