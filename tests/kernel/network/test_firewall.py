"""What may reach what, seen with real packets between network namespaces of the tests' own."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from quiet import in_time
from support.needs import need
from support.network_harness import (
    BRIDGES,
    CONTAINERS,
    PATIENCE,
    Lab,
    Place,
    address_of,
    arp,
    checksum,
    ethernet,
    icmpv6,
    ipv4_udp,
    mac_of,
    reaches,
)
from wherry.errors import SystemCallError
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.linux.nftables import EVENT_GROUP, generation_maker
from wherry.network.firewall.elements import LinkRule
from wherry.network.firewall.firewall import AntiSpoof, BridgeRules, PortMapping
from wherry.network.firewall.foreign import find_obstacles

pytestmark = need("root", "namespaces", "ip")

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
VERSIONS = pytest.mark.parametrize("version", [4, 6])
PROTOCOLS = pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
HOST = {4: "192.0.2.1", 6: "2001:db8::1"}
OUTSIDE = {4: "192.0.2.2", 6: "2001:db8::2"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


@pytest.fixture
def published(lab: Lab) -> Iterator[Callable[..., None]]:
    """Publish ports; they are withdrawn after the test."""
    given: list[PortMapping] = []

    def publish(*mappings: PortMapping) -> None:
        given.extend(mappings)
        lab.publish(*mappings)

    yield publish
    lab.withdraw(*given)
    assert lab.host.run(lambda: lab.firewall.intact(BRIDGES.values(), lab.anti_spoof(), []))


@pytest.fixture(params=[0, 1], ids=["alone", "br_netfilter"])
def bridging(request: pytest.FixtureRequest, lab: Lab) -> Iterator[None]:
    """Whether bridged packets take the way of routed ones as well: another way through the tables."""
    settings = ("bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables")
    if not lab.host.run(lambda: Path("/proc/sys/net", settings[0]).exists()):
        if request.param:
            pytest.skip("needs the module br_netfilter")
        yield
        return
    for name in settings:
        lab.host.sysctl(name, request.param)
    yield
    for name in settings:
        lab.host.sysctl(name, 1)


def mapping(name: str, version: int, kind: int, host_port: int, host_address: str | None = None) -> PortMapping:
    where = ip_address(host_address) if host_address else None
    return PortMapping(
        "tcp" if kind == TCP else "udp", where, host_port, address_of(name, version), 80, CONTAINERS[name][0]
    )


# ------------------------------------------------------------------------------------------------------------ isolation


@pytest.mark.usefixtures("bridging")
@VERSIONS
@PROTOCOLS
def test_containers_on_one_bridge_reach_one_another(lab: Lab, version: int, kind: int) -> None:
    a1, a2 = lab.containers["a1"], lab.containers["a2"]
    assert reaches(a1, a2, str(address_of("a2", version)), 5000, kind=kind) == str(address_of("a1", version))


@VERSIONS
@PROTOCOLS
def test_one_bridge_cannot_reach_the_containers_of_another(lab: Lab, version: int, kind: int) -> None:
    a1, b1 = lab.containers["a1"], lab.containers["b1"]
    assert reaches(a1, b1, str(address_of("b1", version)), 5000, kind=kind) is None
    assert reaches(b1, a1, str(address_of("a1", version)), 5000, kind=kind) is None


@VERSIONS
@PROTOCOLS
def test_an_unpublished_port_is_not_reachable_for_a_neighbour_with_a_route(lab: Lab, version: int, kind: int) -> None:
    a1 = lab.containers["a1"]
    assert reaches(lab.outside, a1, str(address_of("a1", version)), 5000, kind=kind) is None
    assert reaches(lab.outside, a1, HOST[version], 5000, kind=kind) is None


@VERSIONS
def test_the_host_reaches_containers_by_their_addresses(lab: Lab, version: int) -> None:
    assert reaches(lab.host, lab.containers["a1"], str(address_of("a1", version)), 5000)


@VERSIONS
def test_a_published_port_does_not_open_the_container_for_a_neighbour_with_a_route(
    lab: Lab, published: Callable[..., None], version: int
) -> None:
    published(mapping("a1", version, UDP, 80))
    assert reaches(lab.outside, lab.containers["a1"], HOST[version], 80)
    assert reaches(lab.outside, lab.containers["a1"], str(address_of("a1", version)), 80) is None


# ----------------------------------------------------------------------------------------------------------- publishing


@pytest.mark.usefixtures("bridging")
@VERSIONS
@PROTOCOLS
def test_a_published_port_is_reached_from_everywhere_and_the_source_is_kept(
    lab: Lab, published: Callable[..., None], version: int, kind: int
) -> None:
    published(mapping("a1", version, kind, 8000))
    a1, a2, b1 = (lab.containers[name] for name in ("a1", "a2", "b1"))

    def source(sender: Place, to: str) -> str | None:
        return reaches(sender, a1, to, 8000, at=80, kind=kind)

    assert source(lab.outside, HOST[version]) == OUTSIDE[version]
    assert source(lab.host, HOST[version]) == HOST[version]
    assert source(b1, HOST[version]) == str(address_of("b1", version))
    gateway = str(next(net for net in BRIDGES["br-a"].subnets if net.version == version)[1])
    assert source(a2, HOST[version]) == gateway, "the answer has to come back through the host"
    assert source(a2, gateway) == gateway


@PROTOCOLS
def test_a_published_port_is_reached_at_localhost(lab: Lab, published: Callable[..., None], kind: int) -> None:
    published(mapping("a1", 4, kind, 8000))
    assert reaches(lab.host, lab.containers["a1"], "127.0.0.1", 8000, at=80, kind=kind) == "10.91.0.1"
    assert reaches(lab.host, lab.containers["a1"], "127.0.0.9", 8000, at=80, kind=kind) == "10.91.0.1"


@pytest.mark.usefixtures("bridging")
@VERSIONS
def test_a_container_reaches_itself_through_its_published_port(
    lab: Lab, published: Callable[..., None], version: int
) -> None:
    """Where br_netfilter is on, the port of the bridge needs hairpin mode for that."""
    published(mapping("a1", version, UDP, 8000))
    assert reaches(lab.containers["a1"], lab.containers["a1"], HOST[version], 8000, at=80)


@VERSIONS
def test_a_port_published_on_one_address_is_reached_there_only(
    lab: Lab, published: Callable[..., None], version: int
) -> None:
    other = {4: "10.91.1.1", 6: "fd00:91:1::1"}[version]
    published(mapping("a1", version, UDP, 8000, other))
    b1, a1 = lab.containers["b1"], lab.containers["a1"]
    assert reaches(b1, a1, other, 8000, at=80)
    assert reaches(b1, a1, HOST[version], 8000, at=80) is None
    assert reaches(lab.outside, a1, HOST[version], 8000, at=80) is None


def test_one_port_leads_to_different_containers_on_different_addresses(
    lab: Lab, published: Callable[..., None]
) -> None:
    published(mapping("a1", 4, UDP, 8000, "192.0.2.1"), mapping("b1", 4, UDP, 8000))
    assert reaches(lab.outside, lab.containers["a1"], "192.0.2.1", 8000, at=80)
    assert reaches(lab.host, lab.containers["b1"], "127.0.0.1", 8000, at=80)


def test_an_address_that_is_not_the_hosts_is_not_translated(lab: Lab, published: Callable[..., None]) -> None:
    """Traffic that only passes through must not be caught because its port is published."""
    published(mapping("b1", 4, UDP, 8000), mapping("b1", 4, UDP, 8000, "192.0.2.2"))
    assert reaches(lab.containers["a1"], lab.outside, "192.0.2.2", 8000) == "192.0.2.1"


def test_a_port_published_on_loopback_stays_there(lab: Lab, published: Callable[..., None]) -> None:
    published(mapping("a1", 4, UDP, 8000, "127.0.0.1"))
    a1 = lab.containers["a1"]
    assert reaches(lab.host, a1, "127.0.0.1", 8000, at=80)
    assert reaches(lab.outside, a1, "192.0.2.1", 8000, at=80) is None
    assert reaches(lab.containers["a2"], a1, "10.91.0.1", 8000, at=80) is None


@pytest.mark.parametrize("to", ["127.0.0.1", "10.91.0.2"])
def test_a_neighbour_cannot_send_to_a_loopback_publish_with_a_frame_of_its_own(
    lab: Lab, published: Callable[..., None], to: str
) -> None:
    published(mapping("a1", 4, UDP, 8000, "127.0.0.1"))
    packet = ipv4_udp("192.0.2.2", to, 8000 if to.startswith("127") else 80)
    frame = ethernet(lab.host.mac("eth0"), lab.outside.mac("eth0"), 0x0800, packet)
    assert not arrives(lab.containers["a1"], 80, lambda: lab.outside.frame("eth0", frame))


def test_a_container_cannot_send_to_the_hosts_loopback(lab: Lab) -> None:
    packet = ipv4_udp("10.91.0.2", "127.0.0.1", 8000)
    frame = ethernet(lab.host.mac("br-a"), bytes.fromhex(mac_of("a1").replace(":", "")), 0x0800, packet)
    assert not arrives(lab.host, 8000, lambda: lab.containers["a1"].frame("eth0", frame))


def test_nobody_is_127_0_0_1_but_the_host_itself(lab: Lab) -> None:
    """Bridges route such addresses; here is one with a port that nobody guards."""
    packet = ipv4_udp("127.0.0.1", "10.91.0.1", 5000)
    frame = ethernet(lab.host.mac("br-a"), raw(mac_of("a1")), 0x0800, packet)
    sender = lab.sender("a1")
    lab.host.run(lambda: lab.firewall.remove([sender]))
    try:
        assert not arrives(lab.host, 5000, lambda: lab.containers["a1"].frame("eth0", frame))
    finally:
        lab.host.run(lambda: lab.firewall.add([sender]))


def test_sctp_is_published_like_the_others(lab: Lab, published: Callable[..., None]) -> None:
    published(PortMapping("sctp", None, 8000, ip_address("10.91.0.2"), 80, "br-a"))
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 7, 65535, 1, 1, 7)  # INIT, RFC 9260, 3.3.2
    head = struct.pack(">HHI", 4444, 8000, 0)
    packet = head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk
    with lab.containers["a1"].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP) as receiver:
        with lab.outside.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP) as sender:
            sender.sendto(packet, ("192.0.2.1", 0))
        data = receiver.recv(2000)
    assert struct.unpack_from(">HH", data, 20) == (4444, 80)


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_two_thousand_ports_are_published_and_withdrawn_at_once(lab: Lab, published: Callable[..., None]) -> None:
    mappings = [PortMapping("udp", None, port, ip_address("10.91.0.2"), port, "br-a") for port in range(20000, 22000)]
    published(*mappings)
    taken: list[float] = []
    while len(taken) < 8 and not any(seconds < 1 for seconds in taken):  # the machine may be busy with others
        lab.withdraw(*mappings)
        started = time.perf_counter()
        lab.publish(*mappings)
        taken.append(time.perf_counter() - started)
    in_time(min(taken) < 1, f"two thousand ports took {taken}")
    assert lab.host.run(lambda: lab.firewall.intact(BRIDGES.values(), lab.anti_spoof(), mappings))
    assert reaches(lab.outside, lab.containers["a1"], "192.0.2.1", 21999)


# ------------------------------------------------------------------------------------------------------ the way out


@pytest.mark.usefixtures("bridging")
@VERSIONS
@PROTOCOLS
def test_what_leaves_the_host_has_its_address(lab: Lab, version: int, kind: int) -> None:
    assert reaches(lab.containers["a1"], lab.outside, OUTSIDE[version], 5000, kind=kind) == HOST[version]


@VERSIONS
def test_an_internal_network_has_no_way_out_and_none_in(lab: Lab, version: int) -> None:
    i1, a1 = lab.containers["i1"], lab.containers["a1"]
    inside = str(address_of("i1", version))
    assert reaches(i1, lab.outside, OUTSIDE[version], 5000) is None
    assert reaches(lab.outside, i1, inside, 5000) is None
    assert reaches(i1, a1, str(address_of("a1", version)), 5000) is None
    assert reaches(a1, i1, inside, 5000) is None
    assert reaches(i1, lab.containers["i2"], str(address_of("i2", version)), 5000) == inside


@VERSIONS
def test_of_the_host_an_internal_network_sees_the_bridges_own_address_only(lab: Lab, version: int) -> None:
    i1 = lab.containers["i1"]
    own, other = {4: ("10.91.2.1", "10.91.0.1"), 6: ("fd00:91:2::1", "fd00:91::1")}[version]
    assert reaches(i1, lab.host, own, 5000) == str(address_of("i1", version))
    assert reaches(i1, lab.host, HOST[version], 5000) is None
    assert reaches(i1, lab.host, other, 5000) is None
    assert reaches(lab.containers["a1"], lab.host, HOST[version], 5000), "other networks do"


@pytest.mark.parametrize("to", ["10.91.2.255", "255.255.255.255", "224.0.0.1", "ff02::1"])
def test_an_internal_network_may_call_to_all_on_its_bridge(lab: Lab, to: str) -> None:
    """Neighbours are found that way."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with lab.containers["i1"].socket(family, UDP) as caller, lab.host.socket(family, UDP) as host:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
        host.bind(("", 5000))
        caller.sendto(b"who is there", (to, 5000))
        assert host.recv(100) == b"who is there"


