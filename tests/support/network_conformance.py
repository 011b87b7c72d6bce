"""What the engine expects of `wherry.network.controller.Controller`: holds with a kernel and without one."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wherry.errors import Conflict, Forbidden, NotFound, SystemFault
from wherry.network.controller import Controller
from wherry.network.model import Endpoint, EndpointRequest, Network, NetworkRequest, PortRequest, SubnetRequest
from wherry.network.sandbox import Sandbox

__all__ = ["EXPECTATIONS"]

PORT = 18_093  #: of the host; tests of one machine take turns with it


def owner(number: int) -> str:
    return f"{number:064x}"


async def connected(
    controller: Controller, number: int, network: Network, request: EndpointRequest | None = None
) -> tuple[Sandbox, Endpoint]:
    sandbox = await controller.take(owner(number), f"c{number}", network)
    return sandbox, await controller.connect(sandbox, network, request or EndpointRequest())


async def owners_get_different_addresses(controller: Controller) -> None:
    bridge = controller.get("bridge")
    (_, one), (_, two) = await connected(controller, 1, bridge), await connected(controller, 2, bridge)
    subnet = bridge.subnet4
    assert subnet is not None
    assert one.ipv4 is not None
    assert two.ipv4 is not None
    assert len({one.ipv4, two.ipv4, subnet.gateway}) == 3
    assert one.ipv4 in subnet.network
    assert two.ipv4 in subnet.network
    assert {endpoint.id for endpoint in controller.endpoints(bridge.id)} == {one.id, two.id}


async def a_network_is_joined_once(controller: Controller) -> None:
    bridge = controller.get("bridge")
    sandbox, _ = await connected(controller, 1, bridge)
    with pytest.raises(Forbidden, match="already exists in network bridge"):
        await controller.connect(sandbox, bridge, EndpointRequest())


async def a_requested_address_is_given_once(controller: Controller) -> None:
    network = await controller.create(NetworkRequest(name="one", subnets=(SubnetRequest("10.93.7.0/24"),)))
    request = EndpointRequest(ipv4=ip_address("10.93.7.9"))  # type: ignore[arg-type]
    _, endpoint = await connected(controller, 1, network, request)
    assert str(endpoint.ipv4) == "10.93.7.9"
    with pytest.raises(Forbidden, match="Address already in use"):
        await connected(controller, 2, network, request)


async def a_released_owner_has_nothing(controller: Controller) -> None:
    bridge = controller.get("bridge")
    await connected(controller, 1, bridge)
    await controller.release(owner(1))
    await controller.release(owner(1))
    assert controller.sandbox(owner(1)) is None
    assert not controller.endpoints_of(owner(1))
    assert not controller.endpoints(bridge.id)


async def who_was_released_cannot_connect(controller: Controller) -> None:
    bridge = controller.get("bridge")
    sandbox = await controller.take(owner(1), "c1", bridge)
    await controller.release(owner(1))
    with pytest.raises(Conflict, match="is not running"):
        await controller.connect(sandbox, bridge, EndpointRequest())


async def a_disconnected_owner_is_not_connected(controller: Controller) -> None:
    bridge = controller.get("bridge")
    sandbox, endpoint = await connected(controller, 1, bridge)
    assert await controller.disconnect(sandbox, bridge.id) == endpoint
    with pytest.raises(NotFound):
        await controller.disconnect(sandbox, bridge.id)


async def a_port_of_the_host_has_one_holder(controller: Controller) -> None:
    bridge = controller.get("bridge")
    request = EndpointRequest(publish=(PortRequest("tcp", 80, ip_address("127.0.0.1"), PORT, PORT),))
    sandbox, endpoint = await connected(controller, 1, bridge, request)
    assert [one.host_port for one in endpoint.published] == [PORT]
    with pytest.raises(SystemFault, match="already"):
        await connected(controller, 2, bridge, request)
    assert not (await controller.publish(sandbox, bridge.id, ())).published
    _, other = await connected(controller, 3, bridge, request)
    assert other.published


async def a_network_in_use_is_not_removed(controller: Controller) -> None:
    network = await controller.create(NetworkRequest(name="two", subnets=(SubnetRequest("10.93.8.0/24"),)))
    sandbox, _ = await connected(controller, 1, network)
    with pytest.raises(Forbidden, match="has active endpoints"):
        await controller.remove("two")
    await controller.disconnect(sandbox, network.id)
    assert await controller.remove("two") == network
    with pytest.raises(NotFound, match="network two not found"):
        controller.get("two")


async def predefined_networks_stay(controller: Controller) -> None:
    assert [network.name for network in controller.list()] == ["bridge", "host", "none"]
    for name in ("bridge", "host", "none"):
        with pytest.raises(Forbidden, match="pre-defined network"):
            await controller.remove(name)


async def an_owner_has_its_new_name_everywhere(controller: Controller) -> None:
    bridge = controller.get("bridge")
    sandbox, _ = await connected(controller, 1, bridge)
    controller.rename(owner(1), "new")
    assert sandbox.owner_name == "new"
    assert [endpoint.owner_name for endpoint in controller.endpoints(bridge.id)] == ["new"]


async def a_configuration_is_what_networks_are_made_of_and_stays_while_one_is(controller: Controller) -> None:
    subnets = (SubnetRequest("10.93.8.0/24", gateway="10.93.8.7"),)
    wanted = {"options": {"com.docker.network.driver.mtu": "1400"}, "labels": {"a": "b"}}
    config = await controller.create(NetworkRequest(name="config", config_only=True, subnets=subnets, **wanted))  # type: ignore[arg-type]
    assert (config.driver, config.subnets, config.bridge) == ("null", (), "")
    network = await controller.create(NetworkRequest(name="made", config_from="config"))
    assert [str(subnet.gateway) for subnet in network.subnets] == ["10.93.8.7"]
    assert (network.mtu, network.labels, network.options, network.config_from) == (
        1400,
        {"a": "b"},
        wanted["options"],
        "config",
    )
    with pytest.raises(Forbidden, match=r'configuration network "config" is in use'):
        await controller.remove("config")
    with pytest.raises(Forbidden, match="cannot create endpoint on configuration-only network"):
        await connected(controller, 1, config)
    with pytest.raises(NotFound, match=r'configuration network "made" does not exist'):
        await controller.create(NetworkRequest(name="third", config_from="made"))
    with pytest.raises(Forbidden, match="overlaps"):
        await controller.create(NetworkRequest(name="third", config_from="config"))
    await controller.remove("made")
    assert (await controller.remove("config")).config_only


EXPECTATIONS = (
    a_configuration_is_what_networks_are_made_of_and_stays_while_one_is,
    owners_get_different_addresses,
    a_network_is_joined_once,
    a_requested_address_is_given_once,
    a_released_owner_has_nothing,
    who_was_released_cannot_connect,
    a_disconnected_owner_is_not_connected,
    a_port_of_the_host_has_one_holder,
    a_network_in_use_is_not_removed,
    predefined_networks_stay,
    an_owner_has_its_new_name_everywhere,
)
