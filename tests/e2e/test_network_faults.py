"""Networks when something goes wrong: the daemon dies, others meddle, the kernel cannot; and the way out."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import docker as docker_py
import pytest

from quiet import in_time
from support import needs
from support.busybox import import_busybox
from support.daemons import Daemon
from support.network_objects import mark
from support.networks import address, docker, fetch, fetch_inside, inspect, serve

pytestmark = [needs.need("docker", "root")]

PATIENCE = 60
TRIES = 8
"""What takes no longer than a second does so in one of these at least, also on a machine that is busy with others."""


@pytest.fixture
def lonely(mortal: Daemon) -> Daemon:
    """A daemon that others do not use meanwhile, with busybox."""
    return mortal


def eventually(condition: Callable[[], object], seconds: float) -> bool:
    """Whether something becomes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except (OSError, AssertionError):
            pass
        time.sleep(0.02)
    return False


def test_containers_keep_their_network_when_the_daemon_is_killed(lonely: Daemon) -> None:
    docker(lonely, "network", "create", "--subnet", "10.215.1.0/24", "mine")
    serve(lonely, "web", "--network", "mine", "--ip", "10.215.1.9", "-p", "28140:80")
    docker(lonely, "run", "-d", "--name", "client", "--network", "mine", "busybox", "sleep", "1000")
    before = inspect(lonely, "web")["NetworkSettings"]
    lonely.kill9()
    assert fetch("127.0.0.1", 28140) == "web"
    lonely.start()
    assert inspect(lonely, "web")["NetworkSettings"] == before
    assert fetch_inside(lonely, "client", "web") == "web"
    refused = lonely.docker("run", "--rm", "-p", "28140:80", "busybox", "true")
    assert "port is already allocated" in refused.stderr
    docker(lonely, "rm", "-f", "web")
    serve(lonely, "again", "--network", "mine", "--ip", "10.215.1.9", "-p", "28140:80")
    assert fetch("127.0.0.1", 28140) == "again"


def test_a_container_that_ends_while_the_daemon_is_away_gives_its_places_back(lonely: Daemon) -> None:
    serve(lonely, "web", "-p", "28141:80")
    pid = inspect(lonely, "web")["State"]["Pid"]
    lonely.kill9()
    subprocess.run(["kill", "-9", str(pid)], check=True)
    lonely.start()
    assert eventually(lambda: inspect(lonely, "web")["State"]["Status"] == "exited", 60)
    serve(lonely, "next", "-p", "28141:80")
    assert fetch("127.0.0.1", 28141) == "next"


def put_back(daemon: Daemon, name: str, networks: dict[str, Any]) -> None:
    """Have a container's definition in the database of a stopped daemon name other networks."""
    with closing(sqlite3.connect(daemon.data_root / "wherry.db")) as database, database:
        (text,) = database.execute("SELECT definition FROM containers WHERE name = ?", (name,)).fetchone()
        changed = json.dumps(json.loads(text) | {"networks": networks}).encode()
        database.execute("UPDATE containers SET definition = ? WHERE name = ?", (changed, name))


def definition(daemon: Daemon, name: str) -> dict[str, Any]:
    """The networks that it names."""
    with closing(sqlite3.connect(daemon.data_root / "wherry.db")) as database:
        (text,) = database.execute("SELECT definition FROM containers WHERE name = ?", (name,)).fetchone()
    return dict(json.loads(text)["networks"])