@pytest.mark.parametrize("to", ["192.0.2.255", "10.91.0.255"])
def test_an_internal_network_does_not_call_to_all_on_other_links(lab: Lab, to: str) -> None:
    """The host receives what is sent to the broadcast address of any of its links."""

    assert not hears_from(lab.host, lab.containers["i1"], to)
    assert hears_from(lab.host, lab.containers["b1"], to), "other networks do"


@VERSIONS
def test_an_internal_network_finds_the_host_anew(lab: Lab, version: int) -> None:
    for place, interface in ((lab.containers["i1"], "eth0"), (lab.host, "br-i")):
        place.ip(f"neigh flush dev {interface}")
    own = {4: "10.91.2.1", 6: "fd00:91:2::1"}[version]
    assert reaches(lab.containers["i1"], lab.host, own, 5000)


def test_a_port_published_on_an_internal_network_is_not_reached_from_outside(
    lab: Lab, published: Callable[..., None]
) -> None:
    published(mapping("i1", 4, UDP, 8000))
    assert reaches(lab.outside, lab.containers["i1"], "192.0.2.1", 8000, at=80) is None
    assert reaches(lab.containers["a1"], lab.containers["i1"], "192.0.2.1", 8000, at=80) is None


def test_a_packet_that_belongs_to_no_connection_does_not_leave_with_the_containers_address(lab: Lab) -> None:
    """Only a connection is translated; a late reset of one that is forgotten would go out as it is."""
    reset = struct.pack(">HHIIBBHHH", 4444, 5000, 1, 0, 5 << 4, 0x04, 0, 0, 0)
    ends = ip_address("10.91.0.2").packed + ip_address("192.0.2.2").packed
    total = checksum(ends + struct.pack(">HH", socket.IPPROTO_TCP, len(reset)) + reset)
    reset = reset[:16] + struct.pack(">H", total) + reset[18:]
    with (
        lab.outside.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as watcher,
        lab.containers["a1"].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sender,
    ):
        sender.sendto(reset, ("192.0.2.2", 0))
        assert not any(packet[20:24] == reset[:4] for packet in everything(watcher))


