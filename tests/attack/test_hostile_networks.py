"""What a container with a raw socket does to its neighbours, and what the host's neighbours do to containers."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from support.busybox import import_busybox
from support.lan import LAN, UPLINK, VPN, NeighbouredDaemon, inside, knock, neighboured_daemon, passes, run
from support.needs import need
from support.network_harness import Place, arp, ethernet, icmpv6, ipv4_udp
from support.networks import address, docker, fetch_inside, serve

pytestmark = need("root", "docker", "busybox", "overlay", "namespaces", "ip", "nft")

BROADCAST = b"\xff" * 6
PATIENCE = 0.3


@pytest.fixture(scope="module")
def host(busybox_archive: bytes) -> Iterator[NeighbouredDaemon]:
    """A host with three containers on one network: two that know each other, and one that means no good."""
    with neighboured_daemon() as daemon:
        import_busybox(daemon, busybox_archive)
        docker(daemon, "network", "create", "--ipv6", "street")
        serve(daemon, "alice", "--network", "street", "-p", "8080:80", "-p", "127.0.0.1:8081:80")
        for name in ("bob", "mallory"):
            more = ("--cap-add", "NET_ADMIN") if name == "mallory" else ()
            docker(daemon, "run", "-d", "--name", name, "--network", "street", *more, "busybox", "sleep", "10000")
        assert fetch_inside(daemon, "bob", "alice") == "alice"
        yield daemon


@pytest.fixture
def places(host: NeighbouredDaemon) -> Iterator[tuple[Place, Place, Place]]:
    with ExitStack() as stack:
        alice, bob, mallory = (stack.enter_context(inside(host, name)) for name in ("alice", "bob", "mallory"))
        yield alice, bob, mallory


def mac_of_bridge(host: NeighbouredDaemon) -> bytes:
    bridge = "br-" + docker(host, "network", "inspect", "street", "-f", "{{.Id}}")[:12]
    return host.street.host.mac(bridge)


class Ear:
    """Hears every frame that arrives at an interface."""

    def __init__(self, place: Place) -> None:
        self._socket = place.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind(("eth0", 3))

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self, mark: bytes) -> bool:
        """Whether a frame with these bytes in it comes, or has come; what the place sent itself does not count."""
        self._socket.settimeout(PATIENCE)
        try:
            while True:
                data, where = self._socket.recvfrom(2048)
                if mark in data and where[2] != socket.PACKET_OUTGOING:
                    return True
        except TimeoutError:
            return False


def datagram(host: NeighbouredDaemon, sender: str, receiver: str) -> bytes:
    return ipv4_udp(address(host, sender, "street"), address(host, receiver, "street"), 7)


# --------------------------------------------------------------------------------------------- from a container: frames


@pytest.mark.parametrize("group", range(16))
def test_no_frame_takes_a_neighbours_mac_address_away(
    host: NeighbouredDaemon, places: tuple[Place, Place, Place], group: int
) -> None:
    """Frames to 01:80:c2:00:00:0X are not forwarded, and pass no filter at the entrance: a bridge learnt from them."""
    alice, bob, mallory = places
    lldp = b"\x01\x80\xc2\x00\x00" + bytes((group,))
    with Ear(mallory) as ear, Ear(alice) as right_one:
        mallory.frame("eth0", ethernet(lldp, alice.mac("eth0"), 0x88CC, bytes(46)))
        bob.frame("eth0", ethernet(alice.mac("eth0"), bob.mac("eth0"), 0x0800, datagram(host, "bob", "alice")))
        assert right_one.heard(b"forged")
        assert not ear.heard(b"forged")


def forgeries(host: NeighbouredDaemon, places: tuple[Place, Place, Place]) -> dict[str, bytes]:
    """Frames that mallory sends to bob or to all, each marked."""
    alice, bob, mallory = (place.mac("eth0") for place in places)
    mine, theirs = address(host, "mallory", "street"), address(host, "alice", "street")
    six, gateway = address(host, "alice", "street", 6), "fe80::1"
    target = b"\x02\x01" + b"forged"  # an option: the sender's link-layer address
    dhcp = ipv4_udp(mine, "255.255.255.255", 68, source_port=67)
    return {
        "alice's MAC": ethernet(bob, alice, 0x0800, datagram(host, "mallory", "bob")),
        "alice's address": ethernet(bob, mallory, 0x0800, datagram(host, "alice", "bob")),
        "alice's both": ethernet(bob, alice, 0x0800, datagram(host, "alice", "bob")),
        "the host's address": ethernet(bob, mallory, 0x0800, ipv4_udp(UPLINK, address(host, "bob", "street"), 7)),
        "somebody's outside": ethernet(bob, mallory, 0x0800, ipv4_udp("8.8.8.8", address(host, "bob", "street"), 7)),
        "with a VLAN tag": ethernet(
            bob, mallory, 0x8100, struct.pack(">HH", 1, 0x0800) + datagram(host, "alice", "bob")
        ),
        "no IP at all": ethernet(bob, mallory, 0x88B5, b"forged"),
        "ARP": ethernet(BROADCAST, mallory, 0x0806, arp(2, mallory, theirs, "0.0.0.0") + b"forged"),
        "ARP for the router": ethernet(
            BROADCAST, mallory, 0x0806, arp(2, mallory, theirs.rpartition(".")[0] + ".1", "0.0.0.0") + b"forged"
        ),
        "neighbour advertisement": ethernet(
            bob, mallory, 0x86DD, icmpv6(six, "ff02::1", 136, bytes(4) + ip_address(six).packed + target)
        ),
        "router advertisement": ethernet(
            BROADCAST,
            mallory,
            0x86DD,
            icmpv6(gateway, "ff02::1", 134, struct.pack(">BBHII", 64, 0, 1800, 0, 0) + target),
        ),
        "its own router advertisement": ethernet(
            BROADCAST,
            mallory,
            0x86DD,
            icmpv6(link_local(mallory), "ff02::1", 134, struct.pack(">BBHII", 64, 0, 1800, 0, 0) + target),
        ),
        "DHCP": ethernet(BROADCAST, mallory, 0x0800, dhcp),
    }


def link_local(mac: bytes) -> str:
    inside = bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return str(ip_address(b"\xfe\x80" + bytes(6) + inside))


def test_a_container_speaks_for_itself_only(host: NeighbouredDaemon, places: tuple[Place, Place, Place]) -> None:
    _, bob, mallory = places
    frames = forgeries(host, places)
    honest = ethernet(bob.mac("eth0"), mallory.mac("eth0"), 0x0800, datagram(host, "mallory", "bob"))
    with Ear(bob) as ear:
        mallory.frame("eth0", honest)
        assert ear.heard(b"forged"), "what is not forged arrives"
        for frame in frames.values():
            mallory.frame("eth0", frame)
        assert not ear.heard(b"forged"), "one of them arrived"


def test_a_container_that_takes_a_neighbours_addresses_gets_nothing_of_its(
    host: NeighbouredDaemon, places: tuple[Place, Place, Place]
) -> None:
    """With NET_ADMIN it may call its interface what it likes; its own traffic ends there, and the other's goes on."""
    alice, _, mallory = places
    theirs, own = address(host, "alice", "street"), mallory.mac("eth0").hex(":")
    mallory.ip(f"link set eth0 address {alice.mac('eth0').hex(':')}", f"addr add {theirs}/24 dev eth0")
    try:
        mallory.frame("eth0", ethernet(BROADCAST, alice.mac("eth0"), 0x0806, arp(1, alice.mac("eth0"), theirs, theirs)))
        assert fetch_inside(host, "bob", theirs) == "alice"
        assert knock(host.street.lan, UPLINK, 8080, 20) == "alice"
    finally:
        mallory.ip(f"addr del {theirs}/24 dev eth0", f"link set eth0 address {own}")


