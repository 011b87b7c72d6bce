"""Networks in the kernel: a host of the test's own, which is a network namespace, with real bridges and sandboxes."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from quiet import in_time
from support.needs import need
from support.network_conformance import EXPECTATIONS
from support.network_harness import new_host
from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, SystemFault
from wherry.linux import rtnetlink
from wherry.linux.fd import Fd
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.linux.process import CLONE, setns
from wherry.network import warm_sandboxes
from wherry.network.controller import Controller
from wherry.network.firewall.elements import BridgeRules
from wherry.network.firewall.firewall import Firewall
from wherry.network.model import (
    Endpoint,
    EndpointRequest,
    Network,
    NetworkRequest,
    NetworkSettings,
    PoolSetting,
    PortRequest,
    SubnetRequest,
)
from wherry.network.sandbox import Sandbox

pytestmark = need("root", "namespaces")

POOL = PoolSetting(ip_network("10.93.0.0/16"), 24)
PATIENCE = 30.0
"""Seconds for what happens in the background: the kernel's work and ours; alone on a machine a tenth of one does."""


@pytest.fixture
def host() -> Iterator[NetlinkSocket]:
    """A network namespace as the host, and a conversation about it; the test's thread is in it."""
    with new_host(), NetlinkSocket(Family.ROUTE) as conversation:
        unreachable = rtnetlink.route(
            POOL.base.network_address, 16, kind=rtnetlink.RouteType.UNREACHABLE, metric=4_000_000
        )
        conversation.batch([rtnetlink.set_link(1, up=True), unreachable])
        yield conversation


def told(tmp_path: Path, **more: object) -> NetworkSettings:
    # The unreachable route over the pool would count as somebody's network, so the default bridge is told where to be.
    given: dict[str, object] = {"bip": "10.93.0.1/24", "ipv6": True, "warm": 2, "default_exec_root": False} | more
    return NetworkSettings(data_root=tmp_path, exec_root=tmp_path, **given)  # type: ignore[arg-type]


@pytest.fixture
async def networks(host: NetlinkSocket, tmp_path: Path) -> AsyncIterator[Controller]:
    """An engine's networks, started; the test fails if anything of it stays."""
    made = Controller.open(told(tmp_path))
    made.start()
    await made.ready()
    assert made.warning is None
    yield made
    await made.shutdown()
    await until(lambda: {link.name for link in rtnetlink.links(host)} == {"lo"})
    with tables(made._kernel.alias) as firewall:
        assert not firewall.intact([], [], []), "the tables are left"


@contextmanager
def tables(name: str) -> Iterator[Firewall]:
    """The firewall of that name, as another program has it."""
    firewall = Firewall(name)
    try:
        yield firewall
    finally:
        firewall.close()


def run_inside(sandbox: Sandbox, *command: str) -> str:
    """Run a program in a sandbox; its output."""
    whole = ["nsenter", f"--net={sandbox.path}", *command]
    return subprocess.run(whole, capture_output=True, text=True, check=True, timeout=60).stdout


async def until(is_true: Callable[[], bool]) -> None:
    """Look again and again; what the kernel does in the background tells nobody when it is done."""
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.005)


async def warm(networks: Controller) -> None:
    await until(lambda: len(networks._pool.spares) == 2)


async def place(
    networks: Controller, number: int, network: str = "bridge", **asked: object
) -> tuple[Sandbox, Endpoint]:
    found = networks.get(network)
    sandbox = await networks.take(f"{number:064x}", f"c{number}", found)
    return sandbox, await networks.connect(sandbox, found, EndpointRequest(**asked))  # type: ignore[arg-type]


class Inside:
    """What there is in a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        with Fd(os.open("/proc/thread-self/ns/net", os.O_RDONLY)) as home:
            setns(sandbox.fileno(), CLONE.NEWNET)
            try:
                with NetlinkSocket(Family.ROUTE) as conversation:
                    self.links = {link.name: link for link in rtnetlink.links(conversation)}
                    numbers = {link.number: link.name for link in self.links.values()}
                    self.addresses = {
                        (numbers[entry.link], str(entry.address), entry.prefix)
                        for entry in rtnetlink.addresses(conversation)
                    }
                    # A link-local address is the kernel's own, and comes a moment after the link.
                    self.given = {each for each in self.addresses if not ip_address(each[1]).is_link_local}
                    self.defaults = {
                        (numbers[entry.link], str(entry.gateway))
                        for entry in rtnetlink.routes(conversation)
                        if entry.prefix == 0 and entry.gateway is not None
                    }
                    accept = Path("/proc/sys/net/ipv6/conf/eth0/accept_ra")
                    self.accepts_routers = accept.read_text().strip() if accept.exists() else ""
            finally:
                setns(home, CLONE.NEWNET)


def open_inside(sandbox: Sandbox, kind: int) -> socket.socket:
    with Fd(os.open("/proc/thread-self/ns/net", os.O_RDONLY)) as home:
        setns(sandbox.fileno(), CLONE.NEWNET)
        try:
            made = socket.socket(socket.AF_INET, kind)
        finally:
            setns(home, CLONE.NEWNET)
    made.settimeout(PATIENCE)
    return made


def says_hello(sandbox: Sandbox, port: int, target: tuple[str, int], caller: Sandbox | None = None) -> bool:
    """Whether a connection from the host, or from another sandbox, arrives in a sandbox."""
    client = socket.socket() if caller is None else open_inside(caller, socket.SOCK_STREAM)
    with open_inside(sandbox, socket.SOCK_STREAM) as server, client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        server.listen()
        client.settimeout(5)  # a neighbour that was asked for too early is asked for again after a second
        try:
            client.connect(target)
            client.getpeername()  # an ICMP error may look like success at first: see network_lab.py
        except OSError:
            return False
        client.settimeout(PATIENCE)
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"hello")
            return client.recv(5) == b"hello"


# --------------------------------------------------------------------------------------------------- sandboxes, places


async def test_a_warm_sandbox_is_complete_and_is_claimed_without_asking_the_kernel(networks: Controller) -> None:
    await warm(networks)
    spare = networks._pool.spares[0]
    sandbox, endpoint = await place(networks, 1, priority=3, aliases=("x",))
    assert sandbox.path == f"/proc/{os.getpid()}/fd/{sandbox.fileno()}"
    assert endpoint.id == networks.endpoints(networks.get("bridge").id)[0].id
    assert (endpoint.priority, endpoint.aliases, endpoint.owner_name) == (3, ("x",), "c1")
    assert spare.prepared_endpoint is None, "the first spare was the one"
    inside = Inside(sandbox)
    assert inside.links["eth0"].up
    assert inside.links["lo"].up
    assert inside.links["eth0"].mac == endpoint.mac
    assert ("eth0", str(endpoint.ipv4), 24) in inside.addresses
    assert ("eth0", str(endpoint.ipv6), 64) in inside.addresses
    assert ("eth0", "10.93.0.1") in inside.defaults
    assert ("eth0", str(endpoint.gateway6)) in inside.defaults
    assert inside.accepts_routers == "0", "another container must not become its router"
    assert says_hello(sandbox, 7000, (str(endpoint.ipv4), 7000))


async def on_my(networks: Controller, subnet: str) -> Network:
    """A network of one's own, with one sandbox on it, and another that waits."""
    network = await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest(subnet),)))
    await plain(networks, 1)
    await until(lambda: len(waiting(networks, network)) == 1)
    return network