def test_an_internal_network_does_not_reach_published_ports(lab: Lab, published: Callable[..., None]) -> None:
    published(mapping("a1", 4, UDP, 8000))
    for address in ("192.0.2.1", "10.91.2.1"):
        assert reaches(lab.containers["i1"], lab.containers["a1"], address, 8000, at=80) is None


# -------------------------------------------------------------------------------------- without communication inside


@pytest.mark.usefixtures("bridging")
@VERSIONS
@PROTOCOLS
def test_without_icc_containers_of_one_bridge_reach_only_published_ports(
    lab: Lab, published: Callable[..., None], version: int, kind: int
) -> None:
    n1, n2 = lab.containers["n1"], lab.containers["n2"]
    assert reaches(n1, n2, str(address_of("n2", version)), 80, kind=kind) is None
    published(mapping("n2", version, kind, 8000))
    assert reaches(n1, n2, HOST[version], 8000, at=80, kind=kind)
    assert reaches(n1, n2, str(address_of("n2", version)), 80, kind=kind) is None


@pytest.mark.usefixtures("bridging")
@VERSIONS
def test_a_link_opens_its_ports_in_one_direction_and_nothing_else(lab: Lab, version: int) -> None:
    n1, n2 = lab.containers["n1"], lab.containers["n2"]
    there, back = str(address_of("n2", version)), str(address_of("n1", version))
    both = (address_of("n1"), address_of("n1", 6)), (address_of("n2"), address_of("n2", 6))
    link = LinkRule("wvn1", "wvn2", *both, (("tcp", 80), ("udp", 80)))
    forget_neighbours(n1, n2)  # so they have to ask for each other
    lab.host.run(lambda: lab.firewall.change_pair_rules((), [link]))
    try:
        assert lab.host.run(lambda: lab.firewall.intact(BRIDGES.values(), lab.anti_spoof(), [], [link]))
        # Who was asked for in vain before is asked for again after a second.
        assert any(reaches(n1, n2, there, 80) == back for _ in range(40)), known_neighbours(n1, n2)
        for kind in (TCP, UDP):  # a datagram may come too late on a slow machine
            assert any(reaches(n1, n2, there, 80, kind=kind) == back for _ in range(10))
            assert reaches(n1, n2, there, 81, kind=kind) is None
            assert reaches(n2, n1, back, 80, kind=kind) is None
            assert reaches(n2, n1, back, 81, kind=kind) is None
    finally:
        lab.host.run(lambda: lab.firewall.change_pair_rules([link], ()))
    assert reaches(n1, n2, there, 80) is None
    assert is_intact(lab)


