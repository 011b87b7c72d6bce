"""Containers on networks, from creation to their end and over a restart of the daemon; without a kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.engine_networks import EngineNetworks
from wherry.docker.container_requests import ContainerConfig
from wherry.docker.networks import EndpointIpam, EndpointSettings, IpamConfig, IpamPool, PortBinding
from wherry.engine.container.state import Status
from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, SystemFault


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineNetworks]:
    made = EngineNetworks(tmp_path)
    yield made
    await made.close()


async def test_a_container_has_an_endpoint_from_its_start_to_its_end(engine: EngineNetworks) -> None:
    web = engine.container("web")
    assert list(web.definition.networks) == ["bridge"]
    assert not web.endpoints
    attachment = await engine.start(web)
    assert attachment.namespace is not None
    assert str(web.endpoints["bridge"].ipv4) == "10.93.0.2"
    assert "10.93.0.2\tweb" in engine.hosts(web)
    await engine.end(web)
    assert not web.endpoints
    assert not engine.controller.endpoints_of(web.id)
    assert await engine.happened() == [("connect", "bridge", "web"), ("disconnect", "bridge", "web")]


@pytest.mark.parametrize("mode", ["host", "none"])
async def test_without_endpoints_there_are_events_and_no_sandbox(engine: EngineNetworks, mode: str) -> None:
    web = engine.container("web", mode)
    assert (await engine.start(web)).namespace is None
    assert engine.controller.sandbox(web.id) is None
    await engine.end(web)
    assert await engine.happened() == [("connect", mode, "web"), ("disconnect", mode, "web")]


async def test_who_shares_a_network_has_its_host_name_and_keeps_the_requested_configuration(
    engine: EngineNetworks,
) -> None:
    other = await engine.running("other", config=ContainerConfig(hostname="inner", domainname="example.org"))
    requested = ContainerConfig()
    web = engine.container("web", f"container:{other.id}", config=requested)
    attachment = await engine.attachments.attach(web)
    assert attachment.namespace is None
    assert (attachment.config.hostname, attachment.config.domainname) == ("inner", "example.org")
    assert web.config == requested
    assert requested.hostname is None


async def test_a_start_that_fails_leaves_nothing(engine: EngineNetworks) -> None:
    web = engine.container("web")
    engine.controller.kernel.refuse.add("create_endpoint")
    with pytest.raises(SystemFault, match="failed to set up container networking: create_endpoint was refused"):
        await engine.attachments.attach(web)
    assert not web.endpoints
    assert engine.controller.sandbox(web.id) is None
    with pytest.raises(NotFound, match="network gone not found"):
        await engine.attachments.attach(engine.container("db", "gone"))


async def test_the_default_network_is_none_where_the_kernel_lacks_something(engine: EngineNetworks) -> None:
    before = engine.container("before")
    engine.controller.kernel.warning = "no nf_tables"
    after = engine.container("after", "default")
    assert after.host.network_mode == "none"
    assert (await engine.start(before)).namespace is None


async def test_ports_are_published_through_the_network_with_the_default_route(engine: EngineNetworks) -> None:
    await engine.network("a")
    await engine.network("b")
    both: dict[str, EndpointSettings | None] = {"a": None, "b": EndpointSettings(gw_priority=1)}
    web = await engine.running("web", "a", both, port_bindings={"80/tcp": [PortBinding("127.0.0.1", "18094")]})
    assert [name for name, endpoint in web.endpoints.items() if endpoint.published] == ["b"]
    await engine.connector.disconnect(web, "b", force=False)
    assert [one.host_port for one in web.endpoints["a"].published] == [18094]
    await engine.connector.connect(web, "b", EndpointSettings(gw_priority=1))
    assert [name for name, endpoint in web.endpoints.items() if endpoint.published] == ["b"]


async def test_names_resolve_on_networks_that_were_created_by_somebody(engine: EngineNetworks) -> None:
    await engine.network("front")
    aliases = EndpointSettings(aliases=["www"])
    web = await engine.running("web", "front", {"front": aliases}, config=ContainerConfig(hostname="inner"))
    asking = await engine.running("asking", "front", {"front": EndpointSettings(links=["web:store"])})
    plain = await engine.running("plain")
    address = str(web.endpoints["front"].ipv4)
    for name in ("web", "www", "store", "inner", web.id[:12]):
        assert engine.resolved(asking, name) == [address]
    assert engine.resolved(web, "store") == []
    assert engine.resolved(plain, "web") == []
    engine.store.rename(web, "new")
    engine.effects.renamed(web)
    assert engine.resolved(asking, "new") == [address]
    assert engine.resolved(asking, "web") == []
    await engine.end(web)
    assert engine.resolved(asking, "new") == []


async def test_a_link_is_environment_and_a_line_in_hosts_that_follow_the_other_container(
    engine: EngineNetworks,
) -> None:
    db = await engine.running("db", config=ContainerConfig(env=["A=b", "PATH=/x"], exposed_ports={"5432/tcp": {}}))
    web = await engine.running("web", links=["db:store"])
    assert web.host.links == [f"{db.id}:store"]
    assert "STORE_PORT_5432_TCP_ADDR=10.93.0.2" in web.link_env
    assert "STORE_ENV_A=b" in web.link_env
    assert not any("PATH" in line for line in web.link_env)
    assert "10.93.0.2\tstore" in engine.hosts(web)
    assert web.endpoints["bridge"].linked_ports[0].owner == db.id
    await engine.end(db)
    await engine.running("in between")
    await engine.start(db)
    assert f"STORE_PORT_5432_TCP_ADDR={db.endpoints['bridge'].ipv4}" in web.link_env
    engine.store.unlink(web, "store")
    await engine.connector.unlinked(web)
    assert web.link_env == []
    assert web.endpoints["bridge"].linked_ports == ()
    assert "store" not in engine.hosts(web)


async def test_a_linked_container_has_to_run(engine: EngineNetworks) -> None:
    engine.container("db")
    web = engine.container("web", links=["db"])
    with pytest.raises(Conflict, match="Cannot link to a non running container: /db AS /web/db"):
        await engine.attachments.attach(web)
    with pytest.raises(InvalidInput, match="could not get container for nobody"):
        engine.container("other", links=["nobody"])


# --- connect and disconnect -----------------------------------------------------------------------


async def test_a_container_that_does_not_run_is_connected_at_its_start(engine: EngineNetworks) -> None:
    identifier = await engine.network("front")
    web = engine.container("web")
    settings = EndpointSettings(aliases=["www"])
    await engine.connector.connect(web, "front", settings)
    assert settings.network_id is None
    assert web.definition.networks["front"].network_id == identifier
    assert not web.endpoints
    await engine.start(web)
    assert list(web.endpoints) == ["bridge", "front"]


async def test_a_running_container_is_connected_at_once_and_only_once(engine: EngineNetworks) -> None:
    await engine.network("front")
    web = await engine.running("web")
    await engine.networks.connect("front", "web", EndpointSettings())
    assert list(web.endpoints) == ["bridge", "front"]
    assert str(web.endpoints["front"].ipv4) in engine.hosts(web)
    with pytest.raises(Forbidden, match="endpoint with name web already exists in network front"):
        await engine.networks.connect("front", "web", EndpointSettings())
    await engine.networks.disconnect("front", "web", force=False)
    assert list(web.endpoints) == ["bridge"]
    with pytest.raises(SystemFault, match="is not connected to the network front"):
        await engine.networks.disconnect("front", "web", force=False)


async def test_a_connect_that_fails_is_undone(engine: EngineNetworks) -> None:
    await engine.network("front")
    web = await engine.running("web", port_bindings={"80/tcp": [PortBinding("127.0.0.1", "18095")]})
    engine.controller.kernel.refuse.add("publish")
    with pytest.raises(SystemFault, match="publish was refused"):
        await engine.networks.connect("front", "web", EndpointSettings(gw_priority=1))
    assert list(web.endpoints) == ["bridge"]
    assert list(web.definition.networks) == ["bridge"]


@pytest.mark.parametrize(("mode", "error"), [("host", InvalidInput), ("none", InvalidInput)])
async def test_host_and_none_go_with_no_other(engine: EngineNetworks, mode: str, error: type[Exception]) -> None:
    await engine.network("front")
    web = engine.container("web", mode)
    with pytest.raises(error):
        await engine.connector.connect(web, "front", EndpointSettings())


async def test_an_address_is_checked_before_the_start(engine: EngineNetworks) -> None:
    await engine.network("front", ipam=IpamConfig(config=[IpamPool("10.93.9.0/24")]))
    web = engine.container("web")
    wrong = EndpointSettings(ipam_config=EndpointIpam(ipv4_address="10.94.0.1"))
    with pytest.raises(InvalidInput, match=r"10\.94\.0\.1"):
        await engine.connector.connect(web, "front", wrong)
    assert list(web.definition.networks) == ["bridge"]


# --- a restart of the daemon ----------------------------------------------------------------------


async def test_half_a_change_is_repaired_when_the_daemon_starts_again(engine: EngineNetworks) -> None:
    await engine.network("begun")
    await engine.network("left")
    web = await engine.running("web", "bridge", {"bridge": None, "left": None})
    sandbox = engine.controller.sandbox(web.id)
    assert sandbox is not None
    # the endpoint exists and the definition does not say so; and the other way round
    await engine.connector.connect(web, "begun", EndpointSettings())
    del web.definition.networks["begun"]
    await engine.controller.disconnect(sandbox, engine.controller.get("left").id)
    web.endpoints.clear()
    engine.controller._sandboxes.clear()

    engine.attachments.adopt(web)
    assert list(web.endpoints) == ["bridge"]
    assert list(web.definition.networks) == ["bridge"]
    assert not engine.controller.endpoints(engine.controller.get("begun").id)
    await engine.attachments.resume([web])
    assert "complete" in engine.controller.kernel.asked


async def test_an_adopted_container_keeps_endpoints_names_and_links(engine: EngineNetworks) -> None:
    await engine.network("front")
    web = await engine.running("web", "front")
    endpoint = web.endpoints["front"]
    engine.effects.directory.left(web.id)
    web.endpoints.clear()
    engine.controller._sandboxes.clear()
    engine.attachments.adopt(web)
    await engine.attachments.resume([web])
    assert web.endpoints == {"front": endpoint}
    assert engine.resolved(web, "web") == [str(endpoint.ipv4)]
    assert web.hosts_written == engine.hosts(web)
    assert "complete" not in engine.controller.kernel.asked


async def test_a_container_that_ended_meanwhile_is_not_adopted_on_host(engine: EngineNetworks) -> None:
    web = engine.container("web", "host")
    web.state.status = Status.RUNNING
    engine.attachments.adopt(web)
    await engine.end(web)
    assert await engine.happened() == [("disconnect", "host", "web")]