async def plain(networks: Controller, number: int) -> tuple[Sandbox, Endpoint]:
    """A sandbox with an endpoint on that network, of which nothing else is asked."""
    request, found = EndpointRequest(), networks.get("my")
    sandbox = await networks.take(f"{number:064x}", f"c{number}", found, request)
    return sandbox, await networks.connect(sandbox, found, request)


def waiting(networks: Controller, network: Network) -> list[Endpoint]:
    """The endpoints that wait on a network."""
    return [endpoint for endpoint in networks._store.on_network(network.id) if not endpoint.owner]


async def test_for_another_network_as_many_wait_as_were_started_there(networks: Controller) -> None:
    await warm(networks)
    network = await on_my(networks, "10.93.1.0/24")
    (prepared,) = waiting(networks, network)
    assert len(networks.endpoints(network.id)) == 1
    used, free = networks.addresses(network)[network.subnets[0].network]
    assert used + free == 256
    assert free == 252, "the network's, the gateway's, the broadcast address, and that of the only owner"
    sandbox, endpoint = await plain(networks, 2)
    assert endpoint.id == prepared.id
    inside = Inside(sandbox)
    assert inside.given == {("lo", "127.0.0.1", 8), ("lo", "::1", 128), ("eth0", str(endpoint.ipv4), 24)}
    assert ("eth0", "10.93.1.1") in inside.defaults
    assert inside.accepts_routers == "0"
    assert says_hello(sandbox, 7000, (str(endpoint.ipv4), 7000))
    bound = run_inside(sandbox, "ss", "-Hlntu")
    assert bound.count("127.0.0.11:53") == 2, "the sockets of the resolver are there before the container"
    for each in await sandbox.dns_sockets():
        each.close()
    assert "127.0.0.11:53" not in run_inside(sandbox, "ss", "-Hlntu")
    await until(lambda: len(waiting(networks, network)) == 2)
    for owner in (sandbox.owner, f"{1:064x}"):
        await networks.release(owner)
    await networks.remove(network.id)


async def test_what_waits_gives_its_address_to_who_asks_for_it(networks: Controller) -> None:
    network = await on_my(networks, "10.93.1.0/24")
    (prepared,) = waiting(networks, network)
    sandbox, endpoint = await place(networks, 2, "my", ipv4=prepared.ipv4)
    assert endpoint.ipv4 == prepared.ipv4
    assert endpoint.id != prepared.id
    assert waiting(networks, network) == []
    assert ("eth0", str(endpoint.ipv4), 24) in Inside(sandbox).given


async def test_what_waits_gives_the_last_address_to_who_needs_one(networks: Controller) -> None:
    network = await on_my(networks, "10.93.1.0/29")  # five to give
    await place(networks, 2, "bridge")
    for number in (3, 4, 5, 6):
        await place(networks, number, "my")
    assert waiting(networks, network) == []
    with pytest.raises(Forbidden, match="no available IPv4 addresses"):
        await place(networks, 7, "my")


async def test_what_waits_on_a_network_goes_with_it_and_when_nothing_was_started_for_a_while(
    networks: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await on_my(networks, "10.93.1.0/24")
    (prepared,) = waiting(networks, network)
    await networks.release(f"{1:064x}")
    await networks.remove("my")
    assert prepared.id not in networks._store.endpoints
    monkeypatch.setattr(warm_sandboxes, "IDLE", 0.1)
    network = await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),)))
    await plain(networks, 1)
    await until(lambda: network.id not in networks._pool._others and not waiting(networks, network))


async def test_a_network_may_go_while_somebody_is_about_to_join_it(networks: Controller) -> None:
    network = await on_my(networks, "10.93.1.0/24")
    (prepared,) = waiting(networks, network)
    sandbox = await networks.take(f"{2:064x}", "c2", network, EndpointRequest())
    assert sandbox.prepared_endpoint == prepared.id
    await networks.release(f"{1:064x}")
    await networks.remove("my")
    with pytest.raises(NotFound):
        await networks.connect(sandbox, network, EndpointRequest())
    await networks.release(sandbox.owner)
    assert prepared.id not in networks._store.endpoints


async def test_for_a_network_that_nobody_was_started_on_a_namespace_waits(networks: Controller) -> None:
    await warm(networks)
    await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),)))
    await place(networks, 1, "my", ipv4=IPv4Address("10.93.1.7"))
    await until(lambda: len(networks._pool.spares) == 3)
    (empty,) = (spare for spare in networks._pool.spares if spare.prepared_endpoint is None)
    namespace = os.fstat(empty.fileno()).st_ino
    sandbox, endpoint = await place(networks, 2, "my")
    assert os.fstat(sandbox.fileno()).st_ino == namespace
    inside = Inside(sandbox)
    assert inside.given == {("lo", "127.0.0.1", 8), ("lo", "::1", 128), ("eth0", str(endpoint.ipv4), 24)}
    assert inside.accepts_routers == "0"