def forget_neighbours(*places: Place) -> None:
    for place in places:
        place.run(lambda: subprocess.run(["ip", "neighbour", "flush", "dev", "eth0"], check=True))


def known_neighbours(*places: Place) -> str:
    """What containers know of their neighbours, for a report."""
    command = ["ip", "-s", "neighbour"]
    return "\n".join(
        place.run(lambda: subprocess.run(command, capture_output=True, check=False, text=True).stdout)
        for place in places
    )


@pytest.mark.parametrize("whose", ["n2", "br-n", "wvn1", "wvn2"])
@VERSIONS
def test_without_icc_no_mac_address_leads_to_another_container(lab: Lab, version: int, whose: str) -> None:
    """Usually nobody answers who asks for a neighbour's MAC address; a container that knows it gets no further."""
    n1, n2 = lab.containers["n1"], lab.containers["n2"]
    mac = mac_of("n2") if whose == "n2" else lab.host.mac(whose).hex(":")
    with acquainted(lab, "n1", "n2", version, mac):
        assert not hears_from(n2, n1, str(address_of("n2", version)))
        assert reaches(n1, n2, str(address_of("n2", version)), 80, kind=TCP) is None


@pytest.mark.usefixtures("bridging")
@pytest.mark.parametrize("whose", ["a2", "br-a"])
@VERSIONS
def test_with_icc_a_known_mac_address_leads_to_its_container(lab: Lab, version: int, whose: str) -> None:
    """So that the test above means something."""
    a1, a2 = lab.containers["a1"], lab.containers["a2"]
    mac = mac_of("a2") if whose == "a2" else lab.host.mac(whose).hex(":")
    with acquainted(lab, "a1", "a2", version, mac):
        assert hears_from(a2, a1, str(address_of("a2", version)))


