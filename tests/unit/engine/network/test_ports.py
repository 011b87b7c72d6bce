"""Port requests, and the ports that are published."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.networks import PortBinding
from wherry.docker.ports import exposed_ports
from wherry.engine.network.ports import check_ports, port_requests
from wherry.engine.network.views import ports_to_api
from wherry.errors import InvalidInput
from wherry.network.model import Endpoint, PublishedPort


@pytest.mark.slow
@pytest.mark.once
def test_there_are_no_more_ports_than_there_can_be() -> None:
    every = dict.fromkeys(("1-65535/tcp", "1-65535/udp", "1-65535/sctp"))
    check_ports(ContainerConfig(exposed_ports={key: {} for key in every}), HostConfig(port_bindings=every))
    overlapping = {f"{low}-65535/tcp": {} for low in range(1, 60_000)}
    with pytest.raises(InvalidInput, match="too many ports"):
        check_ports(ContainerConfig(exposed_ports=overlapping), HostConfig())
    with pytest.raises(InvalidInput, match="too many ports"):
        check_ports(ContainerConfig(), HostConfig(port_bindings=dict.fromkeys(overlapping)))
    with pytest.raises(InvalidInput, match="too many ports"):
        check_ports(ContainerConfig(), HostConfig(port_bindings={"1-65535": [PortBinding()] * 100}))


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
    published = (
        PublishedPort("tcp", 80, ip_address("0.0.0.0"), 8080),
        PublishedPort("tcp", 80, ip_address("::"), 8080),
    )
    config = ContainerConfig(exposed_ports={"80/tcp": {}, "81/tcp": {}})
    assert ports_to_api(config, HostConfig(), [_endpoint(published=published)]) == {
        "80/tcp": [PortBinding("0.0.0.0", "8080"), PortBinding("::", "8080")],
        "81/tcp": None,
    }