def test_a_change_of_networks_that_a_kill_cut_short_leaves_nothing_behind(lonely: Daemon) -> None:
    """The daemon writes two tables: one says where a container is, the other where it was told to be."""
    for name in ("first", "second"):
        docker(lonely, "network", "create", name)
    serve(lonely, "web", "--network", "second", "-p", "28143:80")
    before = definition(lonely, "web")
    docker(lonely, "network", "connect", "first", "web")  # which takes the default route, and the port
    both = definition(lonely, "web")
    lonely.kill9()
    put_back(lonely, "web", before)  # as if killed before this was written
    lonely.start()

    def is_whole() -> bool:
        text = docker(lonely, "exec", "web", "sh", "-c", "ip -o link; ip route; cat /etc/hosts")
        mine = address(lonely, "web", "second")
        return "eth1" not in text and "default via" in text and mine in text and fetch("127.0.0.1", 28143) == "web"

    assert eventually(is_whole, 60)
    assert list(inspect(lonely, "web")["NetworkSettings"]["Networks"]) == ["second"]
    assert docker(lonely, "network", "inspect", "first", "-f", "{{len .Containers}}") == "0"
    lonely.kill9()
    put_back(lonely, "web", both)  # as if killed while it was taken off the other
    lonely.start()
    assert eventually(is_whole, 60)
    assert list(definition(lonely, "web")) == ["second"]
    docker(lonely, "network", "connect", "first", "web")
    assert fetch("127.0.0.1", 28143) == "web"


def seconds_until(condition: Callable[[], object], at_most: float) -> float:
    """How long it takes until something becomes true; infinite when that takes too long."""
    began = time.monotonic()
    return time.monotonic() - began if eventually(condition, at_most) else float("inf")


def port_of(daemon: Daemon, name: str) -> str:
    """The host's end of a container's veth pair."""
    index = int(docker(daemon, "exec", name, "cat", "/sys/class/net/eth0/iflink"))
    return socket.if_indextoname(index)


@needs.need("nft", "ip")
def test_what_others_remove_is_there_again_within_a_second(lonely: Daemon) -> None:
    serve(lonely, "web", "-p", "28142:80")
    bridge = docker(lonely, "network", "inspect", "bridge", "-f", '{{index .Options "com.docker.network.bridge.name"}}')
    table = mark(lonely.exec_root)
    late = []
    for meddle in (
        lambda: ["nft", "delete", "table", "inet", table],
        lambda: ["nft", "flush", "table", "inet", table],
        lambda: ["nft", "flush", "map", "inet", table, "ports4"],
        lambda: ["ip", "link", "delete", bridge],
        lambda: ["ip", "link", "set", bridge, "down"],
        lambda: ["ip", "addr", "flush", "dev", bridge],
        lambda: ["ip", "link", "delete", port_of(lonely, "web")],
        lambda: ["ip", "link", "set", port_of(lonely, "web"), "nomaster"],
    ):
        taken = []
        while len(taken) < TRIES and not any(seconds < 1 for seconds in taken):
            command = meddle()
            subprocess.run(command, check=command[0] != "nft")  # since Linux 6.9 nobody may change our tables at all
            taken.append(seconds_until(lambda: fetch("127.0.0.1", 28142, 0.5) == "web", PATIENCE))
            assert taken[-1] < PATIENCE, f"{' '.join(command)}: {taken}"
        late += [f"{' '.join(command)}: {taken}"] if min(taken) >= 1 else []
    in_time(not late, "; ".join(late))


@needs.need("nft")
def test_guards_against_spoofing_are_there_again_within_a_second(lonely: Daemon) -> None:
    docker(lonely, "run", "-d", "--name", "still", "busybox", "sleep", "1000")
    owners = ["nft", "list", "set", "bridge", mark(lonely.exec_root), "owners4"]
    own = address(lonely, "still")

    def is_guarded() -> bool:
        return own in subprocess.run(owners, capture_output=True, text=True, check=False).stdout

    assert is_guarded()
    taken = []
    while len(taken) < TRIES and not any(seconds < 1 for seconds in taken):
        subprocess.run(["nft", "delete", "table", "bridge", mark(lonely.exec_root)], check=False)
        taken.append(seconds_until(is_guarded, PATIENCE))
        assert taken[-1] < PATIENCE, taken
    in_time(min(taken) < 1, f"guarded again after {taken}")


