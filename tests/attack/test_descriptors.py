"""What a container holds by descriptor, or can name, belongs to the container."""

from __future__ import annotations

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay", "namespaces")]


def test_nothing_of_the_hosts_is_open_above_the_streams(daemon: Daemon, busybox: str) -> None:
    done = daemon.cli("run", "--rm", "--network", "none", busybox, "ls", "/proc/self/fd", check=True)
    assert set(done.stdout.split()) <= {"0", "1", "2", "3"}, "3 is the directory itself"
