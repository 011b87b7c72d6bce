"""The API's operations on networks, without a kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.engine_networks import EngineNetworks
from wherry.docker.networks import EndpointResource, IpamConfig, IpamPool
from wherry.engine.container.state import Status
from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound
from wherry.network.model import Network


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineNetworks]:
    made = EngineNetworks(tmp_path)
    yield made
    await made.close()


async def test_what_is_created_is_inspected_and_listed(engine: EngineNetworks) -> None:
    pool = IpamPool("10.93.9.0/24", "10.93.9.128/25", "10.93.9.1", {"router": "10.93.9.2"})
    identifier = await engine.network("front", ipam=IpamConfig(config=[pool]), internal=True, labels={"a": "b"})
    shown = engine.networks.inspect("front")
    assert (shown.id, shown.driver, shown.internal, shown.labels) == (identifier, "bridge", True, {"a": "b"})
    assert shown.ipam.config == [pool]
    assert [network.name for network in engine.networks.list({})] == ["bridge", "host", "none", "front"]
    with pytest.raises(Conflict, match="network with name front already exists"):
        await engine.network("front")
    with pytest.raises(NotFound, match="network front not found"):
        engine.networks.inspect("front", "swarm")


async def test_a_network_shows_its_containers_and_a_list_does_not(engine: EngineNetworks) -> None:
    web = await engine.running("web")
    endpoint = web.endpoints["bridge"]
    member = EndpointResource(
        name="web", endpoint_id=endpoint.id, mac_address=endpoint.mac, ipv4_address=f"{endpoint.ipv4}/24"
    )
    assert engine.networks.inspect("bridge").containers == {web.id: member}
    assert not engine.networks.list({"name": ["bridge"]})[0].containers
    status = engine.networks.inspect("bridge").status.ipam.subnets["10.93.0.0/24"]
    assert status.ips_in_use == 4  # the network, the gateway, the container, the broadcast address
    on_host = await engine.running("other", "host")
    assert engine.networks.inspect("host").containers == {
        on_host.id: EndpointResource(name="other", endpoint_id=on_host.id)
    }


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"name": ["^front$"]}, ["front"]),
        ({"name": ["o"]}, ["host", "none", "front"]),
        ({"driver": ["null", "host"]}, ["host", "none"]),
        ({"type": ["custom"]}, ["front", "back"]),
        ({"type": ["builtin"]}, ["bridge", "host", "none"]),
        ({"scope": ["swarm"]}, []),
        ({"label": ["a", "a=b"]}, ["front"]),
        ({"label": ["a", "a=c"]}, []),
        ({"dangling": ["true"]}, ["front"]),
        ({"dangling": ["0"]}, ["bridge", "host", "none", "back"]),
        ({"name": []}, ["bridge", "host", "none", "front", "back"]),
    ],
)
async def test_networks_are_filtered(engine: EngineNetworks, filters: dict[str, list[str]], names: list[str]) -> None:
    await engine.network("front", labels={"a": "b"})
    await engine.network("back")
    await engine.running("web", "back")
    assert [network.name for network in engine.networks.list(filters)] == names


@pytest.mark.parametrize("filters", [{"x": ["y"]}, {"type": ["other"]}, {"dangling": ["perhaps"]}])
async def test_filters_that_mean_nothing_are_refused(engine: EngineNetworks, filters: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidInput, match="invalid filter"):
        engine.networks.list(filters)


async def test_a_prune_removes_what_has_no_endpoints(engine: EngineNetworks) -> None:
    for name in ("front", "back", "labelled"):
        await engine.network(name, labels={"keep": "1"} if name == "labelled" else None)
    await engine.running("web", "back")
    assert (await engine.networks.prune({"label!": ["keep"]})).networks_deleted == ["front"]
    assert (await engine.networks.prune({"until": ["1h"]})).networks_deleted is None
    assert (await engine.networks.prune({})).networks_deleted == ["labelled"]
    assert [network.name for network in engine.networks.list({"type": ["custom"]})] == ["back"]


async def test_a_network_is_removed_when_nobody_is_on_it(engine: EngineNetworks) -> None:
    await engine.network("front")
    web = await engine.running("web", "front")
    with pytest.raises(Forbidden, match="has active endpoints"):
        await engine.networks.remove("front")
    await engine.end(web)
    await engine.networks.remove("front")
    happened = [(action, network) for action, network, _ in await engine.happened()]
    assert happened == [("create", "front"), ("connect", "front"), ("disconnect", "front"), ("destroy", "front")]


async def test_drivers_and_warnings_are_of_this_machine(engine: EngineNetworks) -> None:
    assert {"bridge", "host", "macvlan", "null"} <= set(engine.networks.drivers())
    engine.controller.kernel.warning = "no nf_tables"
    assert engine.networks.drivers() == ["host", "null"]
    assert engine.networks.warnings() == ["WARNING: no nf_tables"]


async def test_a_trace_and_an_audit_look_at_what_there_is(engine: EngineNetworks) -> None:
    await engine.network("front")
    web = engine.container("web", "front")
    assert not (await engine.networks.trace("web", "web", "80")).reaches
    await engine.attachments.attach(web)
    shown = await engine.networks.audit()
    assert [one.network for one in shown.networks] == []
    with pytest.raises(NotFound, match="No such container: nobody"):
        await engine.networks.trace("nobody", "web", "80")


async def test_a_network_whose_driver_is_missing_is_shown_and_no_container_can_be_on_it(engine: EngineNetworks) -> None:
    network = Network(id="a" * 64, name="later", driver="from-tomorrow", created=1)
    engine.controller._store.put_network(network)
    web = engine.container("web", "later")
    with pytest.raises(NotFound, match='plugin "from-tomorrow" not found'):
        await engine.start(web)
    web.state.status = Status.RUNNING
    assert not engine.networks.inspect("later").containers
    await engine.networks.remove("later")
    with pytest.raises(NotFound):
        engine.networks.inspect("later")
