"""A host that was no router: wherry has it forward for containers, and for nobody else.

::

    left 192.0.2.2 --- left 192.0.2.1 [ host ] right 198.51.100.1 --- right 198.51.100.2
                                      wherry0 10.93.0.1 --- containers

Left and right have routes to each other through the host, and to the containers, as curious neighbours would.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest

from support.needs import need
from support.network_harness import PATIENCE, Place, new_host, reaches
from wherry.linux import nftables
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.network.controller import Controller
from wherry.network.model import EndpointRequest, NetworkRequest, NetworkSettings, PortRequest, SubnetRequest

pytestmark = need("root", "namespaces")

SIDES = {"left": ("192.0.2", "2001:db8:1:"), "right": ("198.51.100", "2001:db8:2:")}
PORT = 5000
FAMILIES = (4, 6)
SWITCHES = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}


class Crossing:
    """The host, in which the test's thread is, with its neighbours; no packet passes from one to the other."""

    def __init__(self) -> None:
        self.host = Place("host", os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        self.places = {"host": self.host}
        self.host.ip("link set lo up")
        write("ipv6/conf/default/accept_dad", "0")
        for name in SIDES:
            self.neighbour(name)
        for side in SIDES:
            others = [prefixes for other, prefixes in SIDES.items() if other != side]
            lines = [f"route add {four}.0/24 via {address(side, 4, 1)}" for four, _ in others]
            lines += [f"route add {six}:/64 via {address(side, 6, 1)}" for _, six in others]
            self.places[side].ip(*lines, f"route add 10.93.0.0/16 via {address(side, 4, 1)}")
        for setting in SWITCHES.values():  # a new namespace has some of its settings from the machine
            write(setting, "0")

    def neighbour(self, name: str) -> None:
        """Somebody on a link of his own."""
        place = self.places[name] = Place(name)
        self.host.ip(
            f"link add {name} type veth peer name eth0 netns {place.path}",
            f"addr add {address(name, 4, 1)}/24 dev {name}",
            f"addr add {address(name, 6, 1)}/64 dev {name} nodad",
            f"link set {name} up",
        )
        place.ip(
            "link set lo up",
            f"addr add {address(name, 4)}/24 dev eth0",
            f"addr add {address(name, 6)}/64 dev eth0 nodad",
            "link set eth0 up",
        )

    def guests(self, bridge: str, *names: str, number: int) -> None:
        """A bridge as another program makes it, with machines behind it; all others on the host route to them."""
        subnet = f"10.94.{number}"
        self.host.ip(f"link add {bridge} type bridge", f"addr add {subnet}.1/24 dev {bridge}", f"link set {bridge} up")
        for place, neighbour in ((self.places[side], address(side, 4, 1)) for side in SIDES):
            place.ip(f"route add {subnet}.0/24 via {neighbour}")
        for last, name in enumerate(names, 2):
            place = self.places[name] = Place(name)
            self.host.ip(
                f"link add p{name} type veth peer name eth0 netns {place.path}",
                f"link set p{name} master {bridge} up",
            )
            place.ip(
                "link set lo up",
                f"addr add {subnet}.{last}/24 dev eth0",
                "link set eth0 up",
                f"route add default via {subnet}.1",
            )

    def passes(self, sender: str, receiver: str, to: str) -> bool:
        """Whether a question gets there and the answer back."""
        return reaches(self.places[sender], self.places[receiver], to, PORT) is not None

    def crossings(self) -> set[tuple[str, int]]:
        """Whose packets reach the other side, by which family."""
        with ExitStack() as opened:
            waiting: dict[socket.socket, tuple[str, int]] = {}
            for sender, receiver in (("left", "right"), ("right", "left")):
                for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
                    server, client = (
                        opened.enter_context(self.places[name].socket(family, socket.SOCK_DGRAM))
                        for name in (receiver, sender)
                    )
                    server.bind((address(receiver, version), PORT))
                    client.sendto(b"question", (address(receiver, version), PORT))
                    waiting[server] = (sender, version)
            return set(_arrived(waiting, PATIENCE))

    def close(self) -> None:
        for place in self.places.values():
            os.close(place.fd)


def _arrived(waiting: dict[socket.socket, tuple[str, int]], patience: float) -> Iterator[tuple[str, int]]:
    while waiting:
        readable, _, _ = select.select(list(waiting), [], [], patience)
        if not readable:
            return
        for each in readable:
            yield waiting.pop(each)


EVERYBODY = {(side, version) for side in SIDES for version in FAMILIES}


def address(side: str, version: int, number: int = 2) -> str:
    four, six = SIDES[side]
    return f"{four}.{number}" if version == 4 else f"{six}:{number}"


def write(setting: str, value: str) -> None:
    Path("/proc/sys/net", setting).write_text(value)


def read(setting: str) -> str:
    return Path("/proc/sys/net", setting).read_text().strip()


def switches() -> dict[int, str]:
    return {version: read(setting) for version, setting in SWITCHES.items()}


OFF, ON = {4: "0", 6: "0"}, {4: "1", 6: "1"}


@pytest.fixture
def crossing() -> Iterator[Crossing]:
    with new_host():
        made = Crossing()
        try:
            # IPv6 neighbours answer only some time after their links are up.
            for side in SIDES:
                assert any(made.passes("host", side, address(side, 6)) for _ in range(20))
            yield made
        finally:
            made.close()


def told(root: Path, **more: object) -> NetworkSettings:
    given: dict[str, object] = {"bip": "10.93.0.1/24", "bip6": "fd00:93::1/64", "warm": 0, "default_exec_root": False}
    return NetworkSettings(data_root=root, exec_root=root, **(given | more))  # type: ignore[arg-type]


async def start(root: Path, **more: object) -> Controller:
    networks = Controller.open(told(root, **more))
    networks.start()
    await networks.ready()
    assert networks.warning is None
    return networks


async def container(crossing: Crossing, networks: Controller, network: str = "bridge") -> None:
    """Somebody who is in `crossing.places` as ``container``, with port 80 of the host leading to him."""
    found = networks.get(network)
    sandbox = await networks.take("1" * 64, "c1", found)
    await networks.connect(
        sandbox, found, EndpointRequest(publish=(PortRequest("udp", PORT, ip_address("0.0.0.0"), 80, 80),))
    )
    crossing.places["container"] = Place("container", os.dup(sandbox.fileno()))


def own_tables(networks: Controller) -> set[str]:
    with NetlinkSocket(Family.NETFILTER) as conversation:
        return {name for _, name in nftables.tables(conversation) if name == networks._kernel.alias}


async def test_containers_reach_outside_and_are_reached_and_nobody_else_passes(
    crossing: Crossing, tmp_path: Path
) -> None:
    assert crossing.crossings() == set()
    networks = await start(tmp_path)
    await container(crossing, networks)
    assert switches() == ON
    for side in SIDES:
        for version in FAMILIES:
            assert crossing.passes("container", side, address(side, version))
        assert reaches(crossing.places[side], crossing.places["container"], address(side, 4, 1), 80, at=PORT)
    assert crossing.crossings() == set()
    await networks.shutdown()
    assert switches() == OFF
    assert own_tables(networks) == set()


async def test_a_link_that_comes_later_is_closed_too(crossing: Crossing, tmp_path: Path) -> None:
    """A VPN that is dialled while containers run; what leaves by it is looked at on its wire."""
    networks = await start(tmp_path)
    crossing.host.ip(
        "link add vpn0 link right type macvlan",
        "addr add 203.0.113.1/24 dev vpn0",
        "link set vpn0 up",
        "neigh add 203.0.113.7 lladdr 02:00:00:00:00:07 dev vpn0",
    )
    crossing.places["left"].ip(f"route add 203.0.113.0/24 via {address('left', 4, 1)}")
    await container(crossing, networks)
    with crossing.host.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300) as wire:
        wire.bind(("vpn0", 0))
        for name in ("left", "container"):
            with crossing.places[name].socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(f"from {name}".encode(), ("203.0.113.7", 9))
        seen = wire.recv(2000)
        while not seen.endswith((b"from left", b"from container")):
            seen = wire.recv(2000)
        assert seen.endswith(b"from container"), "the neighbour's packet left by the VPN"
    await networks.shutdown()


