"""Gateway modes of bridge networks, as a neighbour with routes to the containers sees them, and as containers do."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from support.needs import need
from support.network_harness import Place, new_host, reaches
from wherry.linux import rtnetlink
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.network.controller import Controller
from wherry.network.model import (
    Endpoint,
    EndpointRequest,
    Network,
    NetworkRequest,
    NetworkSettings,
    PoolSetting,
    PortRequest,
    SubnetRequest,
)

pytestmark = need("root", "namespaces", "ip")

OPTION = "com.docker.network.bridge."
SUBNETS = (SubnetRequest("10.97.1.0/24"), SubnetRequest("fd00:97:1::/64"))
HOST, HOST6, CHOSEN, CHOSEN6 = "192.0.2.1", "2001:db8::1", "192.0.2.77", "2001:db8::77"
OUTSIDE, OUTSIDE6 = "192.0.2.2", "2001:db8::2"
STREAM = socket.SOCK_STREAM


@pytest.fixture
def outside() -> Iterator[Place]:
    """A machine that sends to the containers straight by the host, in whose namespace the test's thread is."""
    with new_host():
        there, host = Place("outside"), Place("host", os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        host.ip(
            "link set lo up", f"link add up0 type veth peer name eth0 netns {there.path}",
            f"addr add {HOST}/24 dev up0", f"addr add {CHOSEN}/24 dev up0", f"addr add {HOST6}/64 dev up0 nodad",
            f"addr add {CHOSEN6}/64 dev up0 nodad", "link set up0 up",
        )  # fmt: skip
        there.ip(
            "link set lo up", f"addr add {OUTSIDE}/24 dev eth0", f"addr add {OUTSIDE6}/64 dev eth0 nodad",
            "link set eth0 up", f"route add 10.97.0.0/16 via {HOST}", f"route add fd00:97::/32 via {HOST6}",
        )  # fmt: skip
        yield there
        for place in (there, host):
            os.close(place.fd)


@pytest.fixture
async def networks(outside: Place, tmp_path: Path) -> AsyncIterator[Controller]:
    """An engine's networks on that host."""
    pools = (PoolSetting(ip_network("10.95.0.0/16"), 24),)
    settings = NetworkSettings(
        data_root=tmp_path, exec_root=tmp_path, bip="10.96.0.1/24", pools=pools, warm=0, default_exec_root=False
    )
    made = Controller.open(settings)
    made.start()
    await made.ready()
    yield made
    await made.shutdown()


async def make(networks: Controller, *, internal: bool = False, **options: str) -> Network:
    given = {f"{OPTION}{name}": value for name, value in options.items()}
    return await networks.create(
        NetworkRequest(name="net", internal=internal, ipv6=True, options=given, subnets=SUBNETS)
    )


async def place(networks: Controller, number: int, network: Network, *ports: PortRequest) -> tuple[Place, Endpoint]:
    """A sandbox on a network."""
    sandbox = await networks.take(f"{number:064x}", f"c{number}", network)
    endpoint = await networks.connect(sandbox, network, EndpointRequest(publish=ports))
    return Place(f"c{number}", sandbox.fileno()), endpoint


def meets(one: Place, other: Place, address: str, port: int, *, at: int | None = None) -> str | None:
    """From which address one reaches the other by TCP; the first tries may be too early for IPv6 neighbours."""
    found = (reaches(one, other, address, port, at=at, kind=STREAM) for _ in range(40))
    return next((each for each in found if each), None)


def both(endpoint: Endpoint) -> tuple[str, str]:
    return str(endpoint.ipv4), str(endpoint.ipv6)


async def test_a_routed_network_is_reached_at_its_published_ports_and_nothing_is_translated(
    networks: Controller, outside: Place
) -> None:
    network = await make(networks, gateway_mode_ipv4="routed", gateway_mode_ipv6="routed")
    inside, endpoint = await place(networks, 1, network, PortRequest("tcp", 80, None, 8080, 8080))
    assert [(str(one.host_address), one.host_port) for one in endpoint.published] == [("0.0.0.0", 0), ("::", 0)]
    stranger, _ = await place(networks, 2, networks.get("bridge"))
    for address, own in zip(both(endpoint), (OUTSIDE, OUTSIDE6), strict=True):
        assert meets(outside, inside, address, 80) == own, "not translated"
        assert not reaches(outside, inside, address, 81, kind=STREAM), "not published"
        assert meets(inside, outside, own, 7000) == address, "nor on the way out"
    assert meets(stranger, inside, both(endpoint)[0], 80)
    assert not reaches(stranger, inside, both(endpoint)[0], 81, kind=STREAM)
    assert not reaches(outside, inside, HOST, 8080, at=80, kind=STREAM), "the host has no such port"
    with socket.socket() as free:
        free.bind((HOST, 8080))
    await networks.release("1".rjust(64, "0"))
    again, later = await place(networks, 3, network)
    assert later.ipv4 != endpoint.ipv4 or not reaches(outside, again, str(later.ipv4), 80, kind=STREAM)


async def test_echo_requests_pass_to_a_routed_network_only(networks: Controller, outside: Place) -> None:
    network = await make(networks, gateway_mode_ipv4="routed")
    _, endpoint = await place(networks, 1, network)
    four, six = both(endpoint)
    assert pings(outside, four)
    assert not pings(outside, six)


def pings(place: Place, address: str) -> bool:
    """Whether an echo request is answered (RFC 792, RFC 4443)."""
    six = ip_address(address).version == 6
    kind, protocol = (128, socket.IPPROTO_ICMPV6) if six else (8, socket.IPPROTO_ICMP)
    with place.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, protocol) as raw:
        for _ in range(4 if six else 40):
            head = bytes((kind, 0))
            raw.sendto(head + (b"\0\0" if six else (0xFFFF - (kind << 8)).to_bytes(2, "big")) + bytes(4), (address, 0))
            try:
                answer, _ = raw.recvfrom(200)
            except OSError:
                continue
            return (answer if six else answer[20:])[0] == (129 if six else 0)
    return False


