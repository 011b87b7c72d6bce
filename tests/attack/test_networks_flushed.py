"""The firewall is flushed under the engine: containers are not more open after that than before."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.busybox import import_busybox
from support.lan import LAN, UPLINK, VPN, NeighbouredDaemon, Street, inside, knock, neighboured_daemon, passes
from support.needs import need
from support.network_harness import Place
from support.networks import address, serve

pytestmark = need("root", "docker", "busybox", "overlay", "namespaces", "ip", "nft")

KEEPS_TABLES = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 9)
since_6_9 = pytest.mark.skipif(not KEEPS_TABLES, reason="Linux 6.9 is the first that lets tables be owned and outlive")


@pytest.fixture
def host(busybox_archive: bytes) -> Iterator[NeighbouredDaemon]:
    with neighboured_daemon() as daemon:
        import_busybox(daemon, busybox_archive)
        yield daemon


def open_ways(street: Street, web: Place, where: str) -> set[str]:
    """How a container is reached that listens at port 80, and what else the host lets pass."""
    ways = {
        "published": knock(street.lan, UPLINK, 8080) == "web",
        "port": knock(street.lan, where, 80) is not None,
        "datagram": passes(street.lan, web, where),
        "datagram from the vpn": passes(street.vpn, web, where),
        "lan to vpn": passes(street.lan, street.vpn, VPN),
        "vpn to lan": passes(street.vpn, street.lan, LAN),
    }
    return {way for way, is_open in ways.items() if is_open}


@since_6_9
def test_a_flushed_ruleset_opens_nothing_while_the_daemon_lives_and_while_it_is_dead(host: NeighbouredDaemon) -> None:
    serve(host, "web", "-p", "8080:80")
    street, where = host.street, address(host, "web")
    with inside(host, "web") as web:
        assert open_ways(street, web, where) == {"published"}
        assert street.nft("flush", "ruleset").returncode == 0
        assert open_ways(street, web, where) == {"published"}
        host.kill9()
        assert street.nft("flush", "ruleset").returncode == 0
        assert open_ways(street, web, where) == {"published"}
        host.start()
        serve(host, "other", "-p", "8081:80")  # the tables are this daemon's as they were the other's
        assert knock(street.lan, UPLINK, 8081, 20) == "other"
        assert open_ways(street, web, where) == {"published"}


def holds_the_firewall(pid: int) -> bool:
    """Whether a process has a socket by which nf_tables are spoken to (family 12 of netlink)."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[-1]}]" for row in rows if row[1] == "12"}
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(each))
    return bool(sockets & found)


def has_another_keeper(host: NeighbouredDaemon, former: int) -> bool:
    """Whether there is a new keeper, and it was given what the former one had."""
    try:
        return host.keeper_pid != former and holds_the_firewall(host.keeper_pid)
    except (OSError, ValueError):  # it is just being started
        return False


@since_6_9
def test_the_firewall_outlives_the_keeper_and_then_the_daemon(host: NeighbouredDaemon) -> None:
    serve(host, "web", "-p", "8080:80")
    street, where, keeper = host.street, address(host, "web"), host.keeper_pid
    with inside(host, "web") as web:
        assert holds_the_firewall(keeper)
        os.kill(keeper, signal.SIGKILL)
        assert street.nft("flush", "ruleset").returncode == 0
        assert open_ways(street, web, where) == {"published"}
        deadline = time.monotonic() + 60
        while not has_another_keeper(host, keeper):
            assert time.monotonic() < deadline, "the new keeper is not told"
            time.sleep(0.05)
        host.kill9()
        assert street.nft("flush", "ruleset").returncode == 0
        assert open_ways(street, web, where) == {"published"}
        os.kill(host.keeper_pid, signal.SIGKILL)
        assert open_ways(street, web, where) == {"published"}, "nobody is there, and nobody flushed it"
        host.start()
        assert open_ways(street, web, where) == {"published"}
