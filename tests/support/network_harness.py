"""A small world of network namespaces: a host with bridges and containers, and a neighbour outside.

Nothing of it is in the machine's own network namespace; it is gone when the last descriptor is closed::

    outside 192.0.2.2 --- eth0 192.0.2.1 [ host ] br-a 10.91.0.1 --- a1 .2, a2 .3
                                                  br-b 10.91.1.1 --- b1 .2
                                                  br-i 10.91.2.1 --- i1 .2, i2 .3     internal
                                                  br-n 10.91.3.1 --- n1 .2, n2 .3     without icc

The outside has routes to the containers through the host, as a curious neighbour would.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeVar

from wherry.linux.process import CLONE, setns, unshare
from wherry.network.firewall.firewall import AntiSpoof, BridgeRules, Firewall, PortMapping

T = TypeVar("T")

PATIENCE = 0.25
"""Seconds after which a packet is held to be lost; between namespaces delivery is a function call."""

LONG_PATIENCE = 30
"""Seconds for what is known to be on its way; an emulated processor may be busy elsewhere."""

BRIDGES = {
    "br-a": BridgeRules("br-a", (ip_network("10.91.0.0/24"), ip_network("fd00:91:0::/64"))),
    "br-b": BridgeRules("br-b", (ip_network("10.91.1.0/24"), ip_network("fd00:91:1::/64"))),
    "br-i": BridgeRules("br-i", (ip_network("10.91.2.0/24"), ip_network("fd00:91:2::/64")), internal=True),
    "br-n": BridgeRules("br-n", (ip_network("10.91.3.0/24"), ip_network("fd00:91:3::/64")), icc=False),
}
CONTAINERS = {"a1": ("br-a", 2), "a2": ("br-a", 3), "b1": ("br-b", 2)}
CONTAINERS |= {"i1": ("br-i", 2), "i2": ("br-i", 3), "n1": ("br-n", 2), "n2": ("br-n", 3)}


@contextmanager
def new_host() -> Iterator[None]:
    """Have the calling thread in a network namespace of its own, as the host of an engine."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    unshare(CLONE.NEWNET)
    try:
        yield
    finally:
        setns(home, CLONE.NEWNET)
        os.close(home)


class Place:
    """A network namespace.

    :param fd: one that is there; else it is made.
    """

    def __init__(self, name: str, fd: int | None = None) -> None:
        self.name = name
        self.fd = self._run(self._make) if fd is None else fd

    @staticmethod
    def _make() -> int:
        unshare(CLONE.NEWNET)
        Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @staticmethod
    def _run(function: Callable[[], T]) -> T:
        """Run a function in a thread of its own, which may go elsewhere."""
        found: list[T] = []
        failed: list[BaseException] = []

        def body() -> None:
            try:
                found.append(function())
            except BaseException as exc:
                failed.append(exc)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return found[0]

    def run(self, function: Callable[[], T]) -> T:
        """Run a function in this namespace; sockets that it opens stay here."""

        def inside() -> T:
            setns(self.fd, CLONE.NEWNET)
            return function()

        return self._run(inside)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def ip(self, *lines: str) -> None:
        """Run lines of ip(8)."""
        self.run(
            lambda: subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60)
        )

    def sysctl(self, name: str, value: int) -> None:
        self.run(lambda: Path("/proc/sys/net", name).write_text(str(value)))

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        made = self.run(lambda: socket.socket(family, kind, protocol))
        made.settimeout(PATIENCE)
        return made

    def frame(self, interface: str, data: bytes) -> None:
        """Send an Ethernet frame as it is."""
        with self.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((interface, 0))
            raw.send(data)

    def mac(self, interface: str) -> bytes:
        """An interface's address; asked of a packet socket, because /sys shows the namespace of whoever mounted it."""
        with self.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((interface, 0))
            return bytes(raw.getsockname()[4])