def test_the_host_takes_no_container_for_its_router(
    host: NeighbouredDaemon, places: tuple[Place, Place, Place]
) -> None:
    _, _, mallory = places
    before = run(host.street.host, "ip", "-6", "route").stdout
    for frame in forgeries(host, places).values():
        mallory.frame("eth0", frame)
    assert run(host.street.host, "ip", "-6", "route").stdout == before
    networks = docker(host, "network", "inspect", "street", "-f", "{{.Id}}")
    setting = run(host.street.host, "sysctl", "-n", f"net.ipv6.conf.br-{networks[:12]}.accept_ra")
    assert setting.stdout.strip() == "0", "also while the firewall is away"


# -------------------------------------------------------------------------------- from a container: the host's services


def test_what_listens_on_the_hosts_loopback_is_reached_by_nobody_else(
    host: NeighbouredDaemon, places: tuple[Place, Place, Place]
) -> None:
    """Bridges accept packets for 127.0.0.0/8 (`route_localnet`), for the answers of published ports."""
    _, _, mallory = places
    street, own = host.street, address(host, "mallory", "street")
    to_bridge = mac_of_bridge(host)
    with street.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as secret:
        secret.bind(("127.0.0.1", 5353))
        secret.settimeout(PATIENCE)
        mallory.ip("route add 127.1.0.0/16 via " + own.rpartition(".")[0] + ".1")
        for target in ("127.0.0.1", "127.1.2.3"):
            mallory.frame("eth0", ethernet(to_bridge, mallory.mac("eth0"), 0x0800, ipv4_udp(own, target, 5353)))
        for source in (LAN, "127.0.0.1"):
            frame = ethernet(
                street.host.mac("uplink"), street.lan.mac("eth0"), 0x0800, ipv4_udp(source, "127.0.0.1", 5353)
            )
            street.lan.frame("eth0", frame)
        with pytest.raises(TimeoutError):
            secret.recv(100)


