"""The contents of a container's files in /etc, made of its networks and the daemon's options."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from support.engine_networks import EngineNetworks
from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.engine.network import etc_texts
from wherry.engine.network.etc_texts import EtcTexts, has_resolver
from wherry.errors import InvalidInput
from wherry.network.model import NetworkOptions


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineNetworks]:
    made = EngineNetworks(tmp_path)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def host_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every machine."""
    texts = {"/etc/hosts": "127.0.0.1\tlocalhost\n192.0.2.7\tmachine\n", "/etc/resolv.conf": "nameserver 192.0.2.53\n"}
    monkeypatch.setattr(etc_texts, "_read", lambda path: texts.get(path, ""))


async def test_own_addresses_stand_under_own_names(engine: EngineNetworks) -> None:
    web = await engine.running("web", config=ContainerConfig(hostname="inner", domainname="example.org"))
    texts = engine.effects.texts(web)
    assert texts["hostname"] == "inner\n"
    assert "10.93.0.2\tinner.example.org inner" in texts["hosts"]


async def test_extra_hosts_may_mean_the_hosts_gateway(engine: EngineNetworks) -> None:
    web = await engine.running("web", extra_hosts=["a:192.0.2.9", "gw:host-gateway"])
    assert "192.0.2.9\ta" in engine.hosts(web)
    assert "10.93.0.1\tgw" in engine.hosts(web)
    files = EtcTexts(NetworkOptions(host_gateway_ips=("192.0.2.200",)), lambda: [ip_address("10.93.0.1")])
    assert "192.0.2.200\tgw" in files.hosts(web, [])


async def test_on_the_hosts_network_the_hosts_lines_come_too(engine: EngineNetworks) -> None:
    web = await engine.running("web", "host", extra_hosts=["gw:host-gateway"])
    assert "192.0.2.7\tmachine" in engine.hosts(web)
    assert "127.0.0.1\tgw" in engine.hosts(web)


async def test_name_servers_are_the_hosts_or_the_resolver_inside(engine: EngineNetworks) -> None:
    await engine.network("front")
    plain, named = await engine.running("plain"), await engine.running("named", "front")
    chosen = await engine.running("chosen", dns=["192.0.2.99"], dns_search=["example.org"])
    assert "nameserver 192.0.2.53" in engine.effects.texts(plain)["resolv.conf"]
    assert "nameserver 127.0.0.11" in engine.effects.texts(named)["resolv.conf"]
    assert "nameserver 192.0.2.99" in engine.effects.texts(chosen)["resolv.conf"]
    assert "search example.org" in engine.effects.texts(chosen)["resolv.conf"]
    assert [has_resolver(one) for one in (plain, named, chosen)] == [False, True, False]


def test_queries_are_forwarded_to_the_hosts_servers_or_the_chosen_ones() -> None:
    files = EtcTexts(NetworkOptions(dns=("192.0.2.98",)), list)
    servers, every = files.upstreams(HostConfig(dns=["192.0.2.99"], dns_options=["ndots:0"]))
    assert [str(server.address) for server in servers] == ["192.0.2.99"]
    assert every
    servers, _ = files.upstreams(HostConfig())
    assert [str(server.address) for server in servers] == ["192.0.2.98"]


@pytest.mark.parametrize("host", [{"extra_hosts": ["x"]}, {"dns": ["example.org"]}])
def test_what_is_no_entry_is_refused(host: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidInput):
        EtcTexts(NetworkOptions(), list).check(HostConfig(**host))  # type: ignore[arg-type]
