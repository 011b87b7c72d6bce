"""The contract of network drivers: one that is added in one file and one line is known everywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest
from msgspec.structs import replace

from wherry.docker.networks import EndpointSettings
from wherry.engine.network.requests import publishing_network
from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound
from wherry.linux.netlink import Message
from wherry.network.database import NetworkDatabase
from wherry.network.definition import check_configuration, define
from wherry.network.diagnose.audit import From, audit
from wherry.network.diagnose.topology import HostAddress, Participant, Topology
from wherry.network.diagnose.trace import trace
from wherry.network.drivers.contract import Driver
from wherry.network.drivers.table import DRIVERS, driver_of, find_driver
from wherry.network.ipam.host_networks import HostNetworks
from wherry.network.ipam.subnets import DEFAULT_POOLS
from wherry.network.kernel_state import endpoints, ip_forward
from wherry.network.kernel_state.jobs import Jobs
from wherry.network.kernel_thread import Kernel
from wherry.network.model import (
    Endpoint,
    EndpointRequest,
    Network,
    NetworkRequest,
    NetworkSettings,
    PortRequest,
    PublishedPort,
    Subnet,
    SubnetRequest,
)
from wherry.network.store import NetworkStore

SOURCE = Path(__file__).resolve().parents[3] / "src/wherry"
HOST = HostNetworks((), (), DEFAULT_POOLS, 1500, False)


class ToyDriver(Driver):
    """Like ipvlan: endpoints are on the link of an interface that the host has, and several networks may be there."""

    publishes = True
    shares_interface = True
    on_parent_link = True
    needs_forwarding = True

    def check(self, network: Network) -> Network:
        """Its parent is an option."""
        return replace(network, bridge=network.options["parent"], borrowed=True)

    def host_interface(self, endpoint_id: str) -> str:
        """Each endpoint has one."""
        return f"toy{endpoint_id[:8]}"

    def host_addresses(self, network: Network) -> tuple[IPv4Address, ...]:
        """One that is its own."""
        return (IPv4Address("10.7.0.254"),)

    def links(self, kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> list[Message]:
        """Not made here."""
        raise AssertionError


class NoKernel:
    """A kernel of which nothing is asked."""

    has_no_firewall = False


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is in the table."""
    monkeypatch.setitem(DRIVERS, "toy", ToyDriver())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NetworkStore]:
    """A store with nothing in it."""
    database = NetworkDatabase(tmp_path / "wherry.db")
    yield NetworkStore(database)
    database.close()


def made(tmp_path: Path, name: str, subnet: str) -> Network:
    """A network of the toy driver, as the controller defines it."""
    request = NetworkRequest(
        name=name, driver="toy", options={"parent": "eth7"}, subnets=(SubnetRequest(subnet),), ipv6=None
    )
    return define(request, HOST, NetworkSettings(data_root=tmp_path, exec_root=tmp_path))


@pytest.mark.usefixtures("toy")
def test_a_driver_is_added_by_one_line_in_the_table(tmp_path: Path, store: NetworkStore) -> None:
    one, other = made(tmp_path, "one", "10.7.0.0/24"), made(tmp_path, "other", "10.8.0.0/24")
    for network in (one, other):
        store.check_interface(network)  # they share the interface
        store.add_network(network)
        store.network_created(network)
    drafted = store.draft(one, "o" * 64, "web", EndpointRequest())
    assert drafted.host_interface.startswith("toy")
    assert drafted.gateway4 == ip_address("10.7.0.1")
    published = store.publish(drafted, [PortRequest("tcp", 80, ip_address("127.0.0.1"), 8199, 8199)], None)
    store.add(published)
    assert ip_forward.versions([one]) == {4}
    assert publishing_network([one], {"one": EndpointSettings()}) is one
    # The firewall has nothing of it, nor is the kernel asked for anything.
    endpoints.publish(NoKernel(), one, published)  # type: ignore[arg-type]
    endpoints.unpublish(NoKernel(), [(one, published)])  # type: ignore[arg-type]
    Jobs(NoKernel()).create_network(one)  # type: ignore[arg-type]


