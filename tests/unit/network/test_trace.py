"""``network trace`` and ``port audit``: the way of a packet, told from values alone."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from msgspec.structs import replace

from wherry.cli.output.audit import audit_text
from wherry.errors import InvalidInput, NotFound
from wherry.network.diagnose.audit import From, audit
from wherry.network.diagnose.listeners import Listener, parse
from wherry.network.diagnose.steps import Trace, rule_named
from wherry.network.diagnose.topology import HostAddress, Participant, Topology
from wherry.network.diagnose.trace import trace
from wherry.network.firewall.foreign import Obstacle
from wherry.network.model import Endpoint, LinkedPorts, Network, PublishedPort, Subnet

ANY, LOOPBACK = ip_address("0.0.0.0"), ip_address("127.0.0.1")


def network(name: str, number: int, **more: object) -> Network:
    subnet = Subnet(ip_network(f"10.0.{number}.0/24"), ip_address(f"10.0.{number}.1"))
    return Network(
        **{  # type: ignore[arg-type]
            "id": f"{number:064x}",
            "name": name,
            "driver": "bridge",
            "created": 0,
            "subnets": (subnet,),
            "bridge": f"br-{name}",
            **more,
        }
    )


def endpoint(on: Network, host: int, *published: PublishedPort, **more: object) -> Endpoint:
    subnet = on.subnets[0]
    gateway = None if on.internal or on.driver == "macvlan" else subnet.gateway
    return Endpoint(
        **{  # type: ignore[arg-type]
            "id": "e" * 64,
            "network_id": on.id,
            "owner": "",
            "owner_name": "",
            "interface": "eth0",
            "ipv4": subnet.network[host],
            "ipv4_prefix": 24,
            "gateway4": gateway,
            "published": published,
            **more,
        }
    )


def participant(
    name: str, *endpoints: Endpoint, listens: tuple[tuple[str, int], ...] | None = None, **more: object
) -> Participant:
    listeners = None
    if listens is not None:
        listeners = tuple(Listener("tcp", ip_address(address), port) for address, port in listens)
    owner = name.encode().hex().ljust(64, "0")
    return Participant(owner=owner, name=name, endpoints=endpoints, listeners=listeners, **more)  # type: ignore[arg-type]


DEFAULT, FRONT, BACK = network("bridge", 1), network("front", 2), network("back", 3)
SECRET = network("secret", 4, internal=True)
LONELY = network("lonely", 5, options={"com.docker.network.bridge.enable_icc": "false"})
LINK = network("link", 6, driver="macvlan", bridge="eth0", borrowed=True)
WEB_ID = b"web".hex().ljust(64, "0")
WEB = PublishedPort("tcp", 80, ANY, 8080)
LOCAL = PublishedPort("tcp", 80, LOOPBACK, 9090)
TOPOLOGY = Topology(
    networks=(DEFAULT, FRONT, BACK, SECRET, LONELY, LINK),
    participants=(
        participant("old1", endpoint(DEFAULT, 2)),
        participant("old2", endpoint(DEFAULT, 3)),
        participant(
            "web", endpoint(FRONT, 2, WEB, LOCAL, aliases=("www",)), listens=(("0.0.0.0", 80), ("127.0.0.1", 81))
        ),
        participant("app", endpoint(FRONT, 3, links=("web:store",)), hostname="Desk"),
        participant("sidecar", endpoint(FRONT, 2, WEB, LOCAL), shares="web"),
        participant("db", endpoint(BACK, 2)),
        participant("vault", endpoint(SECRET, 2)),
        participant("clerk", endpoint(SECRET, 3)),
        participant("envoy", endpoint(SECRET, 7), endpoint(BACK, 7)),
        participant("hermit1", endpoint(LONELY, 2)),
        participant("hermit2", endpoint(LONELY, 3)),
        participant(
            "pilgrim", endpoint(LONELY, 4, linked_ports=(LinkedPorts(b"hermit2".hex().ljust(64, "0"), (("tcp", 80),)),))
        ),
        participant("neighbour", endpoint(LINK, 9)),
        participant("monitor", shares_host=True),
        participant("stopped", running=False),
        participant("nowhere"),
    ),
    host_addresses=(
        HostAddress(LOOPBACK, "lo"),
        HostAddress(ip_address("192.0.2.1"), "eth0"),
        HostAddress(ip_address("10.0.2.1"), "br-front"),
        HostAddress(ip_address("10.0.4.1"), "br-secret"),
    ),
    host_listeners=(Listener("tcp", ip_address("0.0.0.0"), 22), Listener("tcp", LOOPBACK, 631)),
)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("app", "web", "80"),
        ("app", "www", "80"),
        ("app", "WEB.", "80"),
        ("app", "web.front", "80"),
        ("app", "store", "80"),
        ("app", "store.front", "80"),
        ("app", WEB_ID[:20], "80"),
        ("web", "desk", ""),
        ("sidecar", "app", ""),
        ("app", "www.example", "443"),
        ("app", "10.0.2.2", "80"),
        ("old1", "10.0.1.3", ""),
        ("vault", "clerk", ""),
        ("host", "web", "80"),
        ("host", "127.0.0.1", "9090"),
        ("host", "vault", ""),
        ("outside", "192.0.2.1", "8080"),
        ("outside", "host", "8080"),
        ("outside", "host", "22"),
        ("db", "192.0.2.1", "8080"),
        ("db", "outside", "443"),
        ("db", "203.0.113.7", "443"),
        ("app", "host", "22"),
        ("vault", "10.0.4.1", ""),
        ("monitor", "web", "80"),
        ("app", "monitor", "22"),
        ("pilgrim", "hermit2", "80"),
        ("outside", "neighbour", ""),
        ("host", "outside", ""),
    ],
)
def test_what_reaches(source: str, target: str, port: str) -> None:
    found = trace(TOPOLOGY, source, target, port)
    assert found.reaches, found.because
    assert found.steps
    assert all(step.passes for step in found.steps)


STOPS = [
    ("old1", "old2", "", "name", "the default bridge has no name resolution"),
    ("app", "db", "", "name", "they have no network in common"),
    ("app", "10.0.3.2", "5432", "rule", "chain into_bridge: drop"),
    ("outside", "web", "80", "rule", "chain into_bridge: drop"),
    ("outside", "10.0.2.2", "80", "rule", "chain into_bridge: drop"),
    ("outside", "vault", "", "rule", "oifname @internal drop"),
    ("outside", "envoy", "80", "rule", "chain into_bridge: drop"),
    ("outside", "127.0.0.1", "9090", "rule", "chain arrival"),
    ("outside", "192.0.2.1", "9090", "port", "no program of the host listens at port 9090/tcp"),
    ("outside", "192.0.2.1", "631", "port", "listens at port 631/tcp only on 127.0.0.1"),
    ("vault", "outside", "", "route", "no default route for IPv4: it is only on secret"),
    ("vault", "192.0.2.1", "22", "rule", "chain from_internal: drop"),
    ("vault", "192.0.2.1", "8080", "rule", "iifname @internal drop"),
    ("hermit1", "hermit2", "", "rule", "chain apart: drop"),
    ("pilgrim", "hermit2", "81", "rule", "chain apart: drop"),
    ("pilgrim", "hermit2", "80/udp", "rule", "chain apart: drop"),
    ("hermit2", "pilgrim", "80", "rule", "chain apart: drop"),
    ("app", "127.0.0.1", "8080", "route", "127.0.0.1 means app itself"),
    ("app", "web", "81", "port", "web listens at port 81/tcp only on 127.0.0.1, not on 10.0.2.2"),
    ("app", "web", "82", "port", "no program of web listens at port 82/tcp"),
    ("app", "stopped", "", "container", "stopped does not run"),
    ("stopped", "app", "", "container", "stopped does not run"),
    ("nowhere", "app", "", "name", "no network in common"),
    ("host", "neighbour", "", "route", "macvlan interfaces and their parent do not hear one another"),
    ("neighbour", "web", "", "name", "no network in common"),
    ("outside", "203.0.113.7", "", "route", "not on this machine"),
    ("outside", "www.example", "", "route", "not on this machine"),
    ("app", "nobody.front", "", "name", "nobody on network front is called 'nobody'"),
    ("app", "db.back", "", "name", "app is not on network back"),
    ("vault", "www.example", "", "name", "from internal networks no other name servers are asked"),
    ("app", "sidecar", "80", "name", "it has the network of web, and no name there"),
]


@pytest.mark.parametrize(("source", "target", "port", "what", "because"), STOPS)
def test_what_stops(source: str, target: str, port: str, what: str, because: str) -> None:
    found = trace(TOPOLOGY, source, target, port)
    assert not found.reaches
    assert because in found.because
    stops = [step for step in found.steps if not step.passes]
    assert stops[0].what == what


def steps(found: Trace) -> list[tuple[bool, str]]:
    return [(step.passes, step.what) for step in found.steps]


def test_the_way_through_a_published_port_names_the_rules() -> None:
    found = trace(TOPOLOGY, "outside", "192.0.2.1", "8080")
    assert "chain prerouting: fib daddr type local jump published" in found.steps[0].why
    assert "port 8080 leads to web, 10.0.2.2 port 80" in found.steps[0].why
    assert "chain into_bridge: ct status dnat accept" in found.steps[1].why
    assert found.because == "web listens at port 80/tcp"
    shared = trace(replace(TOPOLOGY, participants=tuple(reversed(TOPOLOGY.participants))), "outside", "host", "8080")
    assert "port 8080 leads to web" in shared.steps[0].why


def test_who_cannot_look_a_name_up_is_told_what_would_help() -> None:
    found = trace(TOPOLOGY, "old1", "old2", "80")
    assert "wherry network connect NETWORK old2" in found.hint
    assert "10.0.1.3" in found.hint


def test_an_unpublished_way_in_names_the_published_one() -> None:
    assert (
        trace(TOPOLOGY, "outside", "web", "80").hint == "web is published: use an address of the host and port 8080/tcp"
    )
    assert "join one of web's networks" in trace(TOPOLOGY, "outside", "web", "81").hint
    assert "join one of db's networks" in trace(TOPOLOGY, "app", "10.0.3.2", "80").hint


def test_a_port_on_loopback_is_no_way_for_anybody_else() -> None:
    for source in ("outside", "app", "db"):
        for port, why in (("9090", "from the host itself only"), ("631", "only on 127.0.0.1, for itself")):
            found = trace(TOPOLOGY, source, "host", port)
            assert not found.reaches
            assert why in found.because
    assert "8080/tcp" in trace(TOPOLOGY, "outside", "host", "9090").hint, "that way it is reached"
    assert trace(TOPOLOGY, "host", "host", "9090").reaches
    local = participant("web", endpoint(FRONT, 2, LOCAL), listens=(("0.0.0.0", 80),))
    for target, port in (("host", "9090"), ("web", "80")):
        hint = trace(replace(TOPOLOGY, participants=(local,)), "outside", target, port).hint
        assert hint.startswith("web is published at 127.0.0.1:9090/tcp only, which is for the host itself"), hint


def test_an_address_that_a_port_is_published_at_is_named() -> None:
    other = PublishedPort("tcp", 80, ip_address("192.0.2.1"), 81), PublishedPort("tcp", 80, ip_address("fd00::1"), 81)
    topology = replace(TOPOLOGY, participants=(participant("web", endpoint(FRONT, 2, LOCAL, *other)),))
    hint = trace(topology, "outside", "web").hint
    assert hint == "web is published: use 192.0.2.1:81/tcp or [fd00::1]:81/tcp"


def test_other_programs_filters_are_told_on_the_way() -> None:
    docker = Obstacle("ip", "filter", "FORWARD", "forward", (4,))
    found = trace(replace(TOPOLOGY, obstacles=(docker,)), "app", "outside", "80")
    assert any("chain ip filter FORWARD" in step.why for step in found.steps)
    assert found.because.endswith(", unless chain ip filter FORWARD stops it")
    assert "iptables -I DOCKER-USER" in found.hint
    found = trace(replace(TOPOLOGY, obstacles=(docker,)), "app", "web", "82")
    assert found.because == "no program of web listens at port 82/tcp"


def test_a_host_that_does_not_forward_stops_the_way_out() -> None:
    found = trace(replace(TOPOLOGY, forwards=(6,)), "app", "outside", "80")
    assert (found.reaches, found.because) == (False, "the host does not forward IPv4")
    assert found.hint == "sysctl -w net.ipv4.ip_forward=1"


def test_a_host_that_does_not_forward_stops_the_way_through_a_published_port() -> None:
    found = trace(replace(TOPOLOGY, forwards=(6,)), "outside", "host", "8080")
    assert found.because == "the host does not forward IPv4"
    assert trace(replace(TOPOLOGY, forwards=(6,)), "host", "127.0.0.1", "8080").reaches


def test_an_address_is_its_owners_and_not_theirs_who_share_or_shared_it() -> None:
    gone = participant("gone", endpoint(FRONT, 2), shares="web", running=False)
    found = trace(replace(TOPOLOGY, participants=(gone, *reversed(TOPOLOGY.participants))), "app", "10.0.2.2", "80")
    assert found.because == "web listens at port 80/tcp"


def test_without_a_firewall_nothing_is_published() -> None:
    found = trace(replace(TOPOLOGY, firewall="this kernel has no nf_tables"), "outside", "192.0.2.1", "8080")
    assert (found.reaches, found.because) == (False, "this kernel has no nf_tables")


@pytest.mark.parametrize("port", ["0", "65536", "http", "80/icmp", "-1", "80/", "²", "9" * 5000])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(InvalidInput, match="invalid port"):
        trace(TOPOLOGY, "app", "web", port)


@pytest.mark.parametrize(("source", "target"), [("ghost", "web"), ("web", "ghost")])
def test_a_container_that_is_not_there_is_no_place(source: str, target: str) -> None:
    with pytest.raises(NotFound, match="No such container: ghost"):
        trace(TOPOLOGY, source, target)


def test_only_rules_that_exist_can_be_named() -> None:
    with pytest.raises(LookupError):
        rule_named("forward", "no such rule")


# ---------------------------------------------------------------------------------------------------------------- audit


def test_an_audit_tells_the_widest_first() -> None:
    found = audit(TOPOLOGY)
    assert [(each.container, each.port, each.reach) for each in found.ports] == [
        ("monitor", "*", From.EVERYWHERE),
        ("web", "80/tcp", From.EVERYWHERE),
        ("neighbour", "*", From.LINK),
        ("web", "80/tcp", From.HOST),
    ]


def test_a_port_on_every_address_is_told_by_each_of_them() -> None:
    everywhere, here = [each for each in audit(TOPOLOGY).ports if each.container == "web"]
    assert everywhere.at == ("192.0.2.1:8080", "10.0.2.1:8080", "10.0.4.1:8080")
    assert here.at == ("127.0.0.1:9090",)
    assert everywhere.listening is True


def test_an_address_that_the_host_does_not_have_leads_nowhere() -> None:
    gone = PublishedPort("tcp", 80, ip_address("198.51.100.1"), 80)
    topology = replace(TOPOLOGY, participants=(participant("web", endpoint(FRONT, 2, gone)),))
    (found,) = audit(topology).ports
    assert (found.reach, found.at, found.listening) == (From.NOWHERE, (), None)


def test_an_audit_tells_who_is_open_to_whom() -> None:
    found = {each.network: each for each in audit(TOPOLOGY).networks}
    assert found["front"].containers == ("app", "sidecar", "web")
    assert found["front"].open
    assert not found["lonely"].open
    assert found["secret"].internal


def test_an_audit_warns_of_what_stands_in_the_way() -> None:
    docker = Obstacle("ip", "filter", "FORWARD", "forward", (4,))
    found = audit(replace(TOPOLOGY, obstacles=(docker,), forwards=(6,))).warnings
    assert len(found) == 2
    assert "the host does not forward IPv4" in found[1]
    assert audit(replace(TOPOLOGY, obstacles=(docker,), forwards=(), firewall="no nf_tables")).warnings == (
        "no nf_tables",
    )


def test_of_many_addresses_a_row_shows_two() -> None:
    row = {"Container": "web", "Port": "80/tcp", "From": "everywhere", "Listening": True, "Why": "published"}
    one, two, four = (["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80", "192.0.2.4:80"][:count] for count in (1, 2, 4))
    text = audit_text({"Ports": [row | {"At": at} for at in (one, two, four, [])], "Networks": [], "Warnings": []})
    assert [re.split("  +", line)[3] for line in text.splitlines()[1:]] == [
        "192.0.2.1:80",
        "192.0.2.1:80, 192.0.2.2:80",
        "192.0.2.1:80, 192.0.2.2:80 and 2 more",
        "-",
    ]


# ------------------------------------------------------------------------------------------------------------ listeners


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0200000A:0050 0300000A:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 0000000000000000FFFF00000200000A:0051 00000000000000000000000000000000:0000 0A 00000000:00000000
"""


def test_listeners_are_read_from_proc() -> None:
    found = list(parse("tcp", TCP))
    assert found == [Listener("tcp", LOOPBACK, 8080), Listener("tcp", ANY, 22)]
    six = list(parse("tcp", TCP6))
    assert str(six[0].address) == "::"
    assert six[1].address.ipv4_mapped == IPv4Address("10.0.0.2")  # type: ignore[union-attr]


def test_a_listener_takes_what_is_sent_to_its_address() -> None:
    any6, any4, here = (Listener("tcp", ip_address(each), 80) for each in ("::", "0.0.0.0", "127.0.0.1"))
    inside = ip_address("10.0.0.2")
    assert any6.takes("tcp", 80, inside)
    assert any4.takes("tcp", 80, inside)
    assert not any4.takes("tcp", 80, ip_address("fd00::2"))
    assert not here.takes("tcp", 80, inside)
    assert not any4.takes("udp", 80, inside)
    assert list(parse("tcp", TCP6))[1].takes("tcp", 81, inside)
