"""What a container asks of networks: modes, ports, names; checked before anything is done."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wherry.engine.config import ContainerConfig, EndpointIpam, EndpointSettings, HostConfig, PortBinding
from wherry.engine.network_modes import check_endpoint, check_modes, memberships, parse_links, warnings_about
from wherry.engine.network_names import NameDirectory, Place
from wherry.engine.network_ports import exposed_ports, port_requests, ports_in, shown_ports
from wherry.engine.network_wishes import publishing_network
from wherry.errors import InvalidInput
from wherry.network.model import Endpoint, Network, Published


def test_the_default_is_what_the_engine_has() -> None:
    for mode in ("default", "", None):
        host = HostConfig(network_mode=mode)
        assert list(memberships(ContainerConfig(), host, {"default": EndpointSettings()}, "bridge")) == ["bridge"]
        assert host.network_mode == "bridge"
    assert list(memberships(ContainerConfig(), HostConfig(), {}, "none")) == ["none"]
    assert list(memberships(ContainerConfig(network_disabled=True), HostConfig(), {}, "bridge")) == ["none"]


def test_the_network_of_the_mode_comes_first() -> None:
    asked: dict[str, EndpointSettings | None] = {"b": None, "a": EndpointSettings(aliases=["x"])}
    found = memberships(ContainerConfig(), HostConfig(network_mode="a"), asked, "bridge")
    assert list(found) == ["a", "b"]
    assert found["a"].aliases == ["x"]


@pytest.mark.parametrize(
    ("config", "host", "sentence"),
    [
        ({}, {"network_mode": "container:"}, "invalid container format container:<name|id>"),
        ({"hostname": "x"}, {"network_mode": "container:y"}, "hostname and the network mode"),
        ({}, {"network_mode": "container:y", "links": ["a"]}, "container type network can't be used with links"),
        ({}, {"network_mode": "host", "links": ["a"]}, "host type networking can't be used with links"),
        ({}, {"network_mode": "container:y", "dns": ["1.1.1.1"]}, "dns and the network mode"),
        ({"exposed_ports": {"80/tcp": {}}}, {"network_mode": "container:y"}, "port exposing and the container type"),
        ({"mac_address": "02:00:00:00:00:01"}, {"network_mode": "host"}, "mac-address and the network mode"),
    ],
)
def test_what_does_not_go_together_is_refused(
    config: dict[str, object], host: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence.replace("|", r"\|")):
        check_modes(ContainerConfig(**config), HostConfig(**host))  # type: ignore[arg-type]


def test_what_the_machine_lacks_is_told_to_whom_it_concerns() -> None:
    plain, ports = HostConfig(network_mode="mine"), HostConfig(network_mode="mine", publish_all_ports=True)
    assert warnings_about(plain, "no nf_tables", by_default=False) == []
    assert warnings_about(ports, None, by_default=False) == []
    (told,) = warnings_about(ports, "no nf_tables", by_default=False)
    assert told == "ports may not be reached where they are published: no nf_tables"
    (told,) = warnings_about(HostConfig(network_mode="none"), "no nf_tables", by_default=True)
    assert told == "the container has no network, as it names none: no nf_tables"


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("bridge", EndpointSettings(ipam_config=EndpointIpam(ipv4_address="10.0.0.1")), "user defined networks only"),
        ("bridge", EndpointSettings(aliases=["a"]), "supported only for containers in user defined networks"),
        ("mine", EndpointSettings(ipam_config=EndpointIpam(ipv4_address="fd00::1")), "invalid IPv4 address: fd00::1"),
        ("mine", EndpointSettings(ipam_config=EndpointIpam(ipv6_address="10.0.0.1")), "invalid IPv6 address"),
        (
            "mine",
            EndpointSettings(ipam_config=EndpointIpam(link_local_ips=["10.0.0.1"])),
            "invalid link-local IP address",
        ),
        ("mine", EndpointSettings(mac_address="02:00"), "invalid MAC address"),
        ("mine", EndpointSettings(links=["a:b:c"]), "bad format for links: a:b:c"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(name: str, settings: EndpointSettings, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        check_endpoint(name, settings)


def test_two_addresses_that_differ_are_one_too_many() -> None:
    config, host = ContainerConfig(mac_address="02:00:00:00:00:01"), HostConfig(network_mode="a")
    with pytest.raises(InvalidInput, match="must match the endpoint-specific MAC address"):
        memberships(config, host, {"a": EndpointSettings(mac_address="02:00:00:00:00:02")}, "bridge")


def test_host_and_none_go_with_nothing_else() -> None:
    for mode, sentence in (("host", "sharing network namespace"), ("none", "private .none. mode")):
        with pytest.raises(InvalidInput, match=sentence):
            memberships(ContainerConfig(), HostConfig(network_mode=mode), {"a": None}, "bridge")


def test_links_are_read_in_every_form() -> None:
    assert parse_links(["db", "db:store", "/db:/web/store"]) == [("db", "db"), ("db", "store"), ("db", "store")]


def test_ports_are_read_in_every_form() -> None:
    assert ports_in("80") == [(80, "tcp")]
    assert ports_in("8000-8002/udp") == [(8000, "udp"), (8001, "udp"), (8002, "udp")]
    for wrong in ("", "x", "70000", "9-8", "80/icmp", "1-2-3"):
        with pytest.raises(InvalidInput):
            ports_in(wrong)


def test_what_is_published_follows_from_bindings_and_from_publish_all() -> None:
    config = ContainerConfig(exposed_ports={"80/tcp": {}, "53/udp": {}})
    bound = {"81": [PortBinding(host_ip="127.0.0.1", host_port="8000-8010")], "82/tcp": None}
    host = HostConfig(port_bindings=bound)
    assert exposed_ports(config, host) == [(53, "udp"), (80, "tcp"), (81, "tcp"), (82, "tcp")]
    (only,) = port_requests(config, host)
    assert (only.container_port, only.host_address, only.host_port_first, only.host_port_last) == (
        81, ip_address("127.0.0.1"), 8000, 8010,
    )  # fmt: skip
    everything = port_requests(config, HostConfig(port_bindings=bound, publish_all_ports=True))
    assert [one.container_port for one in everything] == [53, 80, 81, 82]
    for wrong in (*(PortBinding(host_port=text) for text in ("0x1", "70000", "5-4", "0-3")),
                  *(PortBinding(host_ip=text) for text in ("localhost", "fe80::1%eth0"))):  # fmt: skip
        with pytest.raises(InvalidInput):
            port_requests(config, HostConfig(port_bindings={"80": [wrong]}))


def _endpoint(**members: object) -> Endpoint:
    known: dict[str, object] = {"id": "e", "network_id": "n", "owner": "o", "owner_name": "o", "interface": "eth0"}
    return Endpoint(**{**known, **members})  # type: ignore[arg-type]


def test_ports_are_shown_with_null_where_nothing_is_published() -> None:
    published = (Published("tcp", 80, ip_address("0.0.0.0"), 8080), Published("tcp", 80, ip_address("::"), 8080))
    config = ContainerConfig(exposed_ports={"80/tcp": {}, "81/tcp": {}})
    assert shown_ports(config, HostConfig(), [_endpoint(published=published)]) == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "81/tcp": None,
    }


def _network(name: str, **members: object) -> Network:
    return Network(id=name * 8, name=name, driver="bridge", created=1, **members)  # type: ignore[arg-type]


def test_ports_are_published_where_the_default_route_is() -> None:
    a, b, inner = _network("a"), _network("b"), _network("c", internal=True)
    members = {"a": EndpointSettings(), "b": EndpointSettings(), "c": EndpointSettings(gw_priority=9)}
    assert publishing_network([b, a, inner], members) is a
    members["b"].gw_priority = 1
    assert publishing_network([b, a, inner], members) is b
    assert publishing_network([inner], members) is None


def test_names_are_known_on_their_network_only_and_links_to_their_owner_only() -> None:
    directory = NameDirectory(lambda owner: ((), False), lambda: ())
    front, back = _network("front"), _network("back")
    one, two = ip_address("10.0.0.2"), ip_address("10.0.0.3")
    directory.joined("w", Place(front, (one,), ("Web", "www")))
    directory.joined("v", Place(front, (two,), ("v", "www"), (("store", "Web"),)))
    directory.joined("d", Place(back, (ip_address("10.0.1.2"),), ("db",)))
    assert directory.lookup("v", "web", None) == (one,)
    assert directory.lookup("v", "www", "front") == (one, two)
    assert directory.lookup("v", "store", None) == (one,)
    assert directory.lookup("w", "store", None) is None
    assert directory.lookup("d", "web", None) is None
    assert directory.lookup("w", "web", "back") is None
    assert directory.reverse("v", one) == "Web.front"
    assert directory.reverse("d", one) is None
    before = directory.generation
    directory.left("w")
    assert directory.generation > before
    assert directory.lookup("v", "www", None) == (two,)
    assert directory.lookup("v", "web", None) is None
