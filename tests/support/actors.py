"""Containers as an adversary runs them, and what is done to them meanwhile."""

from __future__ import annotations

import subprocess
import tempfile
from typing import Final

from support.daemons import Daemon, docker_environment

#: A shell's words: they mount /dev/fuse and never answer, so that whoever looks at the place waits for ever.
STUCK: Final = "exec 3<>/dev/fuse; mount -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 fuse {0}"
MAY_MOUNT: Final = ("--cap-add", "SYS_ADMIN", "--device", "/dev/fuse")


def started(daemon: Daemon, name: str, *arguments: str, says: str = "") -> None:
    """Run a container, and wait until it has written a line."""
    daemon.docker("run", "-d", "--name", name, *arguments, check=True)
    if says:
        with daemon.following("logs", "-f", name) as lines:
            assert f"{says}\n" in lines, f"{name} never said {says!r}"


def begin(daemon: Daemon, *arguments: str) -> subprocess.Popen[str]:
    """Begin a docker command that may take long; it writes into files, so nobody has to read for it to go on."""
    environment = docker_environment(daemon.host, daemon.root)
    with tempfile.TemporaryFile("w+") as output:
        return subprocess.Popen(
            ["docker", *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True
        )
