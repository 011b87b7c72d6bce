"""Names between containers, with the stock docker command: what is found, what is asked elsewhere, what files say."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "docker", "ip"), pytest.mark.usefixtures("busybox")]

SUBNET, OTHER_SUBNET = "172.29.31.0/24", "172.29.32.0/24"
UPSTREAM = "127.45.67.89"


@contextmanager
def kept_inside(*subnets: str) -> Iterator[None]:
    """What is sent to a container that is gone leaves by no real interface."""
    routes = [["unreachable", subnet, "metric", "4000000000"] for subnet in subnets]
    for route in routes:
        subprocess.run(["ip", "route", "replace", *route], check=True)
    try:
        yield
    finally:
        for route in routes:
            subprocess.run(["ip", "route", "del", *route], check=False)


@pytest.fixture(scope="module", autouse=True)
def neighbours(daemon: Daemon, busybox: str) -> Iterator[None]:
    """``web`` and ``web2`` on the network ``backend``, both with the alias ``www``; and a network ``frontend``."""
    with kept_inside(SUBNET, OTHER_SUBNET):
        daemon.remove_containers()
        daemon.docker("network", "create", "--subnet", SUBNET, "backend", check=True)
        daemon.docker("network", "create", "--subnet", OTHER_SUBNET, "frontend", check=True)
        for name in ("web", "web2"):
            options = ("--name", name, "--network", "backend", "--network-alias", "www")
            daemon.docker("run", "-d", *options, busybox, "sleep", "1000", check=True)
        yield
        daemon.remove_containers()
        daemon.docker("network", "rm", "backend", "frontend", check=True)


class Internet(BaseResolver):
    """A server that knows every name below ``example``, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        """Answer one question."""
        self.asked.append(str(request.q.qname).lower())
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            reply.add_answer(RR(request.q.qname, QTYPE.A, ttl=60, rdata=A("192.0.2.77")))
        return reply


@pytest.fixture
def internet() -> Iterator[Internet]:
    """A DNS server on the host's loopback, for ``--dns``."""
    resolver = Internet()
    server = DNSServer(resolver, address=UPSTREAM, port=53, logger=DNSLogger("-request,-reply,-truncated,-error"))
    server.start_thread()
    yield resolver
    server.stop()
    server.thread.join()
    server.server.server_close()


def inside(daemon: Daemon, script: str, *options: str, network: str = "backend") -> str:
    """What a script prints in a new container on a network."""
    done = daemon.docker("run", "--rm", "--network", network, *options, "busybox", "sh", "-c", script)
    return done.stdout + done.stderr


def found(daemon: Daemon, name: str, *options: str) -> set[str]:
    """The IPv4 addresses of a name, as a new container on ``backend`` finds them."""
    text = inside(daemon, f"nslookup {name}", *options)
    return set(re.findall(r"(?:Address(?: \d+)?: )(172\.[\d.]+|192\.[\d.]+)", text))


def address(daemon: Daemon, name: str, network: str = "backend") -> str:
    """A container's address, as ``docker inspect`` says."""
    networks = json.loads(daemon.docker("inspect", name, check=True).stdout)[0]["NetworkSettings"]["Networks"]
    return str(networks[network]["IPAddress"])


def test_containers_find_each_other_by_all_their_names(daemon: Daemon) -> None:
    web = address(daemon, "web")
    short = daemon.docker("inspect", "--format", "{{slice .Id 0 12}}", "web", check=True).stdout.strip()
    for name in ("web", "WEB", "web.", "web.backend", short):
        assert found(daemon, name) == {web}, name
    assert found(daemon, "www") == {web, address(daemon, "web2")}


def test_the_c_library_finds_them_too(daemon: Daemon) -> None:
    command = ("run", "--rm", "--network", "backend", "host", "getent", "ahostsv4", "web")
    assert daemon.docker(*command).stdout.split()[0] == address(daemon, "web")


def test_equal_aliases_take_turns(daemon: Daemon) -> None:
    both = {address(daemon, "web"), address(daemon, "web2")}
    answers = [ask_in_container(daemon, "web", "www", "A") for _ in range(6)]
    assert all(set(answer) == both and len(answer) == 2 for answer in answers)
    assert {answer[0] for answer in answers} == both


def ask_in_container(daemon: Daemon, container: str, name: str, kind: str, *, tcp: bool = False) -> list[str]:
    """The records that a program in a container gets, in their order."""
    pid = daemon.docker("inspect", "--format", "{{.State.Pid}}", container, check=True).stdout.strip()
    program = (
        "import sys; from dnslib import DNSRecord; "
        f"r = DNSRecord.parse(DNSRecord.question({name!r}, {kind!r}).send('127.0.0.11', 53, tcp={tcp}, timeout=20)); "
        "print(*[one.rdata for one in r.rr])"
    )
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def test_names_are_found_by_tcp_and_addresses_lead_back(daemon: Daemon) -> None:
    web = address(daemon, "web")
    assert ask_in_container(daemon, "web2", "web", "A", tcp=True) == [web]
    reverse = ".".join(reversed(web.split("."))) + ".in-addr.arpa"
    assert ask_in_container(daemon, "web2", reverse, "PTR") == ["web.backend."]


def test_links_and_names_of_other_networks(daemon: Daemon, internet: Internet) -> None:
    assert found(daemon, "db", "--link", "web:db") == {address(daemon, "web")}
    assert found(daemon, "db") == set()
    for name in ("web", "web.backend"):
        assert "NXDOMAIN" in inside(daemon, f"nslookup {name}", "--dns", UPSTREAM, network="frontend")
    assert internet.asked == []


