"""A host with neighbours: the daemon, its containers and everybody who is near, in network namespaces of their own.

Nothing of it is in the machine's own network, so that a test may flush what it likes::

    lan 192.0.2.2 ------- uplink 192.0.2.1      [ host: the daemon ]  bridges, containers
    vpn 198.51.100.2 ---- tunnel 198.51.100.1   [                  ]

The neighbours send everything for networks of containers to the host, as curious ones would.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import TypeVar

from support.daemons import Daemon
from support.network_harness import Place

T = TypeVar("T")

UPLINK, TUNNEL = "192.0.2.1", "198.51.100.1"
LAN, VPN = "192.0.2.2", "198.51.100.2"
UPLINK6, LAN6 = "2001:db8::1", "2001:db8::2"
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


class Street:
    """The namespaces."""

    def __init__(self) -> None:
        self.host, self.lan, self.vpn = (Place(name) for name in ("host", "lan", "vpn"))
        for place in (self.host, self.lan, self.vpn):
            place.ip("link set lo up")
        self._join(self.lan, "uplink", UPLINK, LAN)
        self._join(self.vpn, "tunnel", TUNNEL, VPN)
        self.host.ip(f"addr add {UPLINK6}/64 dev uplink nodad", f"route add default via {LAN}")
        self.lan.ip(f"addr add {LAN6}/64 dev eth0 nodad", f"route add fc00::/7 via {UPLINK6}")

    def _join(self, neighbour: Place, link: str, ours: str, theirs: str) -> None:
        self.host.ip(
            f"link add {link} type veth peer name eth0 netns {neighbour.path}",
            f"addr add {ours}/24 dev {link}",
            f"link set {link} up",
        )
        routes = [f"route add {prefix} via {ours}" for prefix in (*_PRIVATE, "192.0.2.0/24", "198.51.100.0/24")]
        neighbour.ip(f"addr add {theirs}/24 dev eth0", "link set eth0 up", *(r for r in routes if theirs[:5] not in r))

    def close(self) -> None:
        for place in (self.host, self.lan, self.vpn):
            os.close(place.fd)

    def nft(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run nft(8) on the host, as another program or its owner would."""
        return run(self.host, "nft", *words)


class NeighbouredDaemon(Daemon):
    """A daemon on a street."""

    def __init__(self, street: Street, *flags: str) -> None:
        super().__init__(*flags)
        self.street = street
        self.network = street.host.path

    def leftovers(self) -> list[str]:
        return self.street.host.run(super().leftovers)


@contextmanager
def neighboured_daemon(*flags: str) -> Iterator[NeighbouredDaemon]:
    """A daemon that a test may kill, with neighbours."""
    street = Street()
    daemon = NeighbouredDaemon(street, "--debug", *flags)
    try:
        daemon.start()
        yield daemon
    finally:
        try:
            with suppress(OSError):  # it is dead, or the test has killed it
                daemon.remove_containers()
            daemon.shut_down()
        finally:
            street.close()


def run(place: Place, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program somewhere."""
    return place.run(lambda: subprocess.run(command, capture_output=True, text=True, check=False, timeout=60))


def knock(place: Place, host: str, port: int, patience: float = 0.5) -> str | None:
    """What an HTTP server says when it is asked from somewhere; None when nobody is reached."""

    def ask() -> str | None:
        try:
            with socket.create_connection((host, port), patience) as made:
                made.sendall(b"GET / HTTP/1.0\r\n\r\n")
                made.settimeout(20)
                return b"".join(iter(lambda: made.recv(4096), b"")).decode().rpartition("\r\n")[2].strip()
        except OSError:
            return None

    return place.run(ask)


def passes(sender: Place, receiver: Place, to: str, port: int = 4567, patience: float = 0.3) -> bool:
    """Whether a datagram gets from one place to another."""
    family = socket.AF_INET6 if ip_address(to).version == 6 else socket.AF_INET
    with receiver.socket(family, socket.SOCK_DGRAM) as server, sender.socket(family, socket.SOCK_DGRAM) as client:
        server.bind(("", port))
        server.settimeout(patience)
        try:
            client.sendto(b"hello", (to, port))
            return server.recv(100) == b"hello"
        except OSError:
            return False


@contextmanager
def inside(daemon: Daemon, name: str) -> Iterator[Place]:
    """The network namespace of a container."""
    pid = daemon.request("GET", f"/containers/{name}/json").json["State"]["Pid"]
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Place(name, namespace)
    finally:
        os.close(namespace)


def arrives(sender: Callable[[], object], receiver: Place, port: int, patience: float = 0.3) -> bool:
    """Whether a datagram of a sender's making arrives at a port."""
    with receiver.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", port))
        server.settimeout(patience)
        sender()
        try:
            return bool(server.recv(100))
        except OSError:
            return False