async def test_many_who_ask_at_once_get_different_addresses_and_ports(networks: Controller) -> None:
    both = await asyncio.gather(*(place(networks, n, publish=(PortRequest("tcp", 80),)) for n in range(1, 51)))
    endpoints = [endpoint for _, endpoint in both]
    for found in (
        {e.ipv4 for e in endpoints},
        {e.ipv6 for e in endpoints},
        {e.published[0].host_port for e in endpoints},
    ):
        assert len(found) == 50
    sandbox, endpoint = both[37]
    assert says_hello(sandbox, 80, ("127.0.0.1", endpoint.published[0].host_port))


async def test_a_released_place_leaves_nothing_and_everything_can_be_had_again(
    networks: Controller, host: NetlinkSocket
) -> None:
    sandbox, endpoint = await place(networks, 1, publish=(PortRequest("tcp", 80, None, 7123, 7123),))
    await networks.release(sandbox.owner)
    await networks.release(sandbox.owner)
    await until(lambda: rtnetlink.find_link(host, endpoint.host_interface) is None)
    assert networks.endpoints_of(sandbox.owner) == ()
    again, published = await place(networks, 2, publish=(PortRequest("tcp", 80, None, 7123, 7123),))
    assert says_hello(again, 80, ("127.0.0.1", 7123))
    assert published.published[0].host_port == 7123


async def test_a_link_goes_also_when_somebody_else_holds_its_namespace(
    networks: Controller, host: NetlinkSocket
) -> None:
    sandbox, endpoint = await place(networks, 1)
    with Fd(os.dup(sandbox.fileno())):
        await networks.release(sandbox.owner)
        await until(lambda: rtnetlink.find_link(host, endpoint.host_interface) is None)


async def test_a_start_that_ends_while_it_connects_is_told_so(networks: Controller) -> None:
    network = await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),)))
    sandbox = await networks.take("1" * 64, "c1", network)
    joining = asyncio.ensure_future(networks.connect(sandbox, network, EndpointRequest()))
    await asyncio.sleep(0)
    await networks.release(sandbox.owner)
    with pytest.raises(Conflict, match="is not running"):
        await joining
    assert networks.endpoints(network.id) == ()
    await networks.remove("my")


async def test_the_default_route_follows_the_priority_and_moves_on_disconnect(networks: Controller) -> None:
    sandbox, _ = await place(networks, 1)
    first = await networks.create(NetworkRequest(name="aa", subnets=(SubnetRequest("10.93.1.0/24"),)))
    second = await networks.create(
        NetworkRequest(name="zz", internal=True, subnets=(SubnetRequest("10.93.2.0/24", gateway="10.93.2.9"),))
    )
    one = await networks.connect(
        sandbox, first, EndpointRequest(priority=1, ipv4=IPv4Address("10.93.1.77"), mac="02:00:00:00:00:07")
    )
    two = await networks.connect(sandbox, second, EndpointRequest(priority=9))
    assert (one.interface, two.interface, two.gateway4) == ("eth1", "eth2", None)
    inside = Inside(sandbox)
    assert ("eth1", "10.93.1.77", 24) in inside.addresses
    assert inside.links["eth1"].mac == "02:00:00:00:00:07"
    assert {gateway for gateway in inside.defaults if ":" not in gateway[1]} == {("eth1", "10.93.1.1")}
    assert networks.endpoints_of(sandbox.owner)[0] == two
    await networks.disconnect(sandbox, first.id)
    inside = Inside(sandbox)
    assert "eth1" not in inside.links
    assert {gateway for gateway in inside.defaults if ":" not in gateway[1]} == {("eth0", "10.93.0.1")}
    await networks.disconnect(sandbox, networks.get("bridge").id)
    assert Inside(sandbox).defaults == set()
    with pytest.raises(NotFound):
        await networks.disconnect(sandbox, first.id)


async def test_a_name_that_a_program_inside_took_is_not_given_again(networks: Controller) -> None:
    sandbox, _ = await place(networks, 1)
    network = await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),)))
    run_inside(sandbox, "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "x1")
    endpoint = await networks.connect(sandbox, network, EndpointRequest())
    assert endpoint.interface == "eth2"
    assert networks.endpoints(network.id)[0].interface == "eth2"
    await networks.disconnect(sandbox, network.id)
    wish = {"com.docker.network.endpoint.ifname": "eth1"}
    with pytest.raises(InvalidInput, match="interface name eth1 is taken"):
        await networks.connect(sandbox, network, EndpointRequest(driver_options=wish))
    assert networks.endpoints(network.id) == ()


async def test_settings_of_an_interface_may_be_wished_for(networks: Controller) -> None:
    options = {
        "com.docker.network.endpoint.ifname": "lan0",
        "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.ifname.forwarding=1",
    }
    sandbox, endpoint = await place(networks, 1, driver_options=options)
    assert endpoint.interface == "lan0"
    assert run_inside(sandbox, "cat", "/proc/sys/net/ipv4/conf/lan0/log_martians") == "1\n"
    assert run_inside(sandbox, "cat", "/proc/sys/net/ipv4/conf/lan0/forwarding") == "1\n"
    for wrong in ("kernel.hostname=x", "net.ipv4.conf.IFNAME.../x=1", "net.ipv4.conf.eth0.log_martians=1"):
        with pytest.raises(InvalidInput, match="invalid sysctl"):
            await place(networks, 2, driver_options={"com.docker.network.endpoint.sysctls": wrong})


async def test_the_sockets_for_names_are_inside(networks: Controller) -> None:
    sandbox, _ = await place(networks, 1)
    udp, tcp = await sandbox.dns_sockets()
    with udp, tcp, open_inside(sandbox, socket.SOCK_DGRAM) as asker:
        assert udp.getsockname() == tcp.getsockname() == ("127.0.0.11", 53)
        asker.sendto(b"who?", ("127.0.0.11", 53))
        assert udp.recvfrom(10)[0] == b"who?"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.bind(("127.0.0.11", 53))  # nobody has it in the host


# ----------------------------------------------------------------------------------------------------------- networks


async def test_a_network_comes_with_its_bridge_and_goes_with_it(networks: Controller, host: NetlinkSocket) -> None:
    options = {"com.docker.network.driver.mtu": "1350"}
    network = await networks.create(
        NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),), options=options)
    )
    link = rtnetlink.find_link(host, network.bridge)
    assert link is not None
    assert (link.kind, link.mtu, link.up) == ("bridge", 1350, True)
    with pytest.raises(Conflict, match="network with name my already exists"):
        await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.9.0/24"),)))
    with pytest.raises(Forbidden, match="Pool overlaps"):
        await networks.create(NetworkRequest(name="other", subnets=(SubnetRequest("10.93.1.128/25"),)))
    sandbox, endpoint = await place(networks, 1, "my")
    assert Inside(sandbox).links["eth0"].mtu == 1350
    with pytest.raises(Forbidden, match=rf'network my has active endpoints \(name:"c1" id:"{endpoint.id[:12]}"\)'):
        await networks.remove("my")
    await networks.release(sandbox.owner)
    await networks.remove("my")
    await networks._reconciler.removed()
    assert rtnetlink.find_link(host, network.bridge) is None
    with pytest.raises(NotFound, match="network my not found"):
        networks.get("my")
    with pytest.raises(Forbidden, match="is a pre-defined network and cannot be removed"):
        await networks.remove("bridge")