async def test_another_engines_bridge_that_comes_later_works(crossing: Crossing, tmp_path: Path) -> None:
    networks = await start(tmp_path)
    crossing.guests("docker0", "guest", number=1)
    assert crossing.passes("guest", "left", address("left", 4))
    assert crossing.passes("left", "guest", "10.94.1.2")
    assert crossing.crossings() == set()
    await networks.shutdown()


async def test_a_bridge_that_was_there_stays_as_it_was(crossing: Crossing, tmp_path: Path) -> None:
    """Its machines reach one another, also where br_netfilter sends their frames through the host's rules."""
    crossing.guests("br0", "one", "two", number=1)
    assert crossing.passes("one", "two", "10.94.1.3")
    networks = await start(tmp_path)
    assert crossing.passes("one", "two", "10.94.1.3")
    assert not crossing.passes("one", "left", address("left", 4))
    assert not crossing.passes("left", "one", "10.94.1.2")
    await networks.shutdown()


async def test_a_host_that_was_a_router_stays_one(crossing: Crossing, tmp_path: Path) -> None:
    for setting in SWITCHES.values():
        write(setting, "1")
    assert crossing.crossings() == EVERYBODY
    networks = await start(tmp_path)
    assert crossing.crossings() == EVERYBODY
    await networks.shutdown()
    assert switches() == ON
    assert crossing.crossings() == EVERYBODY