class Lab:
    """The world; see the module."""

    def __init__(self) -> None:
        self.host, self.outside = Place("host"), Place("outside")
        self.containers = {name: Place(name) for name in CONTAINERS}
        for place in (self.host, self.outside, *self.containers.values()):
            place.ip("link set lo up")
        self._uplink()
        for name, bridge in BRIDGES.items():
            self._bridge(name, bridge)
        for name in CONTAINERS:
            self._plug(name)
        self.firewall = Firewall("wherry")
        self.mappings: list[PortMapping] = []
        self.host.run(self.restore)
        self._wait_for_neighbours()

    def _wait_for_neighbours(self) -> None:
        """IPv6 neighbours answer only some time after their links are up."""
        pairs = [(self.host, self.outside, "2001:db8::2"), (self.outside, self.host, "2001:db8::1")]
        pairs += [(self.host, self.containers[name], str(address_of(name, 6))) for name in CONTAINERS]
        for sender, receiver, address in pairs:
            assert any(reaches(sender, receiver, address, 5000) for _ in range(80)), f"{address} does not answer"

    def restore(self) -> None:
        self.firewall.restore(BRIDGES.values(), self.anti_spoof(), self.mappings)

    def close(self) -> None:
        self.firewall.close()
        for place in (self.host, self.outside, *self.containers.values()):
            os.close(place.fd)

    # --- building

    def _uplink(self) -> None:
        self.host.ip(
            f"link add eth0 type veth peer name eth0 netns {self.outside.path}",
            "addr add 192.0.2.1/24 dev eth0",
            "addr add 2001:db8::1/64 dev eth0 nodad",
            "link set eth0 up",
        )
        self.outside.ip(
            "addr add 192.0.2.2/24 dev eth0",
            "addr add 2001:db8::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add 10.91.0.0/16 via 192.0.2.1",
            "route add fd00:91::/32 via 2001:db8::1",
        )
        self.host.sysctl("ipv4/ip_forward", 1)
        self.host.sysctl("ipv6/conf/all/forwarding", 1)

    def _bridge(self, name: str, bridge: BridgeRules) -> None:
        four, six = bridge.subnets
        self.host.ip(
            f"link add {name} type bridge",
            f"addr add {four[1]}/24 dev {name}",
            f"addr add {six[1]}/64 dev {name} nodad",
            f"link set {name} up",
        )
        self.host.sysctl(f"ipv4/conf/{name}/route_localnet", 1)

    def _plug(self, name: str) -> None:
        bridge, number = CONTAINERS[name]
        four, six = BRIDGES[bridge].subnets
        place = self.containers[name]
        self.host.ip(
            f"link add wv{name} type veth peer name eth0 address {mac_of(name)} netns {place.path}",
            f"link set wv{name} master {bridge} up",
            f"link set wv{name} type bridge_slave hairpin on",
        )
        place.ip(
            f"addr add {four[number]}/24 dev eth0",
            f"addr add {six[number]}/64 dev eth0 nodad",
            "link set eth0 up",
            # Internal networks give no default route; a container that may sets one itself, and must not profit.
            f"route add default via {four[1]}",
            f"route add default via {six[1]}",
        )

    # --- looking

    def anti_spoof(self) -> list[AntiSpoof]:
        return [self.sender(name) for name in CONTAINERS]

    def sender(self, name: str) -> AntiSpoof:
        bridge = CONTAINERS[name][0]
        isolated = not BRIDGES[bridge].icc
        return AntiSpoof(f"wv{name}", mac_of(name), (address_of(name), address_of(name, 6)), isolated)

    def publish(self, *mappings: PortMapping) -> None:
        self.host.run(lambda: self.firewall.add((), mappings))

    def withdraw(self, *mappings: PortMapping) -> None:
        self.host.run(lambda: self.firewall.remove((), mappings))


def mac_of(name: str) -> str:
    return f"02:00:00:00:{ord(name[0]):02x}:{int(name[1]):02x}"


def address_of(name: str, version: int = 4):  # type: ignore[no-untyped-def]
    bridge, number = CONTAINERS[name]
    return next(subnet for subnet in BRIDGES[bridge].subnets if subnet.version == version)[number]


def reaches(
    sender: Place,
    receiver: Place,
    to: str,
    port: int,
    *,
    at: int | None = None,
    kind: int = socket.SOCK_DGRAM,
    from_address: str = "",
) -> str | None:
    """Send to an address and port, and say from which address it arrived; None when it did not.

    :param at: the port at which the receiver listens, if that is another one.
    """
    family = socket.AF_INET6 if ip_address(to).version == 6 else socket.AF_INET
    with receiver.socket(family, kind) as server, sender.socket(family, kind) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", at or port))
        if from_address:
            client.bind((from_address, 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
            return _connect(client, server, to, port)
        return _exchange(client, server, to, port)


def _connect(client: socket.socket, server: socket.socket, to: str, port: int) -> str | None:
    try:
        client.connect((to, port))
    except OSError:
        return None
    connected = _has_peer(client)
    # Who is connected has had an answer, so somebody was reached: that is no question of patience any more.
    server.settimeout(LONG_PATIENCE if connected else PATIENCE)
    try:
        connection, peer = server.accept()
    except TimeoutError:
        assert not connected, f"{client.getsockname()} was connected with {to} port {port}, but not here"
        return None
    connection.close()
    return str(peer[0])


def _has_peer(client: socket.socket) -> bool:
    """Whether `connect` has told the truth.

    When no neighbour answers, Linux wakes whoever waits for the connection as soon as it has queued the ICMP error,
    and only then notes the error in the socket (``tcp_v4_err``). Who asks in between hears of no error.
    """
    try:
        client.getpeername()
    except OSError as exc:
        if exc.errno != errno.ENOTCONN:
            raise
        return False
    return True


def _exchange(client: socket.socket, server: socket.socket, to: str, port: int) -> str | None:
    """A question and its answer: that only the question arrives is not enough."""
    try:
        client.sendto(b"question", (to, port))
        _, peer = server.recvfrom(100)
        server.sendto(b"answer", peer)
        client.recvfrom(100)
    except (TimeoutError, OSError):
        return None
    return str(peer[0])


def ethernet(to: bytes, sender: bytes, kind: int, payload: bytes) -> bytes:
    return to + sender + struct.pack(">H", kind) + payload


def ipv4_udp(source: str, destination: str, port: int, *, source_port: int = 4444) -> bytes:
    """A datagram without a checksum of its own, which IPv4 allows."""
    payload = b"forged"
    udp = struct.pack(">HHHH", source_port, port, 8 + len(payload), 0) + payload
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(udp),
        0,
        0,
        64,
        socket.IPPROTO_UDP,
        0,
        ip_address(source).packed,
        ip_address(destination).packed,
    )
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + udp


def icmpv6(source: str, destination: str, kind: int, body: bytes) -> bytes:
    """An ICMPv6 message with hop limit 255, as neighbour discovery has it."""
    message = struct.pack(">BBH", kind, 0, 0) + body
    ends = ip_address(source).packed + ip_address(destination).packed
    total = checksum(ends + struct.pack(">II", len(message), socket.IPPROTO_ICMPV6) + message)
    message = message[:2] + struct.pack(">H", total) + message[4:]
    return struct.pack(">IHBB", 0x60000000, len(message), socket.IPPROTO_ICMPV6, 255) + ends + message


def arp(operation: int, mac: bytes, address: str, target: str) -> bytes:
    head = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    return head + mac + ip_address(address).packed + bytes(6) + ip_address(target).packed


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