@contextmanager
def acquainted(lab: Lab, one: str, other: str, version: int, mac: str) -> Iterator[None]:
    """Have two containers know MAC addresses for each other, without having to ask; the second knows the right one."""
    known = ((one, other, mac), (other, one, mac_of(one)))
    for knower, stranger, address in known:
        word = f"neigh replace {address_of(stranger, version)} lladdr {address} nud permanent dev eth0"
        lab.containers[knower].ip(word)
    try:
        yield
    finally:
        for knower, stranger, _ in known:
            lab.containers[knower].ip(f"neigh del {address_of(stranger, version)} dev eth0")


def hears_from(receiver: Place, sender: Place, to: str) -> bool:
    """Whether a datagram arrives, be its answer lost or not."""
    family = socket.AF_INET6 if ip_address(to).version == 6 else socket.AF_INET
    with receiver.socket(family, UDP) as server, sender.socket(family, UDP) as client:
        server.bind(("", 5000))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.sendto(b"question", (to, 5000))
        try:
            return server.recv(100) == b"question"
        except TimeoutError:
            return False


# -------------------------------------------------------------------------------------------------------- false senders


def arrives(receiver: Place, port: int, send: Callable[[], None]) -> bool:
    """Whether a datagram comes in at a port."""
    with receiver.socket(socket.AF_INET, UDP) as server:
        server.bind(("", port))
        send()
        try:
            server.recv(100)
        except TimeoutError:
            return False
    return True


def forge(lab: Lab, sender: str, *, mac: str, source: str, source_port: int = 4444) -> bool:
    """Whether a frame with these senders gets from one container to its neighbour."""
    packet = ipv4_udp(source, "10.91.0.3", 5000, source_port=source_port)
    frame = ethernet(raw(mac_of("a2")), raw(mac), 0x0800, packet)
    return arrives(lab.containers["a2"], 5000, lambda: lab.containers[sender].frame("eth0", frame))


def raw(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def test_a_container_sends_from_its_own_addresses_only(lab: Lab) -> None:
    own = mac_of("a1")
    assert forge(lab, "a1", mac=own, source="10.91.0.2")
    assert not forge(lab, "a1", mac=own, source="10.91.0.9"), "another IPv4 address"
    assert not forge(lab, "a1", mac=own, source="10.91.0.1"), "the gateway's"
    assert not forge(lab, "a1", mac=own, source="127.0.0.1")
    assert not forge(lab, "a1", mac="02:00:00:00:99:99", source="10.91.0.2"), "another MAC address"


def test_a_container_is_no_dhcp_server(lab: Lab) -> None:
    assert not forge(lab, "a1", mac=mac_of("a1"), source="10.91.0.2", source_port=67)


def test_a_container_is_no_dhcpv6_server(lab: Lab) -> None:
    with (
        lab.containers["a1"].socket(socket.AF_INET6, UDP) as server,
        lab.containers["a2"].socket(socket.AF_INET6, UDP) as client,
    ):
        client.bind(("::", 546))
        server.bind(("::", 547))
        server.sendto(b"advertise", ("fd00:91::3", 546))
        with pytest.raises(TimeoutError):
            client.recv(100)


def frames_seen(lab: Lab, receiver: str, kind: int, frame: bytes, *, sender: str = "a1") -> bool:
    """Whether a frame comes out at another container."""
    with lab.containers[receiver].socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)) as sniffer:
        sniffer.bind(("eth0", kind))
        lab.containers[sender].frame("eth0", frame)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if sniffer.recv(2000)[14:] == frame[14:]:
                    return True
            except TimeoutError:
                return False
    return False


@pytest.mark.parametrize(
    ("mac", "address", "passes"),
    [
        (mac_of("a1"), "10.91.0.2", True),
        (mac_of("a1"), "10.91.0.1", False),
        (mac_of("a1"), "10.91.0.3", False),
        (mac_of("a2"), "10.91.0.2", False),
        (mac_of("a1"), "0.0.0.0", True),
    ],
)
@pytest.mark.parametrize("operation", [1, 2], ids=["request", "reply"])
def test_a_container_announces_its_own_address_only(
    lab: Lab, operation: int, mac: str, address: str, passes: bool
) -> None:
    body = arp(operation, raw(mac), address, "10.91.0.3").ljust(46, b"\0")
    frame = ethernet(b"\xff" * 6, raw(mac_of("a1")), 0x0806, body)
    assert frames_seen(lab, "a2", 0x0806, frame) == passes