async def test_a_family_is_closed_when_it_was_off_whatever_the_other_was(crossing: Crossing, tmp_path: Path) -> None:
    write(SWITCHES[6], "1")
    networks = await start(tmp_path)
    assert crossing.crossings() == {("left", 6), ("right", 6)}
    await networks.shutdown()
    assert switches() == {4: "0", 6: "1"}


async def test_a_link_that_forwarded_by_itself_goes_on_and_gets_its_setting_back(
    crossing: Crossing, tmp_path: Path
) -> None:
    setting = "ipv4/conf/left/forwarding"
    write(setting, "1")
    assert switches() == OFF
    networks = await start(tmp_path)
    left, right = (crossing.places[side].socket(socket.AF_INET, socket.SOCK_DGRAM) for side in SIDES)
    with left, right:
        right.bind(("", PORT))
        left.bind(("", PORT))
        left.sendto(b"by the link that forwards", (address("right", 4), PORT))
        assert right.recv(100)
    assert not crossing.passes("right", "left", address("left", 4))
    await networks.shutdown()
    assert switches() == OFF
    assert read(setting) == "1"


async def test_who_wants_a_router_says_so(crossing: Crossing, tmp_path: Path) -> None:
    networks = await start(tmp_path, ip_forward_no_drop=True)
    assert crossing.crossings() == EVERYBODY
    await networks.close()
    networks = await start(tmp_path)
    assert crossing.crossings() == set(), "the daemon was told otherwise, and remembers that it was itself"
    await networks.shutdown()
    assert switches() == OFF


async def test_a_daemon_that_may_not_switch_forwarding_on_leaves_it(crossing: Crossing, tmp_path: Path) -> None:
    networks = await start(tmp_path, ip_forward=False)
    await networks.create(NetworkRequest(name="my", subnets=(SubnetRequest("10.93.1.0/24"),)))
    assert switches() == OFF
    await networks.shutdown()


async def test_the_first_network_that_needs_it_has_forwarding_switched_on(crossing: Crossing, tmp_path: Path) -> None:
    networks = await start(tmp_path, bridge="none", bip="", bip6="")
    assert switches() == OFF
    await networks.create(NetworkRequest(name="four", ipv6=False, subnets=(SubnetRequest("10.93.1.0/24"),)))
    assert switches() == {4: "1", 6: "0"}
    both = (SubnetRequest("10.93.2.0/24"), SubnetRequest("fd00:93:2::/64"))
    await networks.create(NetworkRequest(name="both", subnets=both))
    assert switches() == ON
    await container(crossing, networks, "both")
    for version in FAMILIES:
        assert crossing.passes("container", "left", address("left", version))
    assert crossing.crossings() == set()
    await networks.shutdown()
    assert switches() == OFF


async def test_what_was_off_is_remembered_by_the_next_daemon(crossing: Crossing, tmp_path: Path) -> None:
    networks = await start(tmp_path)
    await networks.close()
    assert crossing.crossings() == set(), "while no daemon runs"
    crossing.guests("docker0", "guest", number=1)
    networks = await start(tmp_path)
    assert crossing.crossings() == set()
    assert crossing.passes("guest", "left", address("left", 4)), "it was not there when forwarding was switched on"
    await networks.close()
    crossing.host.ip("link del docker0", "link del pguest")
    networks = await start(tmp_path)
    await networks.shutdown()
    assert switches() == OFF


async def test_what_another_boot_or_namespace_was_told_is_forgotten(crossing: Crossing, tmp_path: Path) -> None:
    networks = await start(tmp_path)
    await networks.close()
    with new_host():
        for setting in SWITCHES.values():
            write(setting, "1")
        networks = await start(tmp_path)
        assert networks._kernel.firewall.forward_blocks == ()
        await networks.shutdown()
        assert switches() == ON