async def test_a_bridges_name_that_something_else_has_is_refused_and_nothing_stays(
    networks: Controller, host: NetlinkSocket
) -> None:
    host.request(rtnetlink.veth("thing0", "thing1"))
    options = {"com.docker.network.bridge.name": "thing0"}
    with pytest.raises(InvalidInput, match="cannot use interface 'thing0' as a bridge"):
        await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),), options=options))
    assert [network.name for network in networks.list() if network.name == "my"] == []
    host.request(rtnetlink.delete_link("thing0"))


async def test_a_network_may_lie_on_a_bridge_of_the_hosts_which_stays_as_it_is(
    networks: Controller, host: NetlinkSocket
) -> None:
    def addresses() -> set[str]:
        return {str(entry.address) for entry in rtnetlink.addresses(host) if entry.link == before.number}

    def localnet() -> str:
        return Path("/proc/sys/net/ipv4/conf/theirs0/route_localnet").read_text().strip()

    host.request(rtnetlink.bridge("theirs0", mac="02:00:00:00:00:77"))
    host.request(rtnetlink.set_link("theirs0", mtu=1450))  # given with the new bridge it would follow its ports
    before = rtnetlink.find_link(host, "theirs0")
    assert before is not None
    messages = [rtnetlink.address(before.number, ip_address(text), 24) for text in ("10.93.8.9", "10.93.9.1")]
    host.batch([*messages, rtnetlink.set_link(before.number, up=True)])
    options = {"com.docker.network.bridge.name": "theirs0"}

    def request(name: str, *subnets: SubnetRequest, ipv6: bool | None = None) -> NetworkRequest:
        return NetworkRequest(name=name, subnets=subnets, options=options, ipv6=ipv6)

    with pytest.raises(InvalidInput, match=r"bridge theirs0 does not have the address 10\.93\.1\.1/24"):
        await networks.create(request("my", SubnetRequest("10.93.1.0/24")))
    with pytest.raises(InvalidInput, match="bridge theirs0 has no IPv6 address"):
        await networks.create(request("my", ipv6=True))
    network = await networks.create(request("my"))
    assert (str(network.subnets[0].network), str(network.subnets[0].gateway)) == ("10.93.8.0/24", "10.93.8.9")
    with pytest.raises(Conflict, match="bridge name already in use: theirs0"):
        await networks.create(request("more", SubnetRequest("10.93.9.0/24")))
    sandbox, endpoint = await place(networks, 1, "my")
    assert says_hello(sandbox, 7000, (str(endpoint.ipv4), 7000))
    assert localnet() == "1", "for ports published on 127.0.0.1"
    await networks.release(sandbox.owner)
    await networks.remove("my")
    after = rtnetlink.find_link(host, "theirs0")
    assert after is not None
    assert (after.number, after.mac, after.mtu, after.alias) == (before.number, before.mac, before.mtu, before.alias)
    assert {"10.93.8.9", "10.93.9.1"} <= addresses()
    assert localnet() == "0", "which would be open without the firewall"
    network = await networks.create(request("other", SubnetRequest("10.93.9.0/24")))
    assert str(network.subnets[0].gateway) == "10.93.9.1"
    host.request(rtnetlink.delete_link("theirs0"))
    with pytest.raises(InvalidInput, match="the bridge 'theirs0' of network other is gone"):
        await place(networks, 2, "other")
    await networks.remove("other")


async def test_the_default_network_may_lie_on_a_bridge_of_the_hosts(host: NetlinkSocket, tmp_path: Path) -> None:
    settings = told(tmp_path, bip="", ipv6=None, bridge="theirs0", warm=0)
    with pytest.raises(InvalidInput, match="bridge device with non default name theirs0 must be created manually"):
        Controller.open(settings)
    host.request(rtnetlink.bridge("theirs0"))
    link = rtnetlink.find_link(host, "theirs0")
    assert link is not None
    with pytest.raises(InvalidInput, match="bridge theirs0 has no IPv4 address"):
        Controller.open(settings)
    addresses = [rtnetlink.address(link.number, ip_address(text), 24) for text in ("10.93.8.9", "10.93.9.1")]
    host.batch([*addresses, rtnetlink.set_link(link.number, up=True)])
    networks = Controller.open(settings)
    networks.start()
    sandbox, endpoint = await place(networks, 1)
    assert (str(endpoint.gateway4), endpoint.ipv6, str(endpoint.ipv4)) == ("10.93.8.9", None, "10.93.8.1")
    assert says_hello(sandbox, 7000, ("10.93.8.1", 7000))
    await networks.shutdown()
    kept = {str(entry.address) for entry in rtnetlink.addresses(host) if entry.link == link.number}
    assert kept >= {"10.93.8.9", "10.93.9.1"}
    host.request(rtnetlink.delete_link("theirs0"))