def test_a_container_announces_nothing_from_another_mac_address(lab: Lab) -> None:
    body = arp(1, raw(mac_of("a1")), "10.91.0.2", "10.91.0.3").ljust(46, b"\0")
    frame = ethernet(b"\xff" * 6, raw("02:00:00:00:99:99"), 0x0806, body)
    assert not frames_seen(lab, "a2", 0x0806, frame)


OWN6, HERS6, ALL6 = "fd00:91::2", "fd00:91::3", "ff02::1"
LINK6 = "fe80::ff:fe00:6101"


def advertisement(target: str) -> bytes:
    return struct.pack(">I", 0x20000000) + ip_address(target).packed + b"\2\1" + raw(mac_of("a1"))


@pytest.mark.usefixtures("bridging")
@pytest.mark.parametrize(
    ("kind", "source", "body", "passes"),
    [
        pytest.param(136, OWN6, advertisement(OWN6), True, id="its own address"),
        pytest.param(136, LINK6, advertisement(LINK6), True, id="its own link-local address"),
        pytest.param(136, OWN6, advertisement(HERS6), False, id="its neighbour's address"),
        pytest.param(136, HERS6, advertisement(HERS6), False, id="in its neighbour's name"),
        pytest.param(136, OWN6, advertisement("fd00:91::1"), False, id="the gateway's address"),
        pytest.param(134, LINK6, struct.pack(">BBHII", 64, 0, 1800, 0, 0), False, id="router advertisement"),
        pytest.param(137, LINK6, bytes(36), False, id="redirect"),
        pytest.param(135, "::", bytes(4) + ip_address(OWN6).packed, True, id="is my address taken"),
        pytest.param(135, "::", bytes(4) + ip_address(HERS6).packed, False, id="disputes its neighbour's address"),
        pytest.param(143, "::", bytes(4), True, id="joins a group before it has an address"),
        pytest.param(143, HERS6, bytes(4), False, id="joins a group for its neighbour"),
        pytest.param(128, HERS6, b"ping", False, id="ping from its neighbour's address"),
        pytest.param(128, OWN6, b"ping", True, id="ping"),
    ],
)
def test_a_container_speaks_for_itself_to_its_ipv6_neighbours(
    lab: Lab, kind: int, source: str, body: bytes, passes: bool
) -> None:
    frame = ethernet(raw("33:33:00:00:00:01"), raw(mac_of("a1")), 0x86DD, icmpv6(source, ALL6, kind, body))
    assert frames_seen(lab, "a2", 0x86DD, frame) == passes


def test_a_container_sends_from_its_own_ipv6_address_only(lab: Lab) -> None:
    a1, a2 = lab.containers["a1"], lab.containers["a2"]
    a1.ip("addr add fd00:91::9/64 dev eth0 nodad")
    try:
        assert reaches(a1, a2, HERS6, 5000, from_address=OWN6) == OWN6
        assert reaches(a1, a2, HERS6, 5000, from_address="fd00:91::9") is None
    finally:
        a1.ip("addr del fd00:91::9/64 dev eth0")


@pytest.mark.parametrize("kind", [0x8100, 0x88CC, 0x8035], ids=["VLAN tag", "LLDP", "RARP"])
def test_a_container_sends_nothing_but_ip_and_arp(lab: Lab, kind: int) -> None:
    inner = struct.pack(">HH", 5, 0x0800) + ipv4_udp("10.91.0.2", "10.91.0.3", 5000)
    frame = ethernet(raw(mac_of("a2")), raw(mac_of("a1")), kind, inner.ljust(60, b"\0"))
    with lab.containers["a2"].socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sniffer:
        sniffer.bind(("eth0", 3))
        lab.containers["a1"].frame("eth0", frame)
        assert not any(b"forged" in seen for seen in everything(sniffer))


def everything(sniffer: socket.socket) -> Iterator[bytes]:
    """What a socket receives, until nothing more comes."""
    while True:
        try:
            yield sniffer.recv(2000)
        except TimeoutError:
            return


def test_a_port_without_a_guard_is_free(lab: Lab) -> None:
    """A bridge may have ports that somebody else put there."""
    sender = lab.sender("a1")
    lab.host.run(lambda: lab.firewall.remove([sender]))
    try:
        assert forge(lab, "a1", mac="02:00:00:00:99:99", source="10.91.0.9")
    finally:
        lab.host.run(lambda: lab.firewall.add([sender]))
    assert not forge(lab, "a1", mac="02:00:00:00:99:99", source="10.91.0.9")


# --------------------------------------------------------------------------------------------- connections remembered


def stream(lab: Lab) -> socket.socket:
    """A peer outside that always sends from the same port."""
    sender = lab.outside.socket(socket.AF_INET, UDP)
    sender.bind(("192.0.2.2", 4000))
    sender.connect(("192.0.2.1", 8000))
    return sender


