"""The engine's main promises, in a few commands: on this machine, and in the virtual machine with cgroup v2."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemons import Daemon


@pytest.fixture
def sleeper(daemon: Daemon, busybox: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a container that runs, with the options that the test gives."""
    name, options = "smoke", getattr(request, "param", ())
    daemon.cli("run", "-d", "--name", name, "--network", "none", *options, busybox, "sleep", "1000", check=True)
    yield name
    daemon.cli("rm", "-f", name, check=True)


def test_a_container_prints_and_its_status_comes_back(daemon: Daemon, busybox: str) -> None:
    done = daemon.cli("run", "--rm", "--network", "none", busybox, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_the_built_in_image_runs(daemon: Daemon) -> None:
    done = daemon.cli("run", "--rm", "--network", "none", "host", "sh", "-c", "echo $$ $(hostname | wc -c)")
    assert done.stdout == "1 13\n"


@pytest.mark.parametrize(
    "sleeper", [("--memory", "64m", "--pids-limit", "20", "--cpus", "0.5")], indirect=True, ids=["limited"]
)
def test_limits_reach_the_kernel(daemon: Daemon, sleeper: str) -> None:
    shown = json.loads(daemon.cli("inspect", sleeper, check=True).stdout)[0]["HostConfig"]
    assert (shown["Memory"], shown["PidsLimit"], shown["NanoCpus"]) == (64 << 20, 20, 500_000_000)
    assert kernel_limits(container_pid(daemon, sleeper)) == {"memory": str(64 << 20), "pids": "20"}


def container_pid(daemon: Daemon, name: str) -> int:
    """The process ID, on the host, of a container's first process."""
    return int(daemon.cli("inspect", "--format", "{{.State.Pid}}", name, check=True).stdout)


def kernel_limits(pid: int) -> dict[str, str]:
    """What the process's cgroup says, in either version."""
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    if "memory" in groups:
        root = Path("/sys/fs/cgroup")
        memory = root / "memory" / groups["memory"].lstrip("/") / "memory.limit_in_bytes"
        pids = root / "pids" / groups["pids"].lstrip("/") / "pids.max"
    else:
        own = Path("/sys/fs/cgroup", groups[""].lstrip("/"))
        memory, pids = own / "memory.max", own / "pids.max"
    return {"memory": memory.read_text().strip(), "pids": pids.read_text().strip()}


def test_exec_enters_every_namespace(daemon: Daemon, sleeper: str) -> None:
    script = "for kind in ipc mnt net pid uts; do readlink /proc/$0/ns/$kind; done"
    first = daemon.cli("exec", sleeper, "sh", "-c", script, "1", check=True)
    entered = daemon.cli("exec", sleeper, "sh", "-c", script, "self", check=True)
    assert len(re.findall(r":\[\d+\]", entered.stdout)) == 5
    assert entered.stdout == first.stdout


def test_a_paused_container_stands_still(daemon: Daemon, sleeper: str) -> None:
    daemon.cli("pause", sleeper, check=True)
    assert daemon.cli("inspect", "--format", "{{.State.Status}}", sleeper).stdout == "paused\n"
    daemon.cli("unpause", sleeper, check=True)
    assert daemon.cli("exec", sleeper, "echo", "awake", check=True).stdout == "awake\n"


def test_more_memory_than_allowed_ends_the_program(daemon: Daemon, busybox: str) -> None:
    hungry = ("sh", "-c", "x=y; while :; do x=$x$x; done")
    done = daemon.cli(
        "run", "--name", "hungry", "--network", "none", "-m", "16m", "--memory-swap", "16m", busybox, *hungry
    )
    killed = daemon.cli("inspect", "--format", "{{.State.OOMKilled}}", "hungry").stdout
    daemon.cli("rm", "-f", "hungry", check=True)
    assert (done.returncode, killed) == (137, "true\n")


def test_a_device_that_was_not_given_cannot_be_opened(daemon: Daemon, busybox: str) -> None:
    script = "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem"
    done = daemon.cli("run", "--rm", "--network", "none", busybox, "sh", "-c", script)
    assert "Operation not permitted" in done.stderr


def test_output_and_containers_outlive_the_daemon(own_daemon: Daemon, busybox_archive: bytes) -> None:
    own_daemon.request("POST", "/images/create", busybox_archive, fromSrc="-", repo="busybox", tag="latest")
    script = "echo before; while [ ! -e /go ]; do usleep 20000; done; echo after; exit 5"
    own_daemon.cli("run", "-d", "--name", "survivor", "--network", "none", "busybox", "sh", "-c", script, check=True)
    pid = container_pid(own_daemon, "survivor")
    own_daemon.kill9()
    Path(f"/proc/{pid}/root/go").touch()
    own_daemon.start()
    assert own_daemon.cli("wait", "survivor", check=True).stdout == "5\n"
    assert own_daemon.cli("logs", "survivor", check=True).stdout == "before\nafter\n"