async def test_a_network_may_say_what_interfaces_inside_are_called(networks: Controller) -> None:
    options = {"com.docker.network.container_iface_prefix": "lan"}
    await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),), options=options))
    sandbox, endpoint = await place(networks, 1, "my")
    assert endpoint.interface == "lan0"
    assert "lan0" in Inside(sandbox).links


async def test_a_taken_port_takes_nothing_else_with_it(networks: Controller, host: NetlinkSocket) -> None:
    ports = (PortRequest("tcp", 80, None, 7200, 7200),)
    await place(networks, 1, publish=ports)
    with pytest.raises(SystemFault, match=r"port is already allocated \(container 'c1' has it\)"):
        await place(networks, 2, publish=ports)
    assert [endpoint.owner_name for endpoint in networks.endpoints(networks.get("bridge").id)] == ["c1"]


async def test_ports_can_be_published_anew_through_another_network(networks: Controller) -> None:
    sandbox, first = await place(networks, 1, publish=(PortRequest("tcp", 80, None, 7300, 7300),))
    network = await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),)))
    second = await networks.connect(sandbox, network, EndpointRequest(priority=1))
    await networks.publish(sandbox, first.network_id, ())
    moved = await networks.publish(sandbox, network.id, [PortRequest("tcp", 80, None, 7300, 7300)])
    assert moved.id == second.id
    assert says_hello(sandbox, 80, ("127.0.0.1", 7300))


async def test_who_is_answered_by_another_network_than_he_called_by_is_answered(
    networks: Controller, host: NetlinkSocket
) -> None:
    """Neighbours on the other network, and everybody where the default route leads through a network without ports."""
    publish = (PortRequest("tcp", 80, None, 7310, 7310),)
    await networks.create(NetworkRequest(name="first", subnets=(SubnetRequest("10.93.1.0/24"),)))
    second = await networks.create(NetworkRequest(name="second", subnets=(SubnetRequest("10.93.2.0/24"),)))
    sandbox, _ = await place(networks, 1, "first", publish=publish)
    neighbour, _ = await place(networks, 2, "second")
    stranger, _ = await place(networks, 3)
    called = ("10.93.0.1", 7310)

    def all_are_answered() -> bool:
        return all(says_hello(sandbox, 80, called, caller) for caller in (sandbox, neighbour, stranger))

    assert all_are_answered()
    await networks.connect(sandbox, second, EndpointRequest())
    assert all_are_answered()
    with tables(networks._kernel.alias) as other:
        await repaired(networks, other.remove_all, all_are_answered)
    subnets = (SubnetRequest("10.93.4.0/24", gateway="10.93.4.1"),)
    host.batch([rtnetlink.veth("wire2", "wire3"), rtnetlink.set_link("wire2", up=True)])
    wire = NetworkRequest(name="wire", driver="macvlan", options={"parent": "wire2"}, subnets=subnets)
    await networks.connect(sandbox, await networks.create(wire), EndpointRequest(priority=7))
    assert ("eth2", "10.93.4.1") in Inside(sandbox).defaults
    assert all(says_hello(sandbox, 80, called, caller) for caller in (neighbour, stranger))
    await networks.disconnect(sandbox, networks.get("wire").id)
    await networks.disconnect(sandbox, second.id)
    assert all_are_answered()
    assert sandbox.reply_masquerades == frozenset()
    host.request(rtnetlink.delete_link("wire2"))


async def test_a_macvlan_without_a_parent_joins_its_members_only(networks: Controller, host: NetlinkSocket) -> None:
    network = await networks.create(
        NetworkRequest(name="mac", driver="macvlan", subnets=(SubnetRequest("10.93.3.0/24"),))
    )
    one, first = await place(networks, 1, "mac")
    _, second = await place(networks, 2, "mac")
    assert network.internal
    assert first.gateway4 is None
    with open_inside(one, socket.SOCK_DGRAM) as sender:
        sender.connect((str(second.ipv4), 9))
        assert sender.getsockname()[0] == str(first.ipv4)
    assert Inside(one).links["eth0"].kind == "macvlan"
    await networks.release("1".rjust(64, "0"))
    await networks.release("2".rjust(64, "0"))
    await networks.remove("mac")
    await networks._reconciler.removed()
    assert rtnetlink.find_link(host, network.bridge) is None


async def test_networks_that_are_removed_one_after_the_other_go_together_and_free_what_they_had(
    networks: Controller, host: NetlinkSocket
) -> None:
    def requests() -> list[NetworkRequest]:
        return [
            NetworkRequest(
                name=f"n{number}", subnets=(SubnetRequest(f"10.93.{number}.0/24"),),
                options={"com.docker.network.bridge.name": f"mine{number}"},
            )
            for number in range(1, 6)
        ]  # fmt: skip

    def numbers() -> dict[str, int]:
        return {link.name: link.number for link in rtnetlink.links(host) if link.name.startswith("mine")}

    for request in requests():
        await networks.create(request)
    first = numbers()
    host.request(rtnetlink.delete_link("mine3"))  # by somebody else
    for request in requests():
        await networks.remove(request.name)
    for request in requests():
        await networks.create(request)  # under the same names, with the same addresses
    second = numbers()
    assert set(first) == set(second)
    assert not set(first.values()) & set(second.values())
    for request in requests()[1:]:
        await networks.remove(request.name)
    await networks._reconciler.removed()
    assert set(numbers()) == {"mine1"}


async def test_a_macvlan_with_a_parent_is_on_that_wire(networks: Controller, host: NetlinkSocket) -> None:
    host.batch(
        [rtnetlink.veth("wire0", "wire1"), rtnetlink.set_link("wire0", up=True), rtnetlink.set_link("wire1", up=True)]
    )
    peer = rtnetlink.find_link(host, "wire1")
    assert peer is not None
    host.request(rtnetlink.address(peer.number, ip_address("10.93.4.1"), 24))
    subnets = (SubnetRequest("10.93.4.0/24", gateway="10.93.4.1"),)
    await networks.create(NetworkRequest(name="lan", driver="macvlan", options={"parent": "wire0"}, subnets=subnets))
    sandbox, endpoint = await place(networks, 1, "lan")
    assert ("eth0", "10.93.4.1") in Inside(sandbox).defaults
    assert says_hello(sandbox, 7000, (str(endpoint.ipv4), 7000))
    with pytest.raises(InvalidInput, match="no such interface"):
        await networks.create(NetworkRequest(name="no", driver="macvlan", options={"parent": "wire9"}))
    await networks.release(sandbox.owner)
    await until(lambda: "eth0" not in {link.name for link in rtnetlink.links(host)})
    await networks.remove("lan")
    assert rtnetlink.find_link(host, "wire0") is not None, "the parent is the host's"
    host.request(rtnetlink.delete_link("wire0"))