def hears(receiver: socket.socket) -> bool:
    try:
        return receiver.recv(100) == b"now"
    except TimeoutError:
        return False


def test_datagrams_follow_a_port_to_another_container(lab: Lab, published: Callable[..., None]) -> None:
    """Without forgetting, a peer that does not pause would send to the old container for as long as it sends."""
    first, second = mapping("a1", 4, UDP, 8000), mapping("a2", 4, UDP, 8000)
    with (
        lab.containers["a1"].socket(socket.AF_INET, UDP) as old,
        lab.containers["a2"].socket(socket.AF_INET, UDP) as new,
        stream(lab) as sender,
    ):
        old.bind(("", 80))
        new.bind(("", 80))
        lab.publish(first)
        sender.send(b"now")
        assert hears(old)
        lab.withdraw(first)
        published(second)
        sender.send(b"now")
        assert hears(new)
        assert not hears(old)


def test_datagrams_sent_before_a_port_was_published_do_not_keep_their_peer_out(
    lab: Lab, published: Callable[..., None]
) -> None:
    with (
        lab.host.socket(socket.AF_INET, UDP) as host,
        lab.containers["a1"].socket(socket.AF_INET, UDP) as container,
        stream(lab) as sender,
    ):
        host.bind(("", 8000))
        container.bind(("", 80))
        sender.send(b"now")
        assert hears(host)
        published(mapping("a1", 4, UDP, 8000))
        sender.send(b"now")
        assert hears(container)


# --------------------------------------------------------------------------------------------------- whole and repair


def is_intact(lab: Lab) -> bool:
    return lab.host.run(lambda: lab.firewall.intact(BRIDGES.values(), lab.anti_spoof(), lab.mappings))


def nft(lab: Lab, line: str) -> str:
    done = lab.host.run(lambda: subprocess.run(["nft", line], capture_output=True, text=True, check=True, timeout=60))
    return done.stdout


@need("nft")
@pytest.mark.parametrize(
    "line",
    [
        "flush ruleset",
        "delete table bridge wherry",
        "flush chain inet wherry forward",
        "insert rule inet wherry forward accept",
        "flush set inet wherry bridges",
        'add element inet wherry internal { "eth0" }',
        "add element inet wherry ports4 { tcp . 99 : 10.91.0.2 . 99 }",
        "flush chain bridge wherry guard",
        "chain inet wherry forward { policy drop ; }",
        "add chain inet wherry another",
    ],
)
def test_what_another_program_does_to_the_tables_is_noticed_and_put_right(lab: Lab, line: str) -> None:
    assert is_intact(lab)
    nft(lab, line)
    assert not is_intact(lab)
    lab.host.run(lab.restore)
    assert is_intact(lab)
    assert reaches(lab.containers["a1"], lab.containers["b1"], str(address_of("b1")), 5000) is None


@need("nft")
def test_other_tables_are_left_alone(lab: Lab) -> None:
    nft(lab, "table ip other { chain forward { type filter hook forward priority 0; policy drop; }; }")
    try:
        before = nft(lab, "list table ip other")
        lab.host.run(lab.restore)
        lab.host.run(lab.firewall.remove_all)
        assert nft(lab, "list ruleset") == before
        lab.host.run(lab.restore)
        assert nft(lab, "list table ip other") == before
    finally:
        nft(lab, "delete table ip other")


@need("nft")
def test_another_programs_filter_that_stops_containers_is_found_and_named(lab: Lab) -> None:
    """What Docker does to a host, in the words of iptables."""
    nft(lab, "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }")
    try:
        with lab.host.run(lambda: NetlinkSocket(Family.NETFILTER)) as connection:
            (found,) = find_obstacles(connection, "wherry")
        assert reaches(lab.containers["a1"], lab.outside, "192.0.2.2", 5000) is None
    finally:
        nft(lab, "delete table ip filter")
    assert found.describe().startswith("chain ip filter FORWARD is not wherry's and drops forwarded packets")
    assert reaches(lab.containers["a1"], lab.outside, "192.0.2.2", 5000)


@need("nft")
def test_removing_what_is_partly_gone_removes_the_rest(lab: Lab) -> None:
    mappings = [mapping("a1", 4, TCP, 8000), mapping("a1", 4, TCP, 8001)]
    lab.publish(*mappings)
    nft(lab, "delete element inet wherry ports4 { tcp . 8000 }")
    lab.withdraw(*mappings)
    assert is_intact(lab)
    nft(lab, "flush ruleset")
    lab.withdraw(*mappings)
    lab.host.run(lab.restore)


