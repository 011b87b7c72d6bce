"""From a container's settings to what `wherry.network` is asked for; and from the daemon's options to its settings."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from wherry.docker.container_requests import HostConfig
from wherry.docker.networks import EndpointIpam, EndpointSettings
from wherry.engine.network.requests import endpoint_request, has_ipv6_inside, publishing_network, same_ports
from wherry.engine.network.settings import network_settings
from wherry.engine.settings import DEFAULT_EXEC_ROOT, Settings
from wherry.network.model import (
    EndpointRequest,
    Network,
    NetworkOptions,
    PoolSetting,
    PortRequest,
    PublishedPort,
    Subnet,
)


def test_nothing_requested_is_an_empty_request() -> None:
    assert endpoint_request(HostConfig(), EndpointSettings(), ()) == EndpointRequest()


def test_everything_requested_is_in_the_request() -> None:
    settings = EndpointSettings(
        ipam_config=EndpointIpam("10.0.0.2", "fd00::2", ["169.254.1.1"]), links=["a:b"], aliases=["x"],
        mac_address="02:42:ac:11:00:02", driver_opts={"o": "1"}, gw_priority=7,
    )  # fmt: skip
    host = HostConfig(sysctls={"net.ipv6.conf.eth0.disable_ipv6": "1", "net.ipv6.conf.lo.disable_ipv6": "0"})
    ports = (PortRequest("tcp", 80),)
    assert endpoint_request(host, settings, ports) == EndpointRequest(
        ipv4=ip_address("10.0.0.2"), ipv6=ip_address("fd00::2"), link_local=(ip_address("169.254.1.1"),),  # type: ignore[arg-type]
        mac="02:42:ac:11:00:02", aliases=("x",), links=("a:b",), driver_options={"o": "1"}, priority=7,
        without_ipv6=frozenset({"eth0"}), publish=ports,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "has"),
    [("net.ipv6.conf.all.disable_ipv6", False), ("net/ipv6/conf/lo/disable_ipv6", False),
     ("net.ipv6.conf.eth0.disable_ipv6", True)],
)  # fmt: skip
def test_sysctls_say_whether_loopback_has_ipv6(name: str, has: bool) -> None:
    assert has_ipv6_inside(HostConfig(sysctls={name: "1"})) is has
    assert has_ipv6_inside(HostConfig(sysctls={name: "0"}))


def test_ports_that_move_keep_their_addresses_as_far_as_the_network_has_the_family() -> None:
    published = [
        PublishedPort("tcp", 80, ip_address(address), 8080)
        for address in ("0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "::1")
    ]
    only4 = Network(id="n", name="n", driver="bridge", created=1, subnets=(Subnet(ip_network("10.0.0.0/24")),))
    both = Network(
        id="n", name="n", driver="bridge", created=1,
        subnets=(Subnet(ip_network("10.0.0.0/24")), Subnet(ip_network("fd00::/64"))),
    )  # fmt: skip
    assert [str(one.host_address) for one in same_ports(published, only4)] == ["0.0.0.0", "::1", "192.0.2.1"]
    assert [one.host_address for one in same_ports(published, both)] == [one.host_address for one in published]


def test_the_daemons_options_are_the_networks_settings() -> None:
    options = NetworkOptions(
        pools=(PoolSetting(ip_network("10.50.0.0/16"), 24),), bip="10.1.0.1/16", mtu=1400, icc=False, ip_masq=False
    )
    settings = Settings(data_root=Path("/data"), exec_root=Path("/exec"), networks=options)
    made = network_settings(settings)
    assert (made.data_root, made.exec_root, made.default_exec_root) == (Path("/data"), Path("/exec"), False)
    assert made.pools == options.pools
    assert (made.bip, made.mtu, made.icc, made.ip_masq) == ("10.1.0.1/16", 1400, False, False)
    assert network_settings(replace(settings, exec_root=Path(DEFAULT_EXEC_ROOT))).default_exec_root


def _network(name: str, **members: object) -> Network:
    return Network(id=name * 8, name=name, driver="bridge", created=1, **members)  # type: ignore[arg-type]


def test_ports_are_published_where_the_default_route_is() -> None:
    a, b, inner = _network("a"), _network("b"), _network("c", internal=True)
    members = {"a": EndpointSettings(), "b": EndpointSettings(), "c": EndpointSettings(gw_priority=9)}
    assert publishing_network([b, a, inner], members) is a
    members["b"].gw_priority = 1
    assert publishing_network([b, a, inner], members) is b
    assert publishing_network([inner], members) is None