async def test_a_dummy_network_gives_an_address_and_no_way_anywhere(networks: Controller) -> None:
    await networks.create(NetworkRequest(name="dumb", driver="dummy", subnets=(SubnetRequest("10.93.5.0/24"),)))
    sandbox, endpoint = await place(networks, 1, "dumb")
    inside = Inside(sandbox)
    assert inside.links["eth0"].kind in ("dummy", "bridge"), "as this kernel has it"
    assert ("eth0", str(endpoint.ipv4), 24) in inside.addresses
    assert inside.defaults == set()


# ------------------------------------------------------------------------------------------------------------- repair


async def repaired(networks: Controller, harm: Callable[[], object], is_whole: Callable[[], bool]) -> float:
    """Do harm, and wait until it is undone: seconds."""
    assert is_whole()
    harm()
    begin = time.monotonic()
    assert not is_whole(), "no harm was done"
    await until(is_whole)
    return time.monotonic() - begin


@pytest.fixture
async def victim(networks: Controller) -> tuple[Sandbox, Endpoint]:
    return await place(networks, 1, publish=(PortRequest("tcp", 80, None, 7400, 7400),))


def link_of(host: NetlinkSocket, endpoint: Endpoint) -> rtnetlink.Link | None:
    return rtnetlink.find_link(host, endpoint.host_interface)


async def test_a_veth_that_was_deleted_comes_back_with_the_same_addresses(
    networks: Controller, host: NetlinkSocket, victim: tuple[Sandbox, Endpoint]
) -> None:
    sandbox, endpoint = victim
    before = Inside(sandbox)

    def whole() -> bool:
        link = link_of(host, endpoint)
        return link is not None and link.up and Inside(sandbox).defaults == before.defaults

    await repaired(networks, lambda: host.request(rtnetlink.delete_link(endpoint.host_interface)), whole)
    after = Inside(sandbox)
    assert after.given == before.given
    assert after.links["eth0"].mac == before.links["eth0"].mac
    assert says_hello(sandbox, 80, ("127.0.0.1", 7400))


async def test_who_goes_while_something_is_repaired_does_not_come_back(networks: Controller) -> None:
    ports = (PortRequest("tcp", 80, None, 7500, 7500),)
    for number in range(5):
        sandbox, _ = await place(networks, number, publish=ports)
        await asyncio.gather(networks._reconciler._repair(), networks.release(sandbox.owner))


async def test_a_bridge_that_was_deleted_comes_back_with_its_ports(
    networks: Controller, host: NetlinkSocket, victim: tuple[Sandbox, Endpoint]
) -> None:
    sandbox, endpoint = victim
    bridge = networks.get("bridge").bridge

    def whole() -> bool:
        found, port = rtnetlink.find_link(host, bridge), link_of(host, endpoint)
        return found is not None and port is not None and port.master == found.number

    await repaired(networks, lambda: host.request(rtnetlink.delete_link(bridge)), whole)
    assert says_hello(sandbox, 80, (str(endpoint.ipv4), 80))
    assert says_hello(sandbox, 80, ("127.0.0.1", 7400))


async def test_a_port_taken_off_its_bridge_or_switched_off_comes_back(
    networks: Controller, host: NetlinkSocket, victim: tuple[Sandbox, Endpoint]
) -> None:
    sandbox, endpoint = victim
    link = link_of(host, endpoint)
    assert link is not None

    def whole() -> bool:
        found = link_of(host, endpoint)
        return found is not None and found.up and found.master != 0

    await repaired(networks, lambda: host.request(rtnetlink.set_link(link.number, master=0)), whole)
    await repaired(networks, lambda: host.request(rtnetlink.set_link(link.number, up=False)), whole)
    assert says_hello(sandbox, 80, (str(endpoint.ipv4), 80))


async def test_a_bridge_that_lost_its_address_gets_it_again(
    networks: Controller, host: NetlinkSocket, victim: tuple[Sandbox, Endpoint]
) -> None:
    bridge = rtnetlink.find_link(host, networks.get("bridge").bridge)
    assert bridge is not None
    own = ip_address("10.93.0.1")

    def whole() -> bool:
        return any(entry.address == own for entry in rtnetlink.addresses(host))

    await repaired(networks, lambda: host.request(rtnetlink.delete_address(bridge.number, own, 24)), whole)
    assert says_hello(victim[0], 80, (str(victim[1].ipv4), 80))


@need("ip")
async def test_a_bridge_that_lost_its_routes_gets_them_again(
    networks: Controller, host: NetlinkSocket, victim: tuple[Sandbox, Endpoint]
) -> None:
    network = networks.get("bridge")
    bridge = rtnetlink.find_link(host, network.bridge)
    assert bridge is not None
    for subnet in (each.network for each in network.subnets):
        where = (subnet.network_address, subnet.prefixlen)

        def whole(where: tuple[object, int] = where) -> bool:
            there = [each for each in rtnetlink.routes(host) if (each.destination, each.prefix) == where]
            return any(each.link == bridge.number for each in there)

        harm = ["ip", "-6" if subnet.version == 6 else "-4", "route", "del", str(subnet), "dev", network.bridge]
        await repaired(networks, lambda harm=harm: subprocess.run(harm, check=True, timeout=60), whole)
    assert says_hello(victim[0], 80, (str(victim[1].ipv4), 80))