def test_a_restart_policy_gets_a_network_every_time(lonely: Daemon) -> None:
    flags = ("--restart", "on-failure:2", "--name", "again")
    docker(lonely, "run", "-d", *flags, "busybox", "sh", "-c", "ip route | grep -q default && echo there; exit 1")
    assert eventually(lambda: inspect(lonely, "again")["RestartCount"] == 2, 60)
    assert eventually(lambda: docker(lonely, "logs", "again").split() == ["there"] * 3, 60)


def test_without_a_default_bridge_containers_have_no_network() -> None:
    daemon = Daemon("--bridge", "none")
    try:
        daemon.start()
        assert "bridge" not in docker(daemon, "network", "ls", "--format", "{{.Name}}").split()
        docker(daemon, "run", "-d", "--name", "still", "host", "sleep", "1000")
        assert inspect(daemon, "still")["HostConfig"]["NetworkMode"] == "none"
        daemon.remove_containers()
    finally:
        daemon.shut_down()


def test_a_link_opens_what_the_other_serves_where_containers_are_kept_apart(busybox_archive: bytes) -> None:
    """As with dockerd; but that what follows a restart, of the linked one and of the daemon, is ours."""
    daemon = Daemon("--icc=false")
    try:
        daemon.start()
        import_busybox(daemon, busybox_archive)
        serve(daemon, "web", "--expose", "80")
        docker(daemon, "exec", "-d", "web", "httpd", "-p", "81", "-h", "/tmp")
        docker(daemon, "run", "-d", "--name", "friend", "--link", "web:site", "busybox", "sleep", "1000")
        docker(daemon, "run", "-d", "--name", "stranger", "busybox", "sleep", "1000")

        closed = (("friend", 81), ("stranger", 80))

        def is_as_linked() -> bool:
            where = address(daemon, "web")
            tries = [daemon.docker("exec", who, "nc", "-w", "1", where, str(port)) for who, port in closed]
            return fetch_inside(daemon, "friend", where) == "web" and all(tried.returncode for tried in tries)

        assert eventually(is_as_linked, 60)
        where = address(daemon, "web")
        traced = [daemon.cli("network", "trace", who, where, str(port)) for who, port in (("friend", 80), *closed)]
        assert [each.returncode for each in traced] == [0, 1, 1]
        daemon.kill9()
        daemon.start()
        assert eventually(is_as_linked, 60)
        docker(daemon, "restart", "-t", "0", "web")
        docker(daemon, "exec", "-d", "web", "httpd", "-p", "81", "-h", "/tmp")
        assert eventually(is_as_linked, 60)
        for move in ("disconnect", "connect"):
            docker(daemon, "network", move, "bridge", "friend")
        assert eventually(is_as_linked, 60)
        assert has_passages(daemon)
        assert "SITE_PORT_80_TCP" in docker(daemon, "exec", "friend", "env")
        docker(daemon, "rm", "--link", "friend/site")
        assert not has_passages(daemon), "who has no link any more is a stranger"
        assert "SITE_" not in docker(daemon, "exec", "friend", "env")
        where = address(daemon, "web")
        assert daemon.docker("exec", "friend", "nc", "-w", "1", where, "80").returncode
        assert daemon.cli("network", "trace", "friend", where, "80").returncode == 1
        docker(daemon, "run", "-d", "--name", "other", "--link", "web:site", "busybox", "sleep", "1000")
        assert has_passages(daemon)
        docker(daemon, "rm", "-f", "other")
        assert eventually(lambda: not has_passages(daemon), PATIENCE)
        daemon.remove_containers()
    finally:
        daemon.shut_down()


def has_passages(daemon: Daemon) -> bool:
    """Whether ports are open to somebody where containers are kept apart."""
    sets = (("bridge", "linked"), ("bridge", "linked_ports"), ("inet", "linked4"))
    commands = [["nft", "list", "set", table, mark(daemon.exec_root), name] for table, name in sets]
    found = [subprocess.run(command, capture_output=True, text=True, check=False).stdout for command in commands]
    assert all(name in text for (_, name), text in zip(sets, found, strict=True))
    return any("elements" in text for text in found)


