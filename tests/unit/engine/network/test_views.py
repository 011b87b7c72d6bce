"""How networks and containers on them are shown in the API: every byte, order of members included."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.containers import container_of
from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.networks import EndpointIpam, EndpointSettings, PortBinding
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.state import State, Status
from wherry.engine.network.topology import audit_of, trace_of
from wherry.engine.network.views import network_settings_to_api, network_to_api, port_summaries
from wherry.network.diagnose.topology import HostAddress, Participant, Topology
from wherry.network.model import Endpoint, Network, PublishedPort, Subnet

RECORDED = Path(__file__).parents[3] / "data" / "network_views.json"

FRONT = Network(
    id="f" * 64, name="front", driver="bridge", created=1_700_000_000_123_000_000, ipv6=True, internal=True,
    attachable=True, options={"com.docker.network.bridge.name": "br9"}, labels={"a": "b"},
    subnets=(
        Subnet(ip_network("10.5.0.0/16"), ip_address("10.5.0.1"), ip_network("10.5.8.0/24"),
               {"router": ip_address("10.5.0.9")}),
        Subnet(ip_network("fd00:5::/64"), ip_address("fd00:5::1")),
        Subnet(ip_network("10.6.0.0/24")),
    ),
)  # fmt: skip
BRIDGE = Network(
    id="b" * 64, name="bridge", driver="bridge", created=0, ipam_options={"serial": "true"},
    subnets=(Subnet(ip_network("172.17.0.0/16"), ip_address("172.17.0.1")),),
)  # fmt: skip
NETWORKS = {
    "front": FRONT,
    "bridge": BRIDGE,
    "bare": Network(id="0" * 64, name="bridge", driver="bridge", created=0),
    "host": Network(id="h" * 64, name="host", driver="host", created=5),
}


def endpoint(network: Network, address: str, **members: Any) -> Endpoint:
    fields = {
        "id": "e" * 64, "network_id": network.id, "owner": "c" * 64, "owner_name": "web", "interface": "eth0",
        "mac": "02:42:0a:05:08:02", "ipv4": ip_address(address), "ipv4_prefix": 16,
        "gateway4": ip_address("10.5.0.1"), **members,
    }  # fmt: skip
    return Endpoint(**fields)


FULL = endpoint(
    FRONT, "10.5.8.2", ipv6=ip_address("fd00:5::2"), ipv6_prefix=64, gateway6=ip_address("fd00:5::1"),
    published=(
        PublishedPort("tcp", 80, ip_address("0.0.0.0"), 8080),
        PublishedPort("tcp", 80, ip_address("::"), 8080),
        PublishedPort("sctp", 9, ip_address("127.0.0.1"), 9000),
    ),
)  # fmt: skip
ON_BRIDGE = endpoint(BRIDGE, "172.17.0.2", gateway4=None, published=(PublishedPort("udp", 53, ip_address("::1"), 53),))


def container(
    status: Status,
    mode: str,
    networks: dict[str, EndpointSettings],
    endpoints: dict[str, Endpoint] | None = None,
    **host: Any,
) -> Container:
    definition = Definition(
        id="c" * 64, created="2024-01-01T00:00:00Z", image="i", image_id="sha256:1", argv=["sh"],
        config=ContainerConfig(hostname="inner", exposed_ports={"80/tcp": {}, "53/udp": {}, "7000-7001/tcp": {}}),
        host=HostConfig(network_mode=mode, **host), mounts=[], networks=networks,
    )  # fmt: skip
    directory = Path("/nowhere")
    state = State(status=status, pid=4711 if status is Status.RUNNING else 0)
    return container_of("web", definition, state, directory, directory, endpoints=endpoints or {})


REQUESTED = EndpointSettings(
    ipam_config=EndpointIpam(ipv4_address="10.5.8.2", link_local_ips=["169.254.3.4"]), links=["db:store"],
    aliases=["www", "web"], mac_address="02:42:0a:05:08:02", driver_opts={"a": "b"}, gw_priority=3, network_id="old",
)  # fmt: skip

CONTAINERS = {
    "stopped": lambda: container(Status.EXITED, "front", {"front": REQUESTED, "bridge": EndpointSettings()}),
    "running": lambda: container(
        Status.RUNNING, "bridge", {"bridge": EndpointSettings(), "front": REQUESTED},
        {"bridge": ON_BRIDGE, "front": FULL}, port_bindings={"53/udp": [PortBinding()]},
    ),
    "on the host": lambda: container(Status.RUNNING, "host", {"host": EndpointSettings(network_id="h" * 64)}),
    "without network": lambda: container(Status.PAUSED, "none", {"none": EndpointSettings(mac_address="x")}),
    "without kernel": lambda: container(Status.RUNNING, "bridge", {"bridge": EndpointSettings()}),
    "not there yet": lambda: container(Status.RUNNING, "front", {"front": EndpointSettings()}),
    "another's": lambda: container(Status.RUNNING, "container:" + "d" * 64, {}),
}  # fmt: skip


def everything() -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, make in CONTAINERS.items():
        one = make()
        shown[f"settings: {name}"] = network_settings_to_api(one)
        shown[f"ports: {name}"] = port_summaries(one.config, one.host, one.endpoints.values())
    counts = {ip_network("10.5.0.0/16"): (3, 250), ip_network("fd00:5::/64"): (1 << 70, (1 << 64) - 5)}
    for name, network in NETWORKS.items():
        shown[f"listed: {name}"] = network_to_api(network, ())
        shown[f"inspected: {name}"] = network_to_api(network, [FULL, ON_BRIDGE], counts)
    host = topology()
    shown["audit"] = audit_of(host)
    shown["trace: reached"] = trace_of(host, "outside", "web", "80")
    shown["trace: not reached"] = trace_of(host, "other", "web", "80/tcp")
    return shown


def topology() -> Topology:
    other = endpoint(BRIDGE, "172.17.0.3", owner="o" * 64, owner_name="other")
    participants = (
        Participant(owner="c" * 64, name="web", hostname="inner", endpoints=(FULL, ON_BRIDGE)),
        Participant(owner="o" * 64, name="other", endpoints=(other,), listeners=()),
    )
    host = (HostAddress(ip_address("192.0.2.1"), "eth0"),)
    return Topology(networks=(FRONT, BRIDGE), participants=participants, host_addresses=host)


@pytest.mark.parametrize("name", json.loads(RECORDED.read_text()))
def test_what_is_shown_is_what_was_recorded(name: str) -> None:
    recorded = json.loads(RECORDED.read_text())[name]
    assert msgspec.json.encode(everything()[name]) == msgspec.json.encode(recorded)


def test_nothing_is_shown_that_was_not_recorded() -> None:
    assert list(everything()) == list(json.loads(RECORDED.read_text()))
