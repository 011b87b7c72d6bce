"""Subnets: those that a client wrote down, checked, and those that are chosen for it.

A chosen one is small (256 addresses) and overlaps nothing that the host has a route to, an address in, or a name server
at: a VPN goes on working when it has a subnet of the usual ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from wherry.errors import Forbidden, InvalidInput
from wherry.network.model import Address, PoolSetting, Prefix, Subnet, SubnetRequest

__all__ = ["DEFAULT_POOLS", "check_pools", "choose", "new_ula", "parse_subnets", "ula_pool", "with_gateway"]

DEFAULT_POOLS: Final = (
    PoolSetting(IPv4Network("172.16.0.0/12"), 24),
    PoolSetting(IPv4Network("192.168.0.0/16"), 24),
    PoolSetting(IPv4Network("10.0.0.0/8"), 24),
)
"""RFC 1918, the block first that fewest homes and offices use."""

_OVERLAP: Final = "invalid pool request: Pool overlaps with other one on this address space"
_EXHAUSTED: Final = "all predefined address pools have been fully subnetted"


def check_pools(pools: Sequence[PoolSetting]) -> None:
    """Check ``default-address-pools``.

    :raises InvalidInput: a size is not between the base's and the family's, or two overlap.
    """
    for index, pool in enumerate(pools):
        if not pool.base.prefixlen <= pool.size <= pool.base.max_prefixlen:
            raise InvalidInput(f"invalid default address pool {pool.base}: the size {pool.size} does not fit in it")
        for other in pools[:index]:
            if _overlap(pool.base, other.base):
                raise InvalidInput(f"invalid default address pool {pool.base}: it overlaps {other.base}")


def choose(pools: Iterable[PoolSetting], version: int, used: Iterable[Prefix]) -> Prefix:
    """The first subnet of the pools that overlaps nothing.

    :param version: 4 or 6.
    :param used: what the engine's networks and the host have.
    :raises Forbidden: there is none.
    """
    spans = sorted((int(p.network_address), int(p.broadcast_address)) for p in used if p.version == version)
    for pool in pools:
        if pool.base.version == version:
            start = _first_gap(int(pool.base.network_address), int(pool.base.broadcast_address), pool.size, spans)
            if start is not None:
                return IPv4Network((start, pool.size)) if version == 4 else IPv6Network((start, pool.size))
    raise Forbidden(_EXHAUSTED)


def _first_gap(first: int, last: int, prefix: int, spans: Sequence[tuple[int, int]]) -> int | None:
    """The first aligned block between `first` and `last` that is in no span.

    :param spans: sorted by their beginnings.
    """
    size = 1 << ((32 if last < 1 << 32 else 128) - prefix)
    start = first
    for low, high in spans:
        if low > start + size - 1:
            break
        if high >= start:
            start = (high // size + 1) * size
    return start if start + size - 1 <= last else None


def new_ula() -> str:
    """A prefix of 48 bits of our own: RFC 4193, with 40 random bits."""
    return str(IPv6Network(((0xFD << 120) | secrets.randbits(40) << 80, 48)))


def ula_pool(prefix: str) -> PoolSetting:
    """The pool of the engine's IPv6 subnets."""
    return PoolSetting(IPv6Network(prefix), 64)


# ------------------------------------------------------------------------------------------------- what a client wrote


def parse_subnets(
    requests: Sequence[SubnetRequest],
    used: Iterable[Prefix],
    *,
    ipv4: bool,
    ipv6: bool,
    chosen: Callable[[int], Prefix],
) -> list[Subnet]:
    """Read and check the subnets of a network to be made; entries of a family that it does not have are left out.

    :param used: the subnets of the engine's other networks.
    :param chosen: given 4 or 6, a free subnet: for an entry without one.
    :raises InvalidInput: what is malformed, all of it, in Docker's words (``ValidateIPAM``).
    :raises Forbidden: a subnet overlaps another.
    """
    wrong: list[str] = []
    found = [_parse(request, wrong, ipv6=ipv6, chosen=chosen) for request in requests]
    if wrong:
        raise InvalidInput("invalid network config:\n" + "\n".join(wrong))
    subnets = [s for s in found if s is not None and (ipv4 if s.network.version == 4 else ipv6)]
    others = list(used)
    for subnet in subnets:
        if any(_overlap(subnet.network, other) for other in others):
            raise Forbidden(_OVERLAP)
        others.append(subnet.network)
    return subnets


