"""The daemon of Docker's that tests are proven on disturbs no other on the machine."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

from support.daemons import DockerDaemon
from support.needs import need
from wherry.linux.process import CLONE, unshare

pytestmark = need("root", "dockerd", "ip")


def test_the_machines_own_docker_keeps_its_bridge() -> None:
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(_bridge_that_survives).result() == "docker0"


def _bridge_that_survives() -> str:
    """Start and end the reference where there is a ``docker0``; gives the name of what is left of it.

    The calling thread stays in the namespace that is made for that.
    """
    unshare(CLONE.NEWNET)
    subprocess.run(["ip", "link", "add", "docker0", "type", "bridge"], check=True)
    daemon = DockerDaemon()
    try:
        daemon.start()
    finally:
        daemon.shut_down()
    shown = subprocess.run(["ip", "-brief", "link", "show", "docker0"], capture_output=True, text=True, check=False)
    return shown.stdout.partition(" ")[0]