def test_bridges_with_neighbouring_ranges_come_and_go(lab: Lab) -> None:
    """The end of one range is the beginning of the next."""
    middle = BridgeRules("br-m", (ip_network("10.91.4.0/24"), ip_network("fd00:91:4::/64")))
    after = BridgeRules("br-o", (ip_network("10.91.5.0/24"), ip_network("fd00:91:5::/64")))

    def play() -> None:
        for rules in (middle, after, after, middle):
            lab.firewall.add_bridge(rules)
        assert lab.firewall.intact([*BRIDGES.values(), middle, after], lab.anti_spoof(), [])
        lab.firewall.remove_bridge(middle)
        assert lab.firewall.intact([*BRIDGES.values(), after], lab.anti_spoof(), [])
        lab.firewall.remove_bridge(after)
        lab.firewall.remove_bridge(after)

    lab.host.run(play)
    assert is_intact(lab)


def test_a_restore_that_fails_changes_nothing(lab: Lab) -> None:
    first = mapping("a1", 4, TCP, 8000)
    second = PortMapping("tcp", None, 8000, ip_address("10.91.1.2"), 80)  # one port, two containers
    with pytest.raises(SystemCallError):
        lab.host.run(lambda: lab.firewall.restore([], [], [first, second]))
    assert is_intact(lab)


def test_a_port_that_leads_elsewhere_already_is_refused(lab: Lab, published: Callable[..., None]) -> None:
    published(mapping("a1", 4, TCP, 8000))
    with pytest.raises(SystemCallError):
        lab.publish(mapping("b1", 4, TCP, 8000))


def test_no_packet_sees_anything_in_between_while_the_tables_are_made_anew(
    lab: Lab, published: Callable[..., None]
) -> None:
    """A neighbour sends all the time; not one of its packets reaches the container that it may not reach."""
    published(mapping("a1", 4, UDP, 8000))
    with (
        lab.containers["a1"].socket(socket.AF_INET, UDP) as allowed,
        lab.containers["a1"].socket(socket.AF_INET, UDP) as forbidden,
        lab.outside.socket(socket.AF_INET, UDP) as sender,
    ):
        allowed.bind(("", 80))
        forbidden.bind(("", 81))
        for round_ in range(20):
            lab.host.run(
                lambda: lab.firewall.restore(BRIDGES.values(), lab.anti_spoof(), [mapping("a1", 4, UDP, 8000)])
            )
            sender.sendto(b"%d" % round_, ("10.91.0.2", 81))
            sender.sendto(b"%d" % round_, ("192.0.2.1", 8000))
            assert allowed.recv(100) == b"%d" % round_
        with pytest.raises(TimeoutError):
            forbidden.recv(100)


def test_changes_are_told_with_their_maker(lab: Lab) -> None:
    """So whoever watches the tables can leave out its own changes."""
    with lab.host.run(lambda: NetlinkSocket(Family.NETFILTER, [EVENT_GROUP])) as watcher:
        sender = AntiSpoof("wvx", "02:00:00:00:00:99")
        lab.host.run(lambda: lab.firewall.add([sender]))
        makers = [generation_maker(event) for event in watcher.events()]
        lab.host.run(lambda: lab.firewall.remove([sender]))
    assert len([maker for maker in makers if maker]) == 1


def test_the_kernel_is_asked_whether_it_can_without_a_trace(lab: Lab) -> None:
    firewall = type(lab.firewall)("probe")
    assert lab.host.run(firewall.available) is None
    assert firewall.limits() == ()
    firewall.close()
    assert is_intact(lab)


@need("nft")
def test_the_rules_read_as_nft_lists_them(lab: Lab) -> None:
    listed = nft(lab, "list ruleset")
    listed = re.sub(r"\n\t\telements = \{[^}]*\}", "", listed)
    for number, name in ((1, "icmp"), (58, "ipv6-icmp")):  # as it is where /etc/protocols is missing
        listed = re.sub(rf"(meta l4proto (?:!= )?){number}\b", rf"\1{name}", listed)
    for number, name in ((-300, "raw"), (-100, "dstnat"), (100, "srcnat"), (0, "filter")):
        listed = listed.replace(f"priority {name};", f"priority {number};")
    for rule in lab.firewall.describe().splitlines():
        if rule.strip() and "priority" not in rule:
            assert spelled_as_nft(rule.strip()) in listed, rule


def spelled_as_nft(rule: str) -> str:
    """Leave out what nft leaves out: that a packet is of the family which its field belongs to."""
    if re.search(r"\b(ip saddr|ip6 saddr|arp saddr)|ipv6-icmp", rule):
        rule = re.sub(r"ether type \w+ (?=.*)", "", rule)
    if rule.startswith("iifname . ether saddr . ip6 saddr @owners6") or "ip6 saddr ::" in rule:
        # In a bridge, nft only knows a field after a rule that says of which family the frame is.
        rule = rule.replace("ip6 saddr ::", "@nh,64,128 0x0").replace("ip6 saddr", "@nh,64,128")
    return rule.replace("icmpv6 type 143", "icmpv6 type mld2-listener-report")
