"""The ports of the host that are published.

A port is not held by a socket: a range of 2,000 costs 2,000 entries of a dictionary here, and as many elements in the
kernel's map. That no other program has it is seen by binding it once, for a moment.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from msgspec import Struct

from wherry.errors import InvalidInput, SystemFault
from wherry.network.model import Address, Endpoint, PortRequest, PublishedPort

__all__ = ["PortAllocator", "is_bound_elsewhere"]

_KINDS: Final = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_ANY4, _ANY6, _LOCALHOST6 = IPv4Address("0.0.0.0"), IPv6Address("::"), IPv6Address("::1")
_ANYWHERE: Final[dict[int, Address]] = {4: _ANY4, 6: _ANY6}
_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_NO_SUCH_PROTOCOL: Final = {errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT}


class _Holder(Struct, frozen=True):
    """An address of a port that is taken, and by which endpoint."""

    address: Address
    endpoint_id: str
    name: str


class PortAllocator:
    """The ports of the host that lead to endpoints. Used from the event loop's thread only.

    :ivar has_proxy6: whether `wherry.network.proxy6` passes on what is sent to [::1], also to a
        container that has no IPv6.
    """

    def __init__(self) -> None:
        self.has_proxy6 = False
        self._held: dict[tuple[str, int], list[_Holder]] = {}
        self._cursor = 0

    def restore(self, endpoint: Endpoint) -> None:
        """Note down what an endpoint holds, without asking."""
        for each in endpoint.published:
            self._note(each, endpoint)

    def holders(self, protocol: str, port: int) -> list[str]:
        """The IDs of the endpoints that have a port of the host, on whichever address."""
        return [holder.endpoint_id for holder in self._held.get((protocol, port), ())]

    def allocate(
        self,
        endpoint: Endpoint,
        requests: Iterable[PortRequest],
        default: Address | None,
        routed: Collection[int] = (),
    ) -> list[PublishedPort]:
        """Take ports for an endpoint: all that it asks for, or none.

        :param routed: the IP versions that take no port of the host: the endpoint's own is opened.
        :param default: where to publish what names no address; None: on all addresses of each family that it has.
        :raises InvalidInput: a request makes no sense.
        :raises SystemFault: a port is taken, by whom; or a range is.
        """
        taken: list[PublishedPort] = []
        try:
            for request in requests:
                for group in self._take(endpoint, request, default, routed):
                    taken.append(group)
                    self._note(group, endpoint)
        except (InvalidInput, SystemFault):
            self.release(endpoint.id, taken)
            raise
        return taken

    def release(self, endpoint_id: str, published: Iterable[PublishedPort]) -> None:
        """Give ports back; again, it has no effect."""
        for each in published:
            key = (each.protocol, each.host_port)
            holders = self._held.get(key, [])
            left = [h for h in holders if h.endpoint_id != endpoint_id or h.address != each.host_address]
            if left:
                self._held[key] = left
            else:
                self._held.pop(key, None)

    def _note(self, published: PublishedPort, endpoint: Endpoint) -> None:
        if not published.host_port:
            return  # it is the endpoint's own
        holder = _Holder(published.host_address, endpoint.id, endpoint.owner_name)
        self._held.setdefault((published.protocol, published.host_port), []).append(holder)

    def _take(
        self, endpoint: Endpoint, request: PortRequest, default: Address | None, routed: Collection[int]
    ) -> list[PublishedPort]:
        """One port of the host, on every address asked for, for one port of the container."""
        _check(request)
        addresses = self._host_addresses(endpoint, request, default)
        if routed:
            open_at = {4: endpoint.ipv4, 6: endpoint.ipv6}
            found = [_ANYWHERE[one.version] for one in addresses if one.version in routed and open_at[one.version]]
            addresses = [one for one in addresses if _target_version(endpoint, one) not in routed]
            opened = _published(request, found, 0)
            return [*opened, *self._take_of_host(endpoint, request, addresses)] if addresses else opened
        return self._take_of_host(endpoint, request, addresses)

    def _take_of_host(self, endpoint: Endpoint, request: PortRequest, addresses: list[Address]) -> list[PublishedPort]:
        wanted = _wanted(request)
        if wanted is not None and len(wanted) == 1:
            self._complain(endpoint, request, addresses, wanted[0])
            return _published(request, addresses, wanted[0])
        for port in wanted if wanted is not None else self._ephemeral():
            if all(self._is_free(request.protocol, address, port) for address in addresses):
                return _published(request, addresses, port)
        raise _failed(endpoint, "all ports are allocated")

    def _host_addresses(self, endpoint: Endpoint, request: PortRequest, default: Address | None) -> list[Address]:
        """On which addresses a port is published: of the families that the endpoint has, and on [::1].

        Programs try [::1] first for "localhost", and not all go on to 127.0.0.1 when it refuses.
        """
        requested = request.host_address if request.host_address is not None else default
        passed_on = self.has_proxy6 and endpoint.ipv4 is not None and request.protocol != "sctp"
        if requested is None or (requested == _ANY4 and requested is default):
            other = _ANY6 if endpoint.ipv6 is not None else _LOCALHOST6 if passed_on else None
            found = (_ANY4 if endpoint.ipv4 is not None else None, other)
            return [address for address in found if address is not None]
        has = endpoint.ipv4 if requested.version == 4 else endpoint.ipv6
        if has is None and not (requested == _LOCALHOST6 and passed_on):
            family = f"IPv{requested.version}"
            raise InvalidInput(f"cannot publish on {requested}: the network of {endpoint.owner_name!r} has no {family}")
        return [requested]

    def _complain(self, endpoint: Endpoint, request: PortRequest, addresses: list[Address], port: int) -> None:
        """See that one certain port is free.

        :raises SystemFault: it is not; with the name of the holder, if it is an owner here.
        """
        for address in addresses:
            holder = self._holder(request.protocol, address, port)
            if holder is not None:
                text = f"Bind for {_at(address, port)} failed: port is already allocated"
                raise _failed(endpoint, f"{text} (container '{holder.name}' has it)")
            code = is_bound_elsewhere(request.protocol, address, port)
            if code:
                target = endpoint.ipv6 if address.version == 6 and endpoint.ipv6 else endpoint.ipv4
                inside = _at(target, request.container_port) if target else ""
                label = f"{_at(address, port)}:{inside}/{request.protocol}"
                raise _failed(endpoint, f"failed to bind host port for {label}: {os.strerror(code).lower()}")

    def _is_free(self, protocol: str, address: Address, port: int) -> bool:
        return self._holder(protocol, address, port) is None and not is_bound_elsewhere(protocol, address, port)

    def _holder(self, protocol: str, address: Address, port: int) -> _Holder | None:
        for holder in self._held.get((protocol, port), ()):
            if holder.address.version == address.version and (
                holder.address == address or holder.address.is_unspecified or address.is_unspecified
            ):
                return holder
        return None

    def _ephemeral(self) -> Iterator[int]:
        """The ephemeral ports, beginning behind the one that was given out last."""
        first, last = (int(word) for word in _RANGE_FILE.read_text().split())
        start = self._cursor if first <= self._cursor <= last else first
        for port in (*range(start, last + 1), *range(first, start)):
            self._cursor = port + 1
            yield port


def is_bound_elsewhere(protocol: str, address: Address, port: int) -> int:
    """Why a port cannot be bound, as an error number; 0 when it can.

    In a kernel without the protocol or the family nothing can hold the port.
    """
    kind, number = _KINDS[protocol]
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, kind | socket.SOCK_CLOEXEC, number) as trial:
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if protocol == "tcp":  # what lingers of closed connections holds nothing
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((_written(address), port))
    except OSError as exc:
        return 0 if exc.errno in _NO_SUCH_PROTOCOL else exc.errno or errno.EIO
    return 0


@lru_cache(64)  # thousands of ports may be published on one, and writing it takes longer than trying the port
def _written(address: Address) -> str:
    return str(address)


def _target_version(endpoint: Endpoint, address: Address) -> int:
    """The IP version in which the endpoint hears of what is sent to an address of the host's."""
    return 4 if address == _LOCALHOST6 and endpoint.ipv6 is None else address.version


def _check(request: PortRequest) -> None:
    if request.protocol not in _KINDS:
        raise InvalidInput(f"invalid proto: {request.protocol}")
    if not 0 < request.container_port < 65536:
        raise InvalidInput(f"invalid port: {request.container_port}")
    first, last = request.host_port_first, request.host_port_last
    if first is not None and not 0 < first <= (last or first) < 65536:
        raise InvalidInput(f"invalid host port range: {first}-{last or first}")


def _wanted(request: PortRequest) -> range | None:
    if request.host_port_first is None:
        return None
    return range(request.host_port_first, (request.host_port_last or request.host_port_first) + 1)


def _published(request: PortRequest, addresses: Iterable[Address], port: int) -> list[PublishedPort]:
    return [PublishedPort(request.protocol, request.container_port, address, port) for address in addresses]


def _at(address: Address, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def _failed(endpoint: Endpoint, text: str) -> SystemFault:
    who = f"{endpoint.owner_name} ({endpoint.id})"
    return SystemFault(f"driver failed programming external connectivity on endpoint {who}: {text}")
