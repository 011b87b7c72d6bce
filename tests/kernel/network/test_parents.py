"""Networks on the link of a parent interface: ipvlan in its modes, and VLANs that are made as parents."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from support.needs import need
from support.network_harness import Place, new_host, reaches
from wherry.errors import Conflict, InvalidInput
from wherry.linux import rtnetlink
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.network.controller import Controller
from wherry.network.model import EndpointRequest, Network, NetworkRequest, NetworkSettings, PoolSetting, SubnetRequest

pytestmark = need("root", "namespaces", "ip")

LINK = (SubnetRequest("10.94.0.0/24", gateway="10.94.0.1"), SubnetRequest("fd00:94::/64", gateway="fd00:94::1"))
"""The subnets of the link on which the neighbour is."""
ROUTED = (SubnetRequest("10.94.7.0/24"), SubnetRequest("fd00:94:7::/64"))


@pytest.fixture
def neighbour() -> Iterator[Place]:
    """A machine on the link of wire0, an interface of the host in whose namespace the test's thread is."""
    with new_host():
        there, host = Place("neighbour"), Place("host", os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        host.ip(
            "link set lo up", f"link add wire0 type veth peer name eth0 netns {there.path}",
            "addr add 10.94.0.9/24 dev wire0", "addr add fd00:94::9/64 dev wire0 nodad", "link set wire0 up",
        )  # fmt: skip
        there.ip(
            "link set lo up", "addr add 10.94.0.1/24 dev eth0", "addr add fd00:94::1/64 dev eth0 nodad",
            "link set eth0 up", "route add 10.94.7.0/24 via 10.94.0.9", "route add fd00:94:7::/64 via fd00:94::9",
        )  # fmt: skip
        yield there
        for place in (there, host):
            os.close(place.fd)


@pytest.fixture
async def networks(neighbour: Place, tmp_path: Path) -> AsyncIterator[Controller]:
    """An engine's networks on that host; the test fails if an interface of its stays."""
    pools = (PoolSetting(ip_network("10.95.0.0/16"), 24),)
    settings = NetworkSettings(
        data_root=tmp_path, exec_root=tmp_path, bip="10.96.0.1/24", pools=pools, warm=0, default_exec_root=False
    )
    made = Controller.open(settings)
    made.start()
    await made.ready()
    yield made
    await made.shutdown()
    assert names() == {"lo", "wire0"}


def names() -> set[str]:
    with NetlinkSocket(Family.ROUTE) as conversation:
        return {link.name for link in rtnetlink.links(conversation)}


async def make(networks: Controller, driver: str = "ipvlan", **options: str) -> Network:
    subnets = ROUTED if options.get("ipvlan_mode", "l2") != "l2" else LINK
    return await networks.create(NetworkRequest(name="link", driver=driver, options=options, subnets=subnets))


async def place(networks: Controller, number: int, network: Network) -> tuple[Place, tuple[str, str]]:
    """A sandbox on a network, and its two addresses."""
    sandbox = await networks.take(f"{number:064x}", f"c{number}", network)
    endpoint = await networks.connect(sandbox, network, EndpointRequest())
    assert (endpoint.mac == "") is (network.driver == "ipvlan")
    return Place(f"c{number}", sandbox.fileno()), (str(endpoint.ipv4), str(endpoint.ipv6))


def meet(one: Place, other: Place, *addresses: str) -> bool:
    """Whether one reaches the other at all these addresses; the first packets may be too early for the neighbours."""
    return all(any(reaches(one, other, address, port) for port in range(5000, 5080)) for address in addresses)


def defaults(place: Place) -> set[tuple[int, str]]:
    """The families and gateways of the default routes."""

    def read() -> set[tuple[int, str]]:
        with NetlinkSocket(Family.ROUTE) as conversation:
            found = [each for each in rtnetlink.routes(conversation) if each.prefix == 0 and each.table == 254]
            return {(each.family, str(each.gateway or "")) for each in found}

    return place.run(read)


@need("ipvlan")
@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
async def test_endpoints_of_an_ipvlan_reach_one_another_and_the_link(
    networks: Controller, neighbour: Place, mode: str
) -> None:
    network = await make(networks, parent="wire0", ipvlan_mode=mode)
    one, addresses = await place(networks, 1, network)
    two, theirs = await place(networks, 2, network)
    with_gateway = {(2, "10.94.0.1"), (10, "fd00:94::1")}
    assert defaults(one) == (with_gateway if mode == "l2" else {(2, ""), (10, "")})
    assert meet(one, two, *theirs)
    assert meet(one, neighbour, "10.94.0.1", "fd00:94::1")
    assert meet(neighbour, one, *addresses)
    with pytest.raises(Conflict, match="is already using parent interface wire0"):
        await networks.create(NetworkRequest(name="second", driver="ipvlan", options={"parent": "wire0"}))
    await networks.release("2".rjust(64, "0"))
    await networks.connect(await networks.take("3" * 64, "c3", network), network, EndpointRequest())
    assert meet(neighbour, one, *addresses), "another's end changes nothing"


@need("ipvlan")
async def test_private_endpoints_of_an_ipvlan_reach_the_link_only(networks: Controller, neighbour: Place) -> None:
    network = await make(networks, parent="wire0", ipvlan_flag="private")
    one, _ = await place(networks, 1, network)
    two, theirs = await place(networks, 2, network)
    assert meet(one, neighbour, "10.94.0.1", "fd00:94::1")
    assert meet(neighbour, two, *theirs)
    assert not any(reaches(one, two, address, 5000) for address in theirs)


@need("ipvlan")
async def test_an_ipvlan_without_a_parent_joins_its_members_only(networks: Controller, neighbour: Place) -> None:
    network = await make(networks)
    assert network.internal
    assert network.bridge == f"di-{network.id[:12]}"
    one, _ = await place(networks, 1, network)
    two, theirs = await place(networks, 2, network)
    assert meet(one, two, *theirs)
    assert defaults(one) == set()
    assert not reaches(one, neighbour, "10.94.0.1", 5000)
    with pytest.raises(InvalidInput, match="ipvlan interfaces do not support custom mac address assignment"):
        await networks.connect(
            await networks.take("3" * 64, "c3", network), network, EndpointRequest(mac="02:00:00:00:00:01")
        )
    for number in (1, 2):
        await networks.release(f"{number:064x}")
    await networks.remove(network.name)
    assert names() == {"lo", "wire0", networks.get("bridge").bridge}


@need("ipvlan")
async def test_the_default_route_goes_to_the_link_and_back_to_a_bridge(networks: Controller, neighbour: Place) -> None:
    network, bridge = await make(networks, parent="wire0", ipvlan_mode="l3"), networks.get("bridge")
    inside, _ = await place(networks, 1, bridge)
    assert defaults(inside) == {(2, "10.96.0.1")}
    sandbox = networks.sandbox("1".rjust(64, "0"))
    assert sandbox is not None
    await networks.connect(sandbox, network, EndpointRequest(priority=7))
    assert defaults(inside) == {(2, ""), (10, "")}
    await networks.disconnect(sandbox, network.id)
    assert defaults(inside) == {(2, "10.96.0.1")}


@need("vlan")
async def test_a_parent_named_like_a_vlan_is_made_and_goes_with_its_last_network(
    networks: Controller, neighbour: Place
) -> None:
    first = await make(networks, "macvlan", parent="wire0.10")
    subnet = SubnetRequest("10.94.1.0/24")
    request = NetworkRequest(name="second", driver="macvlan", options={"parent": "wire0.10"}, subnets=(subnet,))
    second = await networks.create(request)
    neighbour.ip("link add link eth0 name tagged type vlan id 10", "addr flush dev eth0",
                 "addr add 10.94.0.1/24 dev tagged", "link set tagged up")  # fmt: skip
    one, addresses = await place(networks, 1, first)
    assert meet(neighbour, one, addresses[0])
    await networks.release("1".rjust(64, "0"))
    await networks.remove(first.name)
    assert "wire0.10" in names()
    await networks.remove(second.name)
    assert "wire0.10" not in names()


async def test_parents_that_cannot_be_made_are_refused_in_dockers_words(networks: Controller, neighbour: Place) -> None:
    for parent, words in {
        "wire9": "invalid subinterface vlan name wire9, example formatting is eth0.10",
        "wire9.10": "-o parent interface was not found on the host: wire9",
        "wire0.1.2": "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received",
        "wire0.x": "unable to parse a valid vlan id from: x",
        "wire0.4095": "vlan id must be between 1-4094, received: 4095",
    }.items():
        with pytest.raises(InvalidInput, match=words):
            await make(networks, "macvlan", parent=parent)
    assert [network.name for network in networks.list()] == ["bridge", "host", "none"]


async def test_passthru_wants_the_parent_for_itself(networks: Controller, neighbour: Place) -> None:
    first = await make(networks, "macvlan", parent="wire0")
    request = NetworkRequest(
        name="second", driver="macvlan", options={"parent": "wire0", "macvlan_mode": "passthru"},
        subnets=(SubnetRequest("10.94.1.0/24"),),
    )  # fmt: skip
    with pytest.raises(Conflict, match=f"cannot use mode passthru, macvlan network {first.id} is already using parent"):
        await networks.create(request)
