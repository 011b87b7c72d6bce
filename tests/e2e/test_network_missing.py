"""A kernel without a part of what networks are made of: one sentence says so, and containers start nevertheless.

Only in the virtual machine, whose kernel has these parts as modules, and alone: the daemon that other tests share would
use them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.networks import docker

pytestmark = pytest.mark.skipif("WHERRY_VM" not in os.environ, reason="runs in the virtual machine")

SENTENCES = {
    "nf_tables": "this kernel has no nf_tables: ",
    "bridge": "network bridge cannot be made: ",
    "veth": "this kernel has no veth pairs: ",
}
BLOCKED = Path("/etc/modprobe.d/blocked.conf")


def unload(*beginnings: str) -> None:
    """Unload modules by the beginnings of their names, those first that others do not need."""
    while True:
        lines = [line.split() for line in Path("/proc/modules").read_text().splitlines()]
        users = {words[0]: int(words[2]) for words in lines if words[0].startswith(beginnings)}
        unused = [name for name, count in users.items() if count == 0]
        if not unused:
            assert not users, f"still in use: {users}"
            return
        subprocess.run(["modprobe", "-r", *unused], check=True)


@pytest.fixture(params=["nf_tables", "bridge", "veth"])
def missing(request: pytest.FixtureRequest) -> Iterator[str]:
    """A module that cannot be loaded."""
    unload("nft_", "nf_tables", "br_netfilter", "bridge", "veth")
    BLOCKED.parent.mkdir(parents=True, exist_ok=True)
    BLOCKED.write_text(f"install {request.param} /bin/false\n")
    yield str(request.param)
    BLOCKED.unlink()


def test_one_sentence_says_what_the_kernel_lacks_and_containers_start(missing: str) -> None:
    daemon = Daemon("--debug")
    try:
        daemon.start()
        docker(daemon, "run", "--rm", "host", "true")
        docker(daemon, "run", "--rm", "--network", "host", "host", "true")
        warnings = daemon.request("GET", "/info").json["Warnings"]
        assert len(warnings) == 1, warnings
        assert SENTENCES[missing] in warnings[0]
        docker(daemon, "run", "-d", "--name", "later", "host", "sleep", "1000")
        assert daemon.request("GET", "/containers/later/json").json["HostConfig"]["NetworkMode"] == "none"
        daemon.remove_containers()
    finally:
        daemon.shut_down()