async def test_a_bridge_that_lost_all_addresses_has_the_one_that_it_gave_itself_again(
    networks: Controller, host: NetlinkSocket, victim: tuple[Sandbox, Endpoint]
) -> None:
    """Without it, no IPv6 neighbour is looked for when packets come from elsewhere."""
    bridge = rtnetlink.find_link(host, networks.get("bridge").bridge)
    assert bridge is not None

    def own() -> set[tuple[object, int]]:
        return {(each.address, each.prefix) for each in rtnetlink.addresses(host) if each.link == bridge.number}

    before = own()
    assert any(ip_address(str(address)).is_link_local for address, _ in before)
    harm = [rtnetlink.delete_address(bridge.number, *each) for each in before]  # type: ignore[arg-type]
    await repaired(networks, lambda: host.batch(harm), lambda: own() == before)


async def test_tables_that_another_program_flushed_come_back(
    networks: Controller, victim: tuple[Sandbox, Endpoint]
) -> None:
    def whole() -> bool:
        return says_hello(victim[0], 80, ("127.0.0.1", 7400))

    with tables(networks._kernel.alias) as other:
        await repaired(networks, other.remove_all, whole)


async def test_who_sent_datagrams_while_the_tables_were_away_is_let_through_again(networks: Controller) -> None:
    sandbox, _ = await place(networks, 1, publish=(PortRequest("udp", 53, None, 7420, 7420),))
    with (
        tables("another") as others,
        tables(networks._kernel.alias) as ours,
        open_inside(sandbox, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        others.restore([], [], [])  # so that the kernel goes on remembering who sends what to whom
        server.bind(("0.0.0.0", 53))
        server.setblocking(False)
        client.connect(("127.0.0.1", 7420))

        def arrives() -> bool:
            try:
                client.send(b"hello")
                return server.recv(10) == b"hello"
            except (BlockingIOError, ConnectionRefusedError):
                return False

        ours.remove_all()
        assert not arrives()
        await until(arrives)
        others.remove_all()


async def test_nothing_fails_because_another_program_removes_the_tables_in_that_moment(networks: Controller) -> None:
    await networks.ready()
    with tables(networks._kernel.alias) as other:
        for number in (1, 2, 3):  # one claims a warm sandbox, others are made from the start
            other.remove_all()
            publish = (PortRequest("tcp", 80, None, 7410 + number, 7410 + number),)
            sandbox, _ = await place(networks, number, publish=publish)
            assert says_hello(sandbox, 80, ("127.0.0.1", 7410 + number))
        other.remove_all()
        made = await networks.create(NetworkRequest(name="mine", subnets=(SubnetRequest("10.93.9.0/24"),)))
        sandbox, endpoint = await place(networks, 4, "mine")
        assert says_hello(sandbox, 80, (str(endpoint.ipv4), 80))
        other.remove_all()
        await networks.publish(sandbox, made.id, (PortRequest("tcp", 80, None, 7414, 7414),))
        assert says_hello(sandbox, 80, ("127.0.0.1", 7414))
        for number in (1, 2, 3, 4):
            await networks.release(f"{number:064x}")
        await networks.remove(made.id)


async def test_an_element_that_another_program_took_comes_back(
    networks: Controller, victim: tuple[Sandbox, Endpoint]
) -> None:
    from wherry.network.drivers.bridge import BridgeDriver  # noqa: PLC0415

    network = networks.get("bridge")
    rules = BridgeDriver().endpoint_rules(network, victim[1])

    def whole() -> bool:
        return says_hello(victim[0], 80, ("127.0.0.1", 7400))

    def harm() -> None:
        with tables(networks._kernel.alias) as other:
            other.remove([rules.anti_spoof], rules.mappings)

    await repaired(networks, harm, whole)


async def test_our_own_changes_ask_for_no_repair(networks: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm(networks)
    calls: list[object] = []
    assert networks._reconciler._monitor is not None
    monkeypatch.setattr(networks._reconciler._monitor, "_repair", lambda: calls.append(1) or asyncio.sleep(0))
    for number in range(6):
        sandbox, _ = await place(networks, number, publish=(PortRequest("tcp", 80), PortRequest("udp", 80)))
        network = await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),)))
        await networks.connect(sandbox, network, EndpointRequest())
        await networks.disconnect(sandbox, network.id)
        await networks.remove("my")
        await networks.release(sandbox.owner)
    await warm(networks)
    await asyncio.sleep(0.2)  # longer than a check waits for more events
    assert calls == []


# ------------------------------------------------------------------------------------------------- restart, kill -9

DAEMON = textwrap.dedent("""
    import asyncio, os, signal, sys
    from ipaddress import ip_network
    from pathlib import Path
    from wherry.network.model import *
    from wherry.network.model import SubnetRequest
    from wherry.network.controller import Controller

    async def main(root):
        settings = NetworkSettings(data_root=root, exec_root=root, bip="10.93.0.1/24", default_exec_root=False, warm=2)
        networks = Controller.open(settings)
        networks.start()
        await networks.ready()
        my = await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),)))
        gone = await networks.create(NetworkRequest(name="gone", subnets=(SubnetRequest("10.93.2.0/24"),)))
        for number, first in ((1, networks.get("bridge")), (2, networks.get("bridge"))):
            sandbox = await networks.take(f"{number:064x}", f"c{number}", first)
            ports = (PortRequest("tcp", 80, None, 7500 + number, 7500 + number),)
            await networks.connect(sandbox, first, EndpointRequest(publish=ports))
            await networks.connect(sandbox, my, EndpointRequest())
            if number == 1:
                os.write(1, f"{sandbox.path}\\n".encode())
                sys.stdin.readline()
        os.write(1, b"ready\\n")
        await asyncio.sleep(60)

    asyncio.run(main(Path(sys.argv[1])))
""")