async def test_an_unprotected_network_is_reached_at_every_port_and_translated_on_the_way_out(
    networks: Controller, outside: Place
) -> None:
    network = await make(networks, gateway_mode_ipv4="nat-unprotected")
    inside, endpoint = await place(networks, 1, network, PortRequest("tcp", 80, None, 8080, 8080))
    four, six = both(endpoint)
    assert meets(outside, inside, four, 81) == OUTSIDE
    assert meets(outside, inside, HOST, 8080, at=80) == OUTSIDE
    assert meets(inside, outside, OUTSIDE, 7000) == HOST
    assert not reaches(outside, inside, six, 81, kind=STREAM), "IPv6 has a mode of its own"


async def test_an_isolated_network_has_no_address_of_the_host(networks: Controller, outside: Place) -> None:
    network = await make(networks, internal=True, gateway_mode_ipv4="isolated", gateway_mode_ipv6="isolated")
    assert [subnet.gateway for subnet in network.subnets] == [None, None]
    inside, _ = await place(networks, 1, network)
    other, theirs = await place(networks, 2, network)
    assert all(meets(inside, other, address, 80) for address in both(theirs))
    with NetlinkSocket(Family.ROUTE) as conversation:
        bridge = rtnetlink.find_link(conversation, network.bridge)
        assert bridge is not None
        assert [each for each in rtnetlink.addresses(conversation) if each.link == bridge.number] == []
    # A container that makes itself a route still finds nobody who would take its packets.
    inside.ip(f"route add {HOST} dev eth0", f"route add {OUTSIDE} dev eth0")
    host = Place("host", os.open("/proc/thread-self/ns/net", os.O_RDONLY))
    assert not reaches(inside, host, HOST, 7000, kind=STREAM)
    assert not reaches(inside, outside, OUTSIDE, 7000, kind=STREAM)
    os.close(host.fd)


async def test_the_hosts_address_is_chosen_for_what_leaves(networks: Controller, outside: Place) -> None:
    options = {"com.docker.network.host_ipv4": CHOSEN, "com.docker.network.host_ipv6": CHOSEN6}
    network = await networks.create(NetworkRequest(name="net", ipv6=True, options=options, subnets=SUBNETS))
    inside, _ = await place(networks, 1, network)
    assert meets(inside, outside, OUTSIDE, 7000) == CHOSEN
    assert meets(inside, outside, OUTSIDE6, 7000) == CHOSEN6


async def test_by_a_trusted_interface_published_ports_are_reached_straight(
    networks: Controller, outside: Place
) -> None:
    network = await make(networks, trusted_host_interfaces="up0:wg7")
    twice = (PortRequest("tcp", 80, None, 8080, 8080), PortRequest("tcp", 80, None, 8081, 8081))
    inside, endpoint = await place(networks, 1, network, *twice)
    for address, own in zip(both(endpoint), (OUTSIDE, OUTSIDE6), strict=True):
        assert meets(outside, inside, address, 80) == own
        assert not reaches(outside, inside, address, 81, kind=STREAM)
    stranger, _ = await place(networks, 2, networks.get("bridge"))
    assert not reaches(stranger, inside, both(endpoint)[0], 80, kind=STREAM), "another bridge is not trusted"
    await networks.release("1".rjust(64, "0"))
    await networks.remove("net")


async def test_the_bridge_has_no_ipv4_address_if_that_is_inhibited(networks: Controller, outside: Place) -> None:
    network = await make(networks, inhibit_ipv4="true")
    with NetlinkSocket(Family.ROUTE) as conversation:
        bridge = rtnetlink.find_link(conversation, network.bridge)
        assert bridge is not None
        found = {str(each.address) for each in rtnetlink.addresses(conversation) if each.link == bridge.number}
    assert "fd00:97:1::1" in found
    assert "10.97.1.1" not in found
    _, endpoint = await place(networks, 1, network)
    assert str(endpoint.gateway4) == "10.97.1.1", "another router on the bridge has it"


async def test_all_that_stays_is_as_it_was_after_a_restart(
    networks: Controller, outside: Place, tmp_path: Path
) -> None:
    network = await make(
        networks, gateway_mode_ipv4="routed", gateway_mode_ipv6="nat-unprotected", trusted_host_interfaces="up0"
    )
    inside, endpoint = await place(networks, 1, network, PortRequest("tcp", 80, None, 8080, 8080))
    await networks._reconciler._sync(rebuild=False)
    await networks._reconciler._sync(rebuild=True)
    assert meets(outside, inside, both(endpoint)[0], 80) == OUTSIDE
    assert not reaches(outside, inside, both(endpoint)[0], 81, kind=STREAM)
    assert meets(outside, inside, both(endpoint)[1], 81) == OUTSIDE6