@need("nft")
@pytest.mark.parametrize("harm", ["flush ruleset", "flush set inet {} closed", "flush chain inet {} between_others"])
async def test_who_opens_it_by_flushing_the_firewall_finds_it_closed_again(
    crossing: Crossing, tmp_path: Path, harm: str
) -> None:
    networks = await start(tmp_path)
    line = harm.format(networks._kernel.alias)
    await asyncio.to_thread(crossing.host.run, lambda: subprocess.run(["nft", line], check=True, timeout=60))
    end = time.monotonic() + 30
    while await asyncio.to_thread(crossing.crossings):
        assert time.monotonic() < end, "it stays open"
    await networks.shutdown()


async def test_forwarding_stays_on_for_another_engine_and_closed_for_others(
    crossing: Crossing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    networks = await start(tmp_path)
    crossing.guests("docker0", "guest", number=1)
    (told,) = await networks.shutdown()
    assert "forwarding stays on, because other programs have made docker0 since" in told
    assert f"table inet {networks._kernel.alias} stays" in told
    assert told in caplog.text
    assert switches() == ON
    assert crossing.passes("guest", "left", address("left", 4))
    assert crossing.crossings() == set()
    crossing.host.ip("link del docker0", "link del pguest")
    networks = await start(tmp_path)
    assert await networks.shutdown() == []
    assert switches() == OFF
    assert own_tables(networks) == set()


async def test_routers_are_listened_to_as_before(crossing: Crossing, tmp_path: Path) -> None:
    def seen() -> dict[str, str]:
        return {side: read(f"ipv6/conf/{side}/accept_ra") for side in SIDES}

    write("ipv6/conf/right/accept_ra", "0")
    networks = await start(tmp_path)
    assert seen() == {"left": "2", "right": "0"}
    await networks.shutdown()
    assert seen() == {"left": "1", "right": "0"}


# ------------------------------------------------------------------------------------------------------ killed between

MORTAL = textwrap.dedent("""
    import asyncio, os, signal, sys
    from pathlib import Path
    from wherry.network.firewall import firewall
    from wherry.network.kernel_state import ip_forward
    from wherry.network.kernel_state import sync
    from wherry.network import database
    from wherry.network.model import NetworkSettings
    from wherry.network.controller import Controller

    def die_at(module, name, when, count):
        function, left = getattr(module, name), [count]
        def mortal(*arguments, **named):
            left[0] -= 1
            if when == "before" and not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            found = function(*arguments, **named)
            if when == "after" and not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return found
        setattr(module, name, mortal)

    async def main(root, where, name, when, count):
        settings = NetworkSettings(
            data_root=root, exec_root=root, bip="10.93.0.1/24", bip6="fd00:93::1/64", warm=0, default_exec_root=False
        )
        networks = Controller.open(settings)
        if name == "remove_all":
            networks.start()
            await networks.ready()
        owners = {
            "NetworkDatabase": database.NetworkDatabase,
            "Firewall": firewall.Firewall,
            "ip_forward": ip_forward,
            "sync": sync,
        }
        die_at(owners[where], name, when, count)
        networks.start()
        await networks.ready()
        await networks.shutdown()

    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])))
""")


@pytest.mark.parametrize(
    "death",
    [
        ("NetworkDatabase", "set_value", "before", 1),
        ("NetworkDatabase", "set_value", "after", 1),
        ("Firewall", "restore", "after", 1),
        ("ip_forward", "write_sysctl", "before", 1),
        ("ip_forward", "write_sysctl", "after", 1),
        ("ip_forward", "write_sysctl", "after", 3),
        ("sync", "switch_off", "after", 1),
        ("Firewall", "remove_all", "after", 1),
        ("NetworkDatabase", "delete_value", "before", 1),
    ],
)
async def test_whenever_it_is_killed_nobody_passes_and_the_next_daemon_puts_all_back(
    crossing: Crossing, tmp_path: Path, death: tuple[str, str, str, int]
) -> None:
    """`death` is where, in which function, before or after it, and at which of its calls."""
    command = [sys.executable, "-c", MORTAL, str(tmp_path), *map(str, death)]
    done = await asyncio.to_thread(
        crossing.host.run, lambda: subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert crossing.crossings() == set()
    networks = await start(tmp_path)
    assert switches() == ON
    assert crossing.crossings() == set()
    await networks.shutdown()
    assert switches() == OFF
    assert own_tables(networks) == set()
