"""Published ports: from the host, from localhost, from other containers, in ranges and at random, and in conflict."""

from __future__ import annotations

import json
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any

import pytest

from support import needs
from support.daemons import Daemon
from support.networks import address, docker, fetch, fetch_inside, host_address, inspect, network, reaches, serve
from wherry.linux.process import CLONE, setns

pytestmark = [needs.need("docker", "root"), pytest.mark.usefixtures("busybox", "clean")]


def bindings(daemon: Daemon, name: str, port: str = "80/tcp") -> list[tuple[str, int]]:
    """Where a port of a container is published."""
    found = inspect(daemon, name)["NetworkSettings"]["Ports"][port] or []
    return [(one["HostIp"], int(one["HostPort"])) for one in found]


def test_a_port_is_reached_by_every_address_of_the_host_and_by_localhost(daemon: Daemon) -> None:
    serve(daemon, "web", "-p", "28101:80")
    assert fetch("127.0.0.1", 28101) == "web"
    assert fetch(host_address(), 28101) == "web"
    assert fetch("::1", 28101) == "web"
    assert docker(daemon, "port", "web", "80/tcp").splitlines()[0] == "0.0.0.0:28101"
    assert daemon.cli("port", "web").stdout.splitlines()[0] == "80/tcp -> 0.0.0.0:28101"
    assert daemon.cli("port", "web", "81").returncode == 1


def test_another_container_reaches_it_through_the_hosts_address(daemon: Daemon) -> None:
    serve(daemon, "web", "-p", "28102:80")
    docker(daemon, "run", "-d", "--name", "client", "busybox", "sleep", "1000")
    assert fetch_inside(daemon, "client", host_address(), 28102) == "web"
    assert fetch_inside(daemon, "web", host_address(), 28102) == "web"


@pytest.mark.parametrize("flags", [(), ("--ipv6",)], ids=["IPv4", "IPv6"])
def test_a_container_on_several_networks_is_reached_by_its_port_from_each_of_them_and_itself(
    daemon: Daemon, flags: tuple[str, ...]
) -> None:
    version = 6 if flags else 4
    with network(daemon, "aa", *flags) as aa, network(daemon, "bb", *flags) as bb, network(daemon, "cc", *flags) as cc:
        serve(daemon, "web", "--network", "aa", "-p", "28105:80")
        docker(daemon, "network", "connect", "bb", "web")
        for where in ("aa", "bb", "cc"):
            docker(daemon, "run", "-d", "--name", f"on-{where}", "--network", where, "busybox", "sleep", "1000")
        gateways = [_gateway(each, version) for each in (aa, bb, cc)]
        for who in ("on-aa", "on-bb", "on-cc", "web"):
            for target in [*gateways, *([host_address()] if version == 4 else [])]:
                assert fetch_inside(daemon, who, target, 28105) == "web", f"{who} to {target}"
                found = json.loads(daemon.cli("network", "trace", "--format", "json", who, target, "28105").stdout)
                assert found["Reaches"], found
        for target in (*gateways, "127.0.0.1", host_address()):
            assert fetch(target, 28105) == "web", f"from the host to {target}"
        docker(daemon, "network", "disconnect", "aa", "web")  # now it is published by the other
        docker(daemon, "network", "connect", "aa", "web")
        assert [fetch_inside(daemon, who, gateways[0], 28105) for who in ("on-aa", "on-bb", "on-cc", "web")] == [
            "web"
        ] * 4


def _gateway(shown: dict[str, Any], version: int) -> str:
    found = (ip_address(each["Gateway"]) for each in shown["IPAM"]["Config"])
    return str(next(each for each in found if each.version == version))


def test_a_port_published_on_loopback_stays_there(daemon: Daemon) -> None:
    serve(daemon, "web", "-p", "127.0.0.1:28103:80")
    assert fetch("127.0.0.1", 28103) == "web"
    assert not reaches(host_address(), 28103)
    audit = daemon.cli("port", "audit").stdout
    line = next(line for line in audit.splitlines() if line.startswith("web "))
    assert line.split()[1:4] == ["80/tcp", "host", "127.0.0.1:28103"]


def test_random_ports_ranges_and_all_exposed_ones(daemon: Daemon) -> None:
    serve(daemon, "web", "-P", "--expose", "80", "--expose", "81/udp", "-p", "28110-28112:8000-8002", "-p", "82")
    ports = inspect(daemon, "web")["NetworkSettings"]["Ports"]
    assert sorted(ports) == ["80/tcp", "8000/tcp", "8001/tcp", "8002/tcp", "81/udp", "82/tcp"]
    assert all(ports.values())
    assert {port for _, port in bindings(daemon, "web", "8001/tcp")} == {28111}
    assert fetch("127.0.0.1", bindings(daemon, "web")[0][1]) == "web"


def test_udp_reaches_a_container_and_the_answer_comes_back(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "echo", "-p", "28120:7/udp", "busybox", "sleep", "1000")
    with _udp_socket_inside(inspect(daemon, "echo")["State"]["Pid"]) as server:
        for host in ("127.0.0.1", host_address()):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.connect((host, 28120))
                client.send(b"ping")
                data, peer = server.recvfrom(10)
                server.sendto(data, peer)
                assert client.recv(10) == b"ping"