def test_a_port_published_on_loopback_is_reached_from_the_host_alone(
    host: NeighbouredDaemon, places: tuple[Place, Place, Place]
) -> None:
    _, _, mallory = places
    street = host.street
    assert knock(street.host, "127.0.0.1", 8081, 20) == "alice"
    assert knock(street.lan, UPLINK, 8081) is None
    assert knock(mallory, UPLINK, 8081) is None
    with Ear(places[0]) as ear:
        for place, link, to in (
            (street.lan, "eth0", street.host.mac("uplink")),
            (mallory, "eth0", mac_of_bridge(host)),
        ):
            own = LAN if place is street.lan else address(host, "mallory", "street")
            place.frame(link, ethernet(to, place.mac(link), 0x0800, ipv4_udp(own, "127.0.0.1", 8081)))
        assert not ear.heard(b"forged")


def test_the_daemons_own_listeners_are_at_no_address_that_others_reach(host: NeighbouredDaemon) -> None:
    listening = run(host.street.host, "ss", "-Hlntu").stdout.split("\n")
    own = {line.split()[4].rpartition(":")[0] for line in listening if line}
    assert own <= {"[::1]", "127.0.0.1"}, listening


# ----------------------------------------------------------------------------------------------- neighbours of the host


@pytest.mark.parametrize("port", [80, 81, 8080])
def test_a_neighbour_that_routes_to_a_container_gets_nothing(host: NeighbouredDaemon, port: int) -> None:
    for version in (4, 6):
        assert knock(host.street.lan, address(host, "alice", "street", version), port) is None
        assert knock(host.street.vpn, address(host, "alice", "street", version), port) is None


def test_a_neighbour_that_pretends_to_be_a_container_gets_nothing(
    host: NeighbouredDaemon, places: tuple[Place, Place, Place]
) -> None:
    alice, bob, _ = places
    street = host.street
    with Ear(alice) as ear:
        for source in ("bob", "alice"):
            frame = ethernet(street.host.mac("uplink"), street.lan.mac("eth0"), 0x0800, datagram(host, source, "alice"))
            street.lan.frame("eth0", frame)
        assert not ear.heard(b"forged")
    assert bob.name == "bob"


def test_the_host_is_no_router_for_its_neighbours(host: NeighbouredDaemon) -> None:
    street = host.street
    assert not passes(street.lan, street.vpn, VPN)
    assert not passes(street.vpn, street.lan, LAN)


# ---------------------------------------------------------------------------------------------------------------- names


def test_a_flood_of_questions_of_one_container_leaves_the_others_their_answers(
    host: NeighbouredDaemon, places: tuple[Place, Place, Place]
) -> None:
    _, _, mallory = places
    question = b"\0\1\1\0\0\1\0\0\0\0\0\0\5alice\0\0\1\0\1"
    with mallory.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.setblocking(False)
        flood.connect(("127.0.0.11", 53))
        for number in range(20_000):
            try:
                flood.send(question if number % 2 else question.replace(b"alice", b"%05d" % number))
            except (BlockingIOError, ConnectionRefusedError):
                continue
        assert fetch_inside(host, "bob", "alice") == "alice"
    assert fetch_inside(host, "mallory", "alice") == "alice"
