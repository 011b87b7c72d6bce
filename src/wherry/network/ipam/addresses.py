"""Which addresses of a subnet are taken, and the next that is free.

Addresses are given out in turn, as Docker does, and one that was released comes last: a peer that still remembers the
address of a container that is gone should not find another one there.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address
from typing import Final

from wherry.errors import Forbidden, InvalidInput
from wherry.network.model import Address, Prefix, Subnet

__all__ = ["AddressPool", "is_address", "mac_of", "parse_mac"]

_MAC: Final = re.compile(r"([0-9a-fA-F]{2}([:-]))(?:[0-9a-fA-F]{2}\2){4}[0-9a-fA-F]{2}")


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address, not a name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class AddressPool:
    """The addresses of one subnet.

    :param subnet: its gateway and auxiliary addresses, the network's own and the broadcast address are never given out.
    """

    def __init__(self, subnet: Subnet) -> None:
        self._network = subnet.network
        self._make = type(subnet.network.network_address)
        whole = subnet.network
        chosen: Prefix = subnet.range or whole
        self._first, self._last = int(chosen.network_address), int(chosen.broadcast_address)
        spare = whole.max_prefixlen - whole.prefixlen
        self._never = {int(address) for address in subnet.auxiliary.values()}
        if subnet.gateway is not None:
            self._never.add(int(subnet.gateway))
        if spare > 1:  # RFC 3021: a /31 has neither; RFC 4291 2.6.1: the first IPv6 address means any router
            self._never.add(int(whole.network_address))
            if whole.version == 4:
                self._never.add(int(whole.broadcast_address))
        self._taken: set[int] = set()
        self._next = self._first
        self._reserved_inside = sum(self._first <= number <= self._last for number in self._never)
        self._taken_inside = 0

    @property
    def taken(self) -> int:
        """How many addresses are given out."""
        return len(self._taken)

    @property
    def status(self) -> tuple[int, int]:
        """How many addresses are given out or never are, and how many of those to choose from are free."""
        free = self._last - self._first + 1 - self._reserved_inside - self._taken_inside
        return len(self._taken) + len(self._never), free

    def __contains__(self, address: Address) -> bool:
        """Whether an address is of this subnet."""
        return address in self._network

    def take(self) -> Address | None:
        """The next free address, or None when there is none."""
        size = self._last - self._first + 1
        if self._taken_inside + self._reserved_inside >= size:
            return None
        number = self._next
        while number in self._taken or number in self._never:
            number = number + 1 if number < self._last else self._first
        self._next = number + 1 if number < self._last else self._first
        self._add(number)
        return self._make(number)

    def reserve(self, address: Address) -> None:
        """Take a certain address.

        :raises Forbidden: it is in use, or is never given out.
        :raises InvalidInput: it is of another subnet.
        """
        if address not in self._network:
            raise InvalidInput(f"no configured subnet contains IP address {address}")
        number = int(address)
        if number in self._taken or number in self._never:
            raise Forbidden("Address already in use")
        self._add(number)

    def release(self, address: Address) -> None:
        """The address is free; again, it has no effect."""
        number = int(address)
        if number in self._taken:
            self._taken.remove(number)
            self._taken_inside -= self._first <= number <= self._last

    def _add(self, number: int) -> None:
        self._taken.add(number)
        self._taken_inside += self._first <= number <= self._last


def parse_mac(text: str) -> str:
    """A MAC address in its usual form, lower case with colons.

    :raises InvalidInput: it is none, or one of a group (its first byte is odd).
    """
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1:
        raise InvalidInput(f"invalid MAC address: {text}")
    return text.lower().replace("-", ":")


def mac_of(address: IPv4Address | None, endpoint_id: str) -> str:
    """The MAC address of an endpoint whose request names none.

    It follows from the IPv4 address, so that the neighbour entries of that address stay right when another container
    gets it; without IPv4 it follows from the endpoint's ID.
    """
    tail = address.packed if address is not None else bytes.fromhex(endpoint_id[:8])
    return (b"\x02\x42" + tail).hex(":")