@pytest.mark.usefixtures("toy")
def test_traces_and_audits_know_an_added_driver(tmp_path: Path) -> None:
    network = made(tmp_path, "one", "10.7.0.0/24")
    endpoint = Endpoint(id="e" * 64, network_id=network.id, owner="o" * 64, owner_name="web", interface="eth0")
    participant = Participant(
        owner="o" * 64, name="web", endpoints=(replace(endpoint, ipv4=IPv4Address("10.7.0.2"), ipv4_prefix=24),)
    )
    own = HostAddress(IPv4Address("10.7.0.254"), "eth7")
    topology = Topology(networks=(network,), participants=(participant,), host_addresses=(own,))
    assert trace(topology, "host", "web").because == "toy interfaces and their parent do not hear one another (one)"
    assert trace(topology, "outside", "web").reaches
    (exposure,) = audit(topology).ports
    assert (exposure.reach, exposure.why) == (From.LINK, "toy network one is on eth7's link")
    (neighbours,) = audit(topology).networks
    assert neighbours.open
    assert trace(topology, "web", "10.7.0.254").steps[0].why == "10.7.0.254 is the host's address on network one"


def on_link(tmp_path: Path, driver: str, options: dict[str, str], **more: object) -> Network:
    """A network on the link of a parent, as the controller defines it."""
    request = NetworkRequest(
        name="lan", driver=driver, options=options, subnets=(SubnetRequest("10.7.0.0/24"),), **more
    )  # type: ignore[arg-type]
    return define(request, HOST, NetworkSettings(data_root=tmp_path, exec_root=tmp_path))


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        (
            "ipvlan",
            {"ipvlan_mode": "l4"},
            "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver",
        ),
        ("ipvlan", {"ipvlan_flag": "none"}, "requested ipvlan flag 'none' is not valid, 'bridge' is the ipvlan driver"),
        ("ipvlan", {"parent": "lo"}, "loopback interface is not a valid ipvlan parent link"),
        ("macvlan", {"parent": "lo"}, "loopback interface is not a valid macvlan parent link"),
        ("macvlan", {"macvlan_mode": "l2"}, "requested macvlan mode 'l2' is not valid, 'bridge' mode is the macvlan"),
        ("ipvlan", {"parent": "../eth0"}, "invalid interface name"),
    ],
)
def test_options_of_parents_are_refused_in_dockers_words(
    tmp_path: Path, driver: str, options: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        on_link(tmp_path, driver, options)
    assert words in str(caught.value)


def test_on_a_parents_link_only_a_named_gateway_is_one(tmp_path: Path, store: NetworkStore) -> None:
    for driver in ("macvlan", "ipvlan"):
        network = on_link(tmp_path, driver, {"parent": "eth7"})
        assert (network.bridge, network.borrowed, network.internal) == ("eth7", True, False)
        assert network.subnets[0].gateway is None
        assert driver_of(network).default_route(network, network.subnets[0]) is None
        store.add_network(network)
        assert store.draft(network, "o" * 64, "web", EndpointRequest()).gateway4 is None
        store.remove_network(network)


def test_an_ipvlans_endpoints_share_a_mac_address_and_have_no_router_at_layer_3(
    tmp_path: Path, store: NetworkStore
) -> None:
    network = on_link(tmp_path, "ipvlan", {"parent": "eth7", "ipvlan_mode": "l3"})
    store.add_network(network)
    drafted = store.draft(network, "o" * 64, "web", EndpointRequest())
    assert (drafted.mac, drafted.host_interface, drafted.gateway4) == ("", "", IPv4Address(0))
    with pytest.raises(InvalidInput, match="ipvlan interfaces do not support custom mac address assignment"):
        store.draft(network, "p" * 64, "web2", EndpointRequest(mac="02:42:00:00:00:01"))
    internal = on_link(tmp_path, "ipvlan", {"parent": "eth7", "ipvlan_mode": "l3s"}, internal=True)
    assert driver_of(internal).default_route(internal, internal.subnets[0]) is None
    participant = Participant(owner="o" * 64, name="web", endpoints=(drafted,))
    topology = Topology(networks=(network,), participants=(participant,), host_addresses=())
    because = "web is on the network of eth7, which routes for it: others need a route to 10.7.0.0/24"
    assert trace(topology, "outside", "web").because == because
    assert "web sends to the link" in trace(replace(topology, forwards=(4,)), "web", "outside").steps[0].why


def test_private_interfaces_do_not_hear_one_another(tmp_path: Path) -> None:
    for driver, option in (("ipvlan", "ipvlan_flag"), ("macvlan", "macvlan_mode")):
        network = on_link(tmp_path, driver, {"parent": "eth7", option: "private"})
        two = [
            Participant(
                owner=name * 64, name=name,
                endpoints=(Endpoint(id=name * 64, network_id=network.id, owner=name * 64, owner_name=name,
                                    interface="eth0", ipv4=IPv4Address(f"10.7.0.{number}"), ipv4_prefix=24),),
            )
            for number, name in enumerate("ab", 2)
        ]  # fmt: skip
        topology = Topology(networks=(network,), participants=tuple(two), host_addresses=())
        assert (
            trace(topology, "a", "b").because
            == "the interfaces of network lan do not hear one another: see its options"
        )
        assert not next(iter(audit(topology).networks)).open


def test_an_interface_serves_one_network_unless_its_driver_shares_it(store: NetworkStore) -> None:
    network = Network(
        id="a" * 64, name="a", driver="bridge", created=1, bridge="br7", borrowed=True,
        subnets=(Subnet(ip_network("10.9.0.0/24"), ip_address("10.9.0.1")),),
    )  # fmt: skip
    store.add_network(network)
    with pytest.raises(Conflict, match="bridge name already in use: br7"):
        store.check_interface(replace(network, id="b" * 64))


def test_a_network_whose_driver_is_missing_is_kept_and_nothing_is_done_with_it() -> None:
    network = Network(id="a" * 64, name="a", driver="from-tomorrow", created=1)
    driver = driver_of(network)
    assert not driver.joinable
    with pytest.raises(NotFound, match='plugin "from-tomorrow" not found'):
        driver.create(NoKernel(), network)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        find_driver("from-tomorrow")


def bridged(tmp_path: Path, **more: object) -> Network:
    """A bridge network, as the controller defines it."""
    subnets = (SubnetRequest("10.7.0.0/24"), SubnetRequest("fd00:7::/64"))
    host = HostNetworks((), (), DEFAULT_POOLS, 1500, True)
    request = NetworkRequest(name="net", subnets=subnets, ipv6=True, **more)  # type: ignore[arg-type]
    return define(request, host, NetworkSettings(data_root=tmp_path, exec_root=tmp_path))


def test_a_routed_version_takes_no_port_of_the_host(tmp_path: Path, store: NetworkStore) -> None:
    network = bridged(tmp_path, options={"com.docker.network.bridge.gateway_mode_ipv4": "routed"})
    store.add_network(network)
    drafted = store.draft(network, "o" * 64, "web", EndpointRequest())
    requests = [PortRequest("tcp", 80, None, 8198, 8198), PortRequest("tcp", 81, ip_address("127.0.0.1"))]
    endpoint = store.publish(drafted, requests, None)
    published = {(one.container_port, str(one.host_address), one.host_port) for one in endpoint.published}
    assert published == {(80, "0.0.0.0", 0), (80, "::", 8198), (81, "0.0.0.0", 0)}
    rules = driver_of(network).endpoint_rules(network, endpoint)
    assert rules is not None
    assert {(each.port, each.host_port) for each in rules.mappings} == {(80, 0), (80, 8198), (81, 0)}
    store.ports.release(endpoint.id, endpoint.published)
    store.ports.restore(endpoint)
    assert store.ports.holders("tcp", 0) == []


def test_traces_and_audits_know_gateway_modes(tmp_path: Path) -> None:
    modes = {"ipv4": "routed", "ipv6": "nat-unprotected"}
    options = {f"com.docker.network.bridge.gateway_mode_{version}": mode for version, mode in modes.items()}
    network = bridged(tmp_path, options=options)
    port = PublishedPort("tcp", 80, ip_address("0.0.0.0"), 0)
    endpoint = Endpoint(
        id="e" * 64, network_id=network.id, owner="o" * 64, owner_name="web", interface="eth0", published=(port,),
        ipv4=IPv4Address("10.7.0.2"), ipv4_prefix=24, ipv6=ip_address("fd00:7::2"), ipv6_prefix=64,
    )  # fmt: skip
    web = Participant(owner="o" * 64, name="web", endpoints=(endpoint,))
    topology = Topology(networks=(network,), participants=(web,), host_addresses=(), forwards=(4, 6))
    open_port = trace(topology, "outside", "10.7.0.2", "80")
    assert open_port.reaches
    assert "open port" in open_port.steps[-1].why
    closed = trace(topology, "outside", "10.7.0.2", "81")
    assert not closed.reaches
    assert "chain into_bridge: drop" in closed.because
    assert trace(topology, "outside", "fd00:7::2", "81").reaches
    everywhere = {(one.port, one.at) for one in audit(topology).ports if one.reach is From.EVERYWHERE}
    assert everywhere == {("80/tcp", ("10.7.0.2:80",)), ("*", ("[fd00:7::2]:*",))}


def test_without_an_address_of_the_host_there_is_a_gateway_only_if_another_is_meant(tmp_path: Path) -> None:
    mode, inhibit = "com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.inhibit_ipv4"
    isolated = bridged(tmp_path, internal=True, options={mode: "isolated"})
    assert [str(subnet.gateway) for subnet in isolated.subnets] == ["None", "fd00:7::1"]
    assert [str(each) for each in driver_of(isolated).host_addresses(isolated)] == ["fd00:7::1"]
    inhibited = bridged(tmp_path, options={inhibit: "true"})
    assert [str(subnet.gateway) for subnet in inhibited.subnets] == ["10.7.0.1", "fd00:7::1"]
    assert [str(each) for each in driver_of(inhibited).host_addresses(inhibited)] == ["fd00:7::1"]
    with pytest.raises(InvalidInput, match="gateway mode 'isolated' can only be used for an internal network"):
        bridged(tmp_path, options={mode: "isolated"})


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"config_only": True, "internal": True}, "configuration network can only contain network specific fields"),
        ({"config_only": True, "attachable": True}, "Network operator fields like"),
        ({"config_only": True, "scope": "local"}, "[ ingress | internal | attachable | scope ] are not supported."),
        ({"config_only": True, "config_from": "c"}, "a configuration network cannot depend on another"),
        ({"config_from": "c", "labels": {"a": "b"}}, "user-specified configurations are not supported if the network"),
        ({"config_from": "c", "subnets": (SubnetRequest("10.7.0.0/24"),)}, "user-specified configurations are not"),
        ({"config_from": "c", "ipv6": True}, "user-specified configurations are not supported"),
        ({"config_from": "c", "ipv4": False}, "user-specified configurations are not supported"),
        (
            {"config_from": "c", "options": {"parent": "eth7"}},
            "network driver options are not supported if the network",
        ),
    ],
)
def test_what_does_not_go_with_configurations_is_refused_in_dockers_words(asked: dict[str, object], words: str) -> None:
    with pytest.raises(Forbidden) as caught:
        check_configuration(NetworkRequest(name="x", **asked))  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_configuration_with_a_wrong_subnet_is_none(tmp_path: Path) -> None:
    settings = NetworkSettings(data_root=tmp_path, exec_root=tmp_path)
    with pytest.raises(InvalidInput, match=r"invalid subnet 10\.7\.0\.0/33"):
        define(NetworkRequest(name="x", config_only=True, subnets=(SubnetRequest("10.7.0.0/33"),)), HOST, settings)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"driver": "overlay"}, "This node is not a swarm manager."),
        ({"scope": "swarm"}, "cannot create a swarm scoped network when swarm is not active"),
        ({"ingress": True}, "Ingress network can only be global scope network"),
    ],
)
def test_networks_of_a_swarm_are_refused_as_on_a_machine_without_one(
    asked: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(Forbidden, match=words):
        define(NetworkRequest(name="x", **asked), HOST, NetworkSettings(data_root=tmp_path, exec_root=tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["host", "null"])
def test_of_the_predefined_drivers_nobody_makes_networks(name: str, tmp_path: Path) -> None:
    settings = NetworkSettings(data_root=tmp_path, exec_root=tmp_path)
    with pytest.raises(Forbidden, match=f'only one instance of "{name}" network is allowed'):
        define(NetworkRequest(name="x", driver=name), HOST, settings)


def compared_drivers(path: Path) -> Iterator[int]:
    """The lines of a file where a driver's name is compared."""
    for node in ast.walk(ast.parse(path.read_text())):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        if isinstance(node, ast.Match):
            sides = [node.subject]
        named = any(isinstance(side, ast.Attribute) and side.attr == "driver" for side in sides)
        text = {each.value for side in sides for each in ast.walk(side) if isinstance(each, ast.Constant)}
        if named and (text & set(DRIVERS) or isinstance(node, ast.Match)):
            yield node.lineno  # type: ignore[attr-defined]


def test_nobody_but_the_drivers_knows_a_driver_by_its_name() -> None:
    places = [*(SOURCE / "network").rglob("*.py"), *(SOURCE / "engine/network").rglob("*.py")]
    assert {"network", "engine/network", "network/drivers"} <= {str(path.parent.relative_to(SOURCE)) for path in places}
    found = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in places
        if path.parent != SOURCE / "network/drivers"
        for line in compared_drivers(path)
    ]
    assert not found, f"ask the driver instead (wherry.network.drivers.contract): {found}"