def with_gateway(subnet: Subnet) -> Subnet:
    """The subnet with the first free address as its gateway, unless it has one.

    :raises InvalidInput: it is too small to have one.
    """
    if subnet.gateway is not None:
        return subnet
    taken = set(subnet.auxiliary.values())
    few = range(1 if subnet.network.num_addresses > 2 else 0, min(subnet.network.num_addresses, len(taken) + 2))
    for index in few:
        address = subnet.network[index]
        if address not in taken:
            return Subnet(subnet.network, address, subnet.range, subnet.auxiliary)
    raise InvalidInput(f"invalid subnet {subnet.network}: it has no address for a gateway")


def _parse(request: SubnetRequest, wrong: list[str], *, ipv6: bool, chosen: Callable[[int], Prefix]) -> Subnet | None:
    if not request.subnet:
        if request.ip_range or request.gateway or request.auxiliary:
            wrong.append("invalid subnet : invalid CIDR block notation")
            return None
        return Subnet(chosen(4))
    whole = _prefix(request.subnet)
    if whole is None:
        wrong.append(f"invalid subnet {request.subnet}: invalid CIDR block notation")
        return None
    if whole.version == 6 and not ipv6:
        return None
    if str(whole) != _canonical(request.subnet):
        wrong.append(f"invalid subnet {request.subnet}: it should be {whole}")
    if _is_unusable(whole):
        wrong.append(f"invalid subnet {request.subnet}: no container can have an address of it")
    part = _range(request.ip_range, whole, wrong)
    taken = _ends(whole)
    gateway = _address(request.gateway, whole, f"invalid gateway {request.gateway}", wrong, taken)
    auxiliary: dict[str, Address] = {}
    for name, text in request.auxiliary.items():
        address = _address(text, whole, f"invalid auxiliary address {name}", wrong, taken)
        if address is not None:
            auxiliary[name] = address
    return Subnet(whole, gateway, part, auxiliary)


def _is_unusable(whole: Prefix) -> bool:
    """Whether the addresses mean this host, many hosts, or (the last of all) every host."""
    last = int(whole.broadcast_address)
    return whole.is_loopback or whole.is_multicast or last == (1 << whole.max_prefixlen) - 1


def _ends(whole: Prefix) -> set[Address]:
    """The addresses of the subnet itself and of all in it, where it has them (RFC 3021)."""
    if whole.max_prefixlen - whole.prefixlen < 2:
        return set()
    return {whole.network_address, whole.broadcast_address} if whole.version == 4 else {whole.network_address}


def _range(text: str, whole: Prefix, wrong: list[str]) -> Prefix | None:
    if not text:
        return None
    part = _prefix(text)
    if part is None:
        wrong.append(f"invalid ip-range {text}: invalid CIDR block notation")
        return None
    if part.version != whole.version:
        wrong.append(f"invalid ip-range {text}: parent subnet is an IPv{whole.version} block")
        return None
    if part.prefixlen < whole.prefixlen:
        wrong.append(f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {whole}")
    if str(part) != _canonical(text):
        wrong.append(f"invalid ip-range {text}: it should be {part}")
    if not _overlap(part, whole):
        wrong.append(f"invalid ip-range {text}: parent subnet {whole} doesn't contain ip-range")
    return part


def _address(text: str, whole: Prefix, complaint: str, wrong: list[str], taken: set[Address]) -> Address | None:
    """An address of a subnet.

    :param taken: those that are in use; the one that is found is added.
    """
    if not text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        wrong.append(f"{complaint}: invalid address")
        return None
    if address.version != whole.version:
        wrong.append(f"{complaint}: parent subnet is an IPv{whole.version} block")
        return None
    if address not in whole:
        wrong.append(f"{complaint}: parent subnet {whole} doesn't contain this address")
        return None
    if address in taken:
        wrong.append(f"{complaint}: Address already in use")
    taken.add(address)
    return address


def _prefix(text: str) -> Prefix | None:
    """A prefix with its length written as a number; None when it is malformed."""
    address, slash, length = text.partition("/")
    if not slash or not length.isdecimal() or "%" in address:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _canonical(text: str) -> str:
    """The same address and length in their usual form, host bits kept: ``FD00:0::1/64`` is ``fd00::1/64``."""
    address, _, length = text.partition("/")
    return f"{ip_address(address)}/{int(length)}"


def _overlap(one: Prefix, other: Prefix) -> bool:
    if one.version != other.version:
        return False
    return int(one.network_address) <= int(other.broadcast_address) and int(other.network_address) <= int(
        one.broadcast_address
    )