def test_the_daemons_options_shape_the_default_bridge() -> None:
    daemon = Daemon(
        "--bip", "10.216.0.1/24", "--mtu", "1300", "--dns", "192.0.2.1", "--host-gateway-ip", "192.0.2.7",
        "--default-address-pool", "base=10.217.0.0/16,size=26",
    )  # fmt: skip
    try:
        daemon.start()
        flags = ("run", "--rm", "--add-host", "gw:host-gateway", "host", "sh", "-c")
        done = docker(daemon, *flags, "cat /sys/class/net/eth0/mtu /etc/hosts /etc/resolv.conf")
        assert done.startswith("1300\n")
        assert "192.0.2.7\tgw" in done
        assert "nameserver 192.0.2.1" in done
        assert "10.216.0." in done
        docker(daemon, "network", "create", "small")
        assert ".0/26" in docker(daemon, "network", "inspect", "small", "-f", "{{(index .IPAM.Config 0).Subnet}}")
        pools = daemon.request("GET", "/info").json["DefaultAddressPools"]
        assert pools == [{"Base": "10.217.0.0/16", "Size": 26}]
    finally:
        daemon.shut_down()


def test_docker_py_makes_joins_and_leaves_networks(daemon: Daemon, busybox: str, clean: None) -> None:
    client = docker_py.DockerClient(base_url=daemon.host)
    pool = docker_py.types.IPAMPool(subnet="10.218.0.0/24", gateway="10.218.0.1")
    net = client.networks.create("pynet", driver="bridge", ipam=docker_py.types.IPAMConfig(pool_configs=[pool]))
    try:
        container = client.containers.run(busybox, ["sleep", "1000"], detach=True, ports={"80/tcp": None}, name="py")
        net.connect(container, ipv4_address="10.218.0.77", aliases=["snake"])
        net.reload()
        assert [one.name for one in net.containers] == ["py"]
        assert address(daemon, "py", "pynet") == "10.218.0.77"
        container.reload()
        assert int(container.ports["80/tcp"][0]["HostPort"]) > 1024
        net.disconnect(container)
        net.reload()
        assert net.containers == []
        container.remove(force=True)
    finally:
        net.remove()
        client.close()


@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt's mirrors")
def test_the_outside_is_reached_from_inside(daemon: Daemon, clean: None, tmp_path: Path) -> None:
    sources = subprocess.run(["apt-get", "--print-uris", "update"], capture_output=True, text=True, check=False)
    if sources.returncode != 0 or not sources.stdout.strip():
        pytest.skip("apt has no sources here")
    mounts = [word for path in ("/etc/apt", "/etc/ssl") for word in ("-v", f"{path}:{path}:ro")]
    proxies = [word for name in ("http_proxy", "https_proxy", "no_proxy") for word in ("-e", name)]
    done = daemon.docker("run", "--rm", *mounts, *proxies, "host", "sh", "-c", apt_update("/tmp"), timeout=120)
    if "Fetched" not in done.stdout:
        ours = subprocess.run(
            ["sh", "-c", apt_update(tmp_path)], capture_output=True, text=True, check=False, timeout=120
        )
        if "Fetched" not in ours.stdout:
            pytest.skip("apt's mirrors do not answer this machine itself either")
    assert "Fetched" in done.stdout, done.stdout + done.stderr


def apt_update(where: object) -> str:
    """A command that fetches apt's lists into a directory, and gives up soon where nobody answers."""
    options = (
        f"-o Dir::State::lists={where}/lists -o Dir::Cache={where}/cache -o APT::Sandbox::User=root "
        "-o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20"
    )
    return f"mkdir -p {where}/lists/partial {where}/cache/archives/partial; apt-get {options} update 2>&1 | tail -5"
