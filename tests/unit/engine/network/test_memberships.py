"""Which networks a container joins, and which requests are refused."""

from __future__ import annotations

import pytest

from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.networks import EndpointIpam, EndpointSettings
from wherry.engine.network.memberships import check_endpoint, check_modes, resolve, warnings_about
from wherry.errors import InvalidInput


def test_the_default_is_what_the_engine_has() -> None:
    for mode in ("default", "", None):
        requested = {"default": EndpointSettings()}
        host, networks = resolve(ContainerConfig(), HostConfig(network_mode=mode), requested, "bridge")
        assert list(networks) == ["bridge"]
        assert host.network_mode == "bridge"
    assert list(resolve(ContainerConfig(), HostConfig(), {}, "none").networks) == ["none"]
    assert list(resolve(ContainerConfig(network_disabled=True), HostConfig(), {}, "bridge").networks) == ["none"]


def test_the_network_of_the_mode_comes_first() -> None:
    asked: dict[str, EndpointSettings | None] = {"b": None, "a": EndpointSettings(aliases=["x"])}
    _, found = resolve(ContainerConfig(), HostConfig(network_mode="a"), asked, "bridge")
    assert list(found) == ["a", "b"]
    assert found["a"].aliases == ["x"]


@pytest.mark.parametrize(
    ("mode", "asked", "joined"),
    [  # each proven on dockerd 20.10
        (None, ["n1"], ["n1"]),
        ("default", ["n1"], ["n1"]),
        ("bridge", ["n1"], ["n1"]),
        ("none", ["n1"], ["n1"]),
        ("n1", ["n2"], ["n2"]),
        ("n1", [], ["n1"]),
        (None, ["none"], ["none"]),
        ("none", [], ["none"]),
        ("bridge", ["n1", "bridge"], ["bridge", "n1"]),
        ("container:web", ["n1"], []),
    ],
)
def test_who_names_networks_joins_these_and_no_other(mode: str | None, asked: list[str], joined: list[str]) -> None:
    host = HostConfig(network_mode=mode)
    assert list(resolve(ContainerConfig(), host, dict.fromkeys(asked), "bridge").networks) == joined


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


def test_warnings_name_what_the_machine_lacks() -> None:
    plain, ports = HostConfig(network_mode="mine"), HostConfig(network_mode="mine", publish_all_ports=True)
    assert warnings_about(plain, "no nf_tables", by_default=False) == []
    assert warnings_about(ports, None, by_default=False) == []
    (warning,) = warnings_about(ports, "no nf_tables", by_default=False)
    assert warning == "ports may not be reached where they are published: no nf_tables"
    (warning,) = warnings_about(HostConfig(network_mode="none"), "no nf_tables", by_default=True)
    assert warning == "the container has no network, as it names none: no nf_tables"


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
def test_an_endpoint_request_that_makes_no_sense_is_refused(
    name: str, settings: EndpointSettings, sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        check_endpoint(name, settings)


def test_two_addresses_that_differ_are_one_too_many() -> None:
    config, host = ContainerConfig(mac_address="02:00:00:00:00:01"), HostConfig(network_mode="a")
    with pytest.raises(InvalidInput, match="must match the endpoint-specific MAC address"):
        resolve(config, host, {"a": EndpointSettings(mac_address="02:00:00:00:00:02")}, "bridge")


def test_an_address_for_the_main_network_needs_that_network() -> None:
    config, host = ContainerConfig(mac_address="02:00:00:00:00:01"), HostConfig(network_mode="a")
    with pytest.raises(InvalidInput, match=r"HostConfig\.NetworkMode must match the identity of a network"):
        resolve(config, host, {"b": None}, "bridge")


@pytest.mark.parametrize(
    ("mode", "asked", "sentence"),
    [
        ("host", ["a"], "sharing network namespace"),
        ("host", ["host", "a"], "sharing network namespace"),
        ("none", ["none", "a"], "private .none. mode"),
        ("bridge", ["none", "a"], "private .none. mode"),
    ],
)
def test_host_and_none_go_with_nothing_else(mode: str, asked: list[str], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        resolve(ContainerConfig(), HostConfig(network_mode=mode), dict.fromkeys(asked), "bridge")
