"""What the tests about networks have in common: servers in containers, and connections to them."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.daemons import Daemon

SERVE = "hostname > /tmp/index.html; exec httpd -f -p 80 -h /tmp"
"""A command that answers HTTP requests with its host name."""


def serve(daemon: Daemon, name: str, *flags: str, image: str = "busybox") -> str:
    """Start a web server in a container and wait until it listens; returns the container's ID."""
    identifier = docker(daemon, "run", "-d", "--name", name, "--hostname", name, *flags, image, "sh", "-c", SERVE)
    pid = inspect(daemon, name)["State"]["Pid"]
    deadline = time.monotonic() + 60
    while not any(line.split()[3] == "0A" for line in _sockets(pid)):
        assert time.monotonic() < deadline, f"{name} does not listen"
        time.sleep(0.01)
    return identifier


def _sockets(pid: int) -> list[str]:
    lines = []
    for file in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{file}") as table:
            lines += [line for line in table.read().splitlines()[1:] if line.split()[1].endswith(":0050")]
    return lines


def docker(daemon: Daemon, *words: str) -> str:
    """Run a command of docker's that works; returns what it prints."""
    return daemon.docker(*words, check=True).stdout.strip()


def inspect(daemon: Daemon, name: str) -> dict[str, Any]:
    """Everything about a container."""
    return dict(daemon.request("GET", f"/containers/{name}/json").json)


def address(daemon: Daemon, name: str, network: str = "bridge", family: int = 4) -> str:
    """A container's address."""
    place = inspect(daemon, name)["NetworkSettings"]["Networks"][network]
    return str(place["IPAddress" if family == 4 else "GlobalIPv6Address"])


def fetch(host: str, port: int | str, timeout: float = 20.0) -> str:
    """What a web server answers, asked from the host."""
    shown = f"[{host}]" if ":" in host else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{shown}:{port}/", timeout=timeout) as answer:
        return str(answer.read().decode().strip())


_FETCH = """
host=$1
case $host in *:*) ;; *[!0-9.]*)
    host=$(nslookup $1 127.0.0.11 | sed -n '/^Name:/,$ s/^Address: *\\([0-9.]*\\)$/\\1/p' | head -1) ;;
esac
[ "$host" ] && printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 $host $2 | tail -1
"""  # a static busybox cannot use the C library's resolver, so its wget knows no names


def fetch_inside(daemon: Daemon, container: str, host: str, port: int = 80) -> str:
    """What a web server answers, asked from inside a container by name or address; empty when nobody answers."""
    return daemon.docker("exec", container, "sh", "-c", _FETCH, "fetch", host, str(port)).stdout.strip()


def reaches(host: str, port: int, timeout: float = 0.3) -> bool:
    """Whether a TCP connection can be made from the host."""
    try:
        with socket.create_connection((host, port), timeout) as made:
            made.getpeername()  # an ICMP error may look like success at first: see tests/support/network_harness.py
    except OSError:
        return False
    return True


def host_address() -> str:
    """An address of this machine that is not its loopback's; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return str(probe.getsockname()[0])


@contextmanager
def network(daemon: Daemon, name: str, *flags: str) -> Iterator[dict[str, Any]]:
    """A network, with everybody on it gone at the end."""
    docker(daemon, "network", "create", *flags, name)
    try:
        yield json.loads(docker(daemon, "network", "inspect", name))[0]
    finally:
        daemon.remove_containers()
        daemon.docker("network", "rm", name)