class Daemon:
    """Networks in a process of their own, with two owners, of which one has a process."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, "-c", DAEMON, str(root)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        path = self._line()
        # Sleeps only when it is inside, so that the daemon is killed no sooner.
        inside = ["nsenter", f"--net={path}", sys.executable, "-c", "print(flush=True); input()"]
        self._container = subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._container.stdout is not None
        assert self._container.stdout.readline() == b"\n"
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    @property
    def container(self) -> int:
        """The process ID of who runs in the first sandbox."""
        return self._container.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        for process in (self._process, self._container):
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


async def test_after_a_kill_the_kernel_equals_the_tables_and_what_runs_lost_nothing(
    host: NetlinkSocket, tmp_path: Path
) -> None:
    daemon = Daemon(tmp_path)
    try:
        daemon.kill()
        await _reopen(host, tmp_path, daemon.container)
    finally:
        daemon.close()


async def test_who_ends_before_the_start_has_nothing_after_it(host: NetlinkSocket, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    try:
        daemon.kill()
        networks = Controller.open(told(tmp_path))
        networks.adopt(f"{1:064x}", "c1", daemon.container)
        await networks.release(f"{1:064x}")
        networks.start()
        await networks.ready()
        assert networks.endpoints_of(f"{1:064x}") == ()
        await warm(networks)
        await until(lambda: _interfaces(host) == _expected(networks))
        _, taken = await place(networks, 3, publish=(PortRequest("tcp", 80, None, 7501, 7501),))
        assert taken.published
        await networks.shutdown()
    finally:
        daemon.close()


async def _reopen(host: NetlinkSocket, root: Path, pid: int) -> None:
    """A new daemon after the kill; meanwhile another program has removed one network's bridge and left a stranger."""
    networks = Controller.open(told(root))
    gone, bridge = networks.get("gone").bridge, networks.get("bridge")
    mark = networks._kernel.alias
    host.batch([rtnetlink.delete_link(gone), rtnetlink.bridge("br-ffffffffffff")])
    host.request(rtnetlink.set_link("br-ffffffffffff", alias=mark))
    before = networks.endpoints_of(f"{1:064x}")
    assert len(before) == 2
    sandbox = networks.adopt(f"{1:064x}", "c1", pid)
    inside = Inside(sandbox)
    networks.start()
    await networks.ready()
    assert networks.endpoints_of(f"{1:064x}") == before
    assert networks.endpoints_of(f"{2:064x}") == (), "its process is gone"
    assert Inside(sandbox).addresses == inside.addresses
    assert {network.name for network in networks.list()} == {"bridge", "host", "none", "my", "gone"}
    assert says_hello(sandbox, 80, ("127.0.0.1", 7501))
    await until(lambda: _interfaces(host) == _expected(networks))
    again, taken = await place(networks, 3, publish=(PortRequest("tcp", 80, None, 7502, 7502),))
    assert taken.ipv4 not in {endpoint.ipv4 for endpoint in before}
    assert says_hello(again, 80, ("127.0.0.1", 7502))
    assert bridge == networks.get("bridge")
    await networks.shutdown()
    await until(lambda: {link.name for link in rtnetlink.links(host)} == {"lo"})


def _interfaces(host: NetlinkSocket) -> set[str]:
    return {link.name for link in rtnetlink.links(host)} - {"lo"}


def _expected(networks: Controller) -> set[str]:
    bridges = {network.bridge for network in networks.list() if network.bridge}
    return bridges | {endpoint.host_interface for endpoint in networks._store.endpoints.values()}


async def test_a_machine_that_lost_everything_has_its_networks_again(host: NetlinkSocket, tmp_path: Path) -> None:
    networks = Controller.open(told(tmp_path, warm=0))
    networks.start()
    await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),)))
    definitions = tuple(networks.list())
    await networks.shutdown()  # as a reboot: the kernel has nothing any more
    again = Controller.open(told(tmp_path, warm=0))
    assert tuple(again.list()) == definitions
    again.start()
    await again.ready()
    assert {"my", "bridge"} <= {n.name for n in again.list() if rtnetlink.find_link(host, n.bridge) is not None}
    await again.close()
    await again.close()
    with tables(again._kernel.alias) as firewall:
        firewall.remove_bridge(BridgeRules("none"))  # the tables are there, and stay when the daemon goes


async def test_a_network_whose_parent_is_gone_takes_no_other_with_it(
    host: NetlinkSocket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host.batch([rtnetlink.veth("wire0", "wire1"), rtnetlink.set_link("wire0", up=True)])
    networks = Controller.open(told(tmp_path, warm=0))
    networks.start()
    subnets = (SubnetRequest("10.93.4.0/24"),)
    await networks.create(NetworkRequest(name="lan", driver="macvlan", options={"parent": "wire0"}, subnets=subnets))
    await networks.close()
    host.request(rtnetlink.delete_link("wire0"))
    again = Controller.open(told(tmp_path, warm=0))
    again.start()
    await again.ready()
    assert "network lan cannot be made: invalid subinterface vlan name wire0" in caplog.text
    assert again.warning is None
    assert again.has_default
    bridge = again.get("bridge").bridge
    assert again._store.links[bridge] == "", "its removal would be noticed"
    sandbox, _ = await place(again, 1, publish=(PortRequest("tcp", 80, None, 7503, 7503),))
    assert says_hello(sandbox, 80, ("127.0.0.1", 7503))
    with pytest.raises((InvalidInput, SystemFault), match="wire0"):
        await place(again, 2, "lan")
    await again.shutdown()


# -------------------------------------------------------------------------------------------------------------- timing


async def test_a_network_with_many_members_is_no_slower_than_one_with_few(networks: Controller) -> None:
    network: Network = await networks.create(NetworkRequest(name="big", subnets=(SubnetRequest("10.93.64.0/18"),)))

    async def one(number: int) -> float:
        begin = time.perf_counter()
        sandbox = await networks.take(f"{number:064x}", f"c{number}", network)
        await networks.connect(sandbox, network, EndpointRequest())
        return time.perf_counter() - begin

    times = [await one(number) for number in range(200)]
    few, many = min(times[:20]), min(times[-20:])  # the least, because others are at work here, too
    begin = time.perf_counter()
    await asyncio.gather(*(networks.release(f"{number:064x}") for number in range(200)))
    left = time.perf_counter() - begin
    in_time(many < 3 * few, f"{few * 1000:.2f} ms at first, {many * 1000:.2f} ms with 200")
    in_time(left < sum(times), f"to leave takes longer than to come: {left:.2f} s, {sum(times):.2f} s")


@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=lambda one: one.__name__)
async def test_the_real_network_conforms(
    expectation: Callable[[Controller], Awaitable[None]], networks: Controller
) -> None:
    await expectation(networks)