def _udp_socket_inside(pid: int) -> socket.socket:
    """A socket at port 7 in the network namespace of a process; static busyboxes have no server for UDP."""

    def make() -> socket.socket:
        with open(f"/proc/{pid}/ns/net") as namespace:
            setns(namespace.fileno(), CLONE.NEWNET)
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(20)
        made.bind(("0.0.0.0", 7))
        return made

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def test_a_taken_port_is_refused_with_the_name_of_who_has_it(daemon: Daemon) -> None:
    serve(daemon, "web", "-p", "28130:80")
    second = daemon.docker("run", "-d", "--name", "late", "-p", "28130:80", "busybox", "sleep", "1000")
    assert second.returncode == 125
    assert "28130 failed: port is already allocated" in second.stderr
    assert "web" in second.stderr
    assert inspect(daemon, "late")["State"]["Status"] == "created"
    docker(daemon, "stop", "-t", "0", "web")
    docker(daemon, "start", "late")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        third = daemon.docker("run", "--rm", "-p", f"127.0.0.1:{number}:80", "busybox", "true")
        assert (third.returncode, str(number) in third.stderr) == (125, True)


def test_ports_move_to_a_network_without_ipv6(daemon: Daemon) -> None:
    with network(daemon, "four"), network(daemon, "six", "--ipv6"):
        serve(daemon, "web", "--network", "six", "-p", "28095:80", "-p", "127.0.0.1:28096:80")
        assert {host for host, _ in bindings(daemon, "web")} == {"0.0.0.0", "::", "127.0.0.1"}
        docker(daemon, "network", "connect", "four", "web")
        docker(daemon, "network", "disconnect", "six", "web")
        assert [fetch("127.0.0.1", port) for port in (28095, 28096)] == ["web", "web"]
        assert fetch("::1", 28095) == "web"
        assert {host for host, _ in bindings(daemon, "web")} == {"0.0.0.0", "::1", "127.0.0.1"}


def test_a_network_is_not_joined_when_a_port_that_it_would_publish_is_taken(daemon: Daemon) -> None:
    with network(daemon, "inner", "--internal"):
        docker(daemon, "run", "-d", "--name", "web", "--network", "inner", "-p", "28097:80", "busybox", "sleep", "1000")
        serve(daemon, "holder", "-p", "28097:80")
        refused = daemon.docker("network", "connect", "bridge", "web")
        assert "port is already allocated (container 'holder' has it)" in refused.stderr
        assert list(inspect(daemon, "web")["NetworkSettings"]["Networks"]) == ["inner"]
        docker(daemon, "rm", "-f", "holder")
        docker(daemon, "network", "connect", "bridge", "web")
        assert inspect(daemon, "web")["NetworkSettings"]["Ports"]["80/tcp"]


def test_a_port_that_is_not_published_is_not_there(daemon: Daemon) -> None:
    serve(daemon, "web", "--expose", "80")
    assert inspect(daemon, "web")["NetworkSettings"]["Ports"] == {"80/tcp": None}
    assert docker(daemon, "ps", "--format", "{{.Ports}}") == "80/tcp"
    assert not reaches("127.0.0.1", 80) or fetch("127.0.0.1", 80) != "web"


def test_fifty_containers_at_once_get_fifty_addresses_and_ports_and_all_answer(daemon: Daemon) -> None:
    body = {
        "Image": "busybox", "Cmd": ["sh", "-c", "hostname > /tmp/index.html; exec httpd -f -p 80 -h /tmp"],
        "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PublishAllPorts": True},
    }  # fmt: skip

    def one(number: int) -> str:
        identifier = str(daemon.request("POST", "/containers/create", body, name=f"many{number}").json["Id"])
        answer = daemon.request("POST", f"/containers/{identifier}/start")
        assert answer.status == 204, answer.body
        return identifier

    with ThreadPoolExecutor(50) as pool:
        made = list(pool.map(one, range(50)))
    ports = [bindings(daemon, identifier)[0][1] for identifier in made]
    assert len(set(ports)) == 50
    assert len({address(daemon, identifier) for identifier in made}) == 50
    for identifier, port in zip(made, ports, strict=True):
        assert _patiently(port) == identifier[:12]


def _patiently(port: int) -> str:
    """The server's name; it may still be starting."""
    for _ in range(100):
        try:
            return fetch("127.0.0.1", port)
        except OSError:
            continue
    raise AssertionError(f"nobody answers at port {port}")


def children(daemon: Daemon) -> int:
    """How many processes the daemon and its keeper have."""
    shown = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", f"{daemon.pid},{daemon.keeper_pid}"], stdout=subprocess.PIPE, check=False
    )
    return len(shown.stdout.split())


def test_two_thousand_ports_cost_no_process(daemon: Daemon) -> None:
    before = children(daemon)
    docker(daemon, "run", "-d", "--name", "wide", "-p", "30000-31999:30000-31999", "busybox", "sleep", "1000")
    assert len(inspect(daemon, "wide")["NetworkSettings"]["Ports"]) == 2000
    assert children(daemon) <= before + 20