def test_only_what_is_not_ours_is_asked_elsewhere(daemon: Daemon, internet: Internet) -> None:
    daemon.docker("create", "--name", "asleep", "--network", "backend", "busybox", "true", check=True)
    script = (
        "for n in web asleep asleep.backend nobody nobody.backend 172.29.31.200 172.29.32.9; do nslookup $n; done;"
        "nslookup www.internet.example"
    )
    text = inside(daemon, script, "--dns", UPSTREAM)
    daemon.docker("rm", "asleep", check=True)
    assert "192.0.2.77" in text
    assert set(internet.asked) == {"www.internet.example."}


def test_who_says_ndots_0_has_all_asked(daemon: Daemon, internet: Internet) -> None:
    inside(daemon, "nslookup printer", "--dns", UPSTREAM, "--dns-option", "ndots:0")
    assert "printer." in internet.asked


def test_from_an_internal_network_nothing_is_asked_elsewhere(daemon: Daemon, internet: Internet) -> None:
    with kept_inside("172.29.33.0/24"):
        daemon.docker("network", "create", "--internal", "--subnet", "172.29.33.0/24", "closed", check=True)
        text = inside(daemon, "nslookup www.internet.example", "--dns", UPSTREAM, network="closed")
        daemon.docker("network", "rm", "closed", check=True)
    assert "192.0.2.77" not in text
    assert internet.asked == []


def test_the_host_has_a_name_where_one_is_asked_for(daemon: Daemon) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        heard: list[bytes] = []

        def listen() -> None:
            sock, _ = listener.accept()
            with sock:
                heard.append(sock.recv(100))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        script = f"echo hello | nc -w 20 host.docker.internal {listener.getsockname()[1]}"
        text = inside(daemon, script, "--add-host", "host.docker.internal:host-gateway")
        thread.join(60)
        assert heard == [b"hello\n"], text


def test_files_say_what_docker_s_say(daemon: Daemon) -> None:
    options = ("-h", "box", "--domainname", "corp.example", "--dns", "192.0.2.1", "--dns-search", "corp.example")
    text = inside(daemon, "cat /etc/hostname /etc/hosts /etc/resolv.conf", *options, "--add-host", "x:192.0.2.3")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "box"
    assert "127.0.0.1\tlocalhost" in lines
    assert "192.0.2.3\tx" in lines
    assert any(re.fullmatch(r"172\.29\.31\.\d+\tbox\.corp\.example box", line) for line in lines)
    assert lines[-3:] == ["nameserver 127.0.0.11", "search corp.example", "options ndots:0"]


def test_on_the_default_bridge_other_servers_are_asked_directly(daemon: Daemon) -> None:
    text = inside(daemon, "cat /etc/resolv.conf", "--dns", "192.0.2.1", network="bridge")
    assert "nameserver 192.0.2.1\n" in text
    assert "127.0.0.11" not in text


def test_files_follow_when_networks_change(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "mover", "busybox", "sleep", "1000", check=True)

    def look(script: str) -> str:
        return daemon.docker("exec", "mover", "sh", "-c", script, check=True).stdout

    before = look("stat -c %i /etc/hosts /etc/resolv.conf")
    assert "127.0.0.11" not in look("cat /etc/resolv.conf")
    daemon.docker("network", "connect", "--alias", "moved", "backend", "mover", check=True)
    mine = address(daemon, "mover")
    assert f"{mine}\t" in look("cat /etc/hosts")
    assert "nameserver 127.0.0.11" in look("cat /etc/resolv.conf")
    assert address(daemon, "web") in look("nslookup web")
    assert found(daemon, "moved") == {mine}
    assert look("stat -c %i /etc/hosts /etc/resolv.conf") == before
    daemon.docker("network", "disconnect", "backend", "mover", check=True)
    assert mine not in look("cat /etc/hosts")
    assert found(daemon, "moved") == set()
    look("echo nameserver 192.0.2.99 > /etc/resolv.conf")
    look("echo 192.0.2.98 printer >> /etc/hosts")
    daemon.docker("network", "connect", "backend", "mover", check=True)
    mine = address(daemon, "mover")
    for _ in range(2):
        assert look("cat /etc/hosts").endswith("192.0.2.98 printer\n"), "what somebody added inside is gone"
        assert f"{mine}\t" in look("cat /etc/hosts")
        daemon.docker("network", "disconnect", "bridge", "mover")
    assert look("cat /etc/resolv.conf") == "nameserver 192.0.2.99\n", "what somebody wrote inside was overwritten"
    daemon.docker("rm", "-f", "mover", check=True)


def test_names_are_answered_after_the_daemon_was_killed(mortal: Daemon) -> None:
    subnet = "172.29.34.0/24"
    with kept_inside(subnet):
        mortal.docker("network", "create", "--subnet", subnet, "lasting", check=True)
        for name in ("one", "two"):
            mortal.docker("run", "-d", "--name", name, "--network", "lasting", "busybox", "sleep", "1000", check=True)
        mortal.kill9()
        mortal.start()
        two = address(mortal, "two", "lasting")
        assert two in mortal.docker("exec", "one", "nslookup", "two").stdout
        mortal.remove_containers()
        mortal.docker("network", "rm", "lasting", check=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--add-host", "x:nonsense"), "invalid IP address in add-host"),
        (("--dns", "nonsense"), "IP address is not correctly formatted|is not an ip address"),
        (("--dns-search", "a b"), "is not a valid domain"),
    ],
)
def test_what_makes_no_sense_is_said(daemon: Daemon, options: tuple[str, ...], message: str) -> None:
    assert re.search(message, inside(daemon, "true", *options))
