"""The daemon and the keeper die at any moment; afterwards the state is right, and nothing is orphaned."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from support.busybox import import_busybox
from support.daemons import Daemon
from support.needs import ROOT, need

pytestmark = need("root", "busybox", "overlay")

SEED = int(os.environ.get("WHERRY_SEED", "0")) or random.randrange(1 << 30)


@pytest.fixture
def crashing(mortal: Daemon) -> Daemon:
    return mortal


def create(daemon: Daemon, *command: str, **more: Any) -> str:
    body = {"Image": "busybox:latest", "Cmd": list(command), **more}
    answer = daemon.request("POST", "/containers/create", body)
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


def start(daemon: Daemon, container: str) -> None:
    answer = daemon.request("POST", f"/containers/{container}/start")
    assert answer.status == 204, answer.body


def state(daemon: Daemon, container: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.request("GET", f"/containers/{container}/json").json["State"]
    return found


def wait(daemon: Daemon, container: str) -> int:
    return int(daemon.request("POST", f"/containers/{container}/wait").json["StatusCode"])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def output(daemon: Daemon, container: str) -> str:
    """All of a container's log, with the heads of the frames between."""
    return daemon.request("GET", f"/containers/{container}/logs", stdout=1, stderr=1).body.decode(errors="replace")


def test_a_killed_daemon_loses_no_container_no_output_and_no_exit_code(crashing: Daemon) -> None:
    going_on = create(crashing, "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.01; done")
    ending = create(crashing, "sh", "-c", "sleep 0.3; echo last words; exit 7")
    for container in (going_on, ending):
        start(crashing, container)
    pid = state(crashing, going_on)["Pid"]
    crashing.kill9()
    time.sleep(0.6)  # `ending` ends while there is no daemon
    crashing.start()
    assert state(crashing, going_on)["Status"] == "running"
    assert state(crashing, going_on)["Pid"] == pid
    assert wait(crashing, ending) == 7
    assert "last words" in output(crashing, ending)
    crashing.request("POST", f"/containers/{going_on}/stop")
    assert state(crashing, going_on)["ExitCode"] == 3


def test_a_killed_keeper_loses_no_container_and_no_output(crashing: Daemon) -> None:
    script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.005; done; exit 5"
    container = create(crashing, "sh", "-c", script)
    start(crashing, container)
    time.sleep(0.3)
    old = crashing.keeper_pid
    os.kill(old, signal.SIGKILL)
    assert wait(crashing, container) == 5
    lines = [line for line in output(crashing, container).replace("\0", "").splitlines() if "line" in line]
    assert [line[line.index("line") :] for line in lines] == [f"line {i}" for i in range(300)]
    assert crashing.keeper_pid != old


def test_a_terminal_survives_the_keeper(crashing: Daemon) -> None:
    container = create(crashing, "sh", "-c", "sleep 1; echo survived; exit 4", Tty=True)
    start(crashing, container)
    time.sleep(0.2)
    os.kill(crashing.keeper_pid, signal.SIGKILL)
    assert wait(crashing, container) == 4
    assert "survived" in output(crashing, container)


def test_when_both_die_the_containers_go_on(crashing: Daemon) -> None:
    container = create(crashing, "sh", "-c", "while :; do echo alive; sleep 0.02; done")
    start(crashing, container)
    pid = state(crashing, container)["Pid"]
    keeper = crashing.keeper_pid
    os.kill(keeper, signal.SIGKILL)
    crashing.kill9()
    time.sleep(0.2)
    crashing.start()
    assert state(crashing, container)["Pid"] == pid
    assert os.path.exists(f"/proc/{pid}")
    before = len(output(crashing, container))
    wait_until(lambda: len(output(crashing, container)) > before)
    crashing.request("POST", f"/containers/{container}/kill")
    assert state(crashing, container)["Status"] == "exited"


def test_restarting_containers_start_again_with_the_daemon(crashing: Daemon) -> None:
    policy = {"RestartPolicy": {"Name": "always"}}
    container = create(crashing, "sleep", "1000", HostConfig=policy)
    start(crashing, container)
    pid = state(crashing, container)["Pid"]
    crashing.kill9()
    os.kill(pid, signal.SIGKILL)
    crashing.start()
    wait_until(lambda: state(crashing, container)["Status"] == "running" and state(crashing, container)["Pid"] != pid)


class Busy(threading.Thread):
    """Runs short containers until it is told to stop; errors of a dying daemon are expected."""

    def __init__(self, daemon: Daemon, number: int) -> None:
        super().__init__(daemon=True)
        self._daemon = daemon
        self._number = number
        self.stopping = threading.Event()

    def run(self) -> None:
        for turn in range(1000):
            if self.stopping.is_set():
                return
            with suppress(OSError, AssertionError, HTTPException, KeyError, ValueError):
                container = create(self._daemon, "sh", "-c", f"echo {self._number} {turn}; sleep 0.0{turn % 5}")
                start(self._daemon, container)
                wait(self._daemon, container)
                self._daemon.request("DELETE", f"/containers/{container}", force=True)


@pytest.mark.timeout(600)
def test_kills_at_random_moments_leave_a_right_state_and_no_orphans(crashing: Daemon) -> None:
    dice = random.Random(SEED)
    print(f"WHERRY_SEED={SEED}")
    steady = create(crashing, "sleep", "1000")
    start(crashing, steady)
    pid = state(crashing, steady)["Pid"]
    busy = [Busy(crashing, number) for number in range(3)]
    for thread in busy:
        thread.start()
    for _ in range(int(os.environ.get("WHERRY_KILLS", "12"))):
        time.sleep(dice.random() * 0.4)
        if dice.random() < 0.5:
            with suppress(ProcessLookupError):
                os.kill(crashing.keeper_pid, signal.SIGKILL)
        if dice.random() < 0.7:
            crashing.kill9()
            crashing.start()
        assert state(crashing, steady)["Pid"] == pid
    for thread in busy:
        thread.stopping.set()
        thread.join(30)
    assert_consistent(crashing, {steady: pid})


def assert_consistent(daemon: Daemon, running: dict[str, int]) -> None:
    """What the daemon says is what is there: processes, cgroups, directories."""
    deadline = time.monotonic() + 60
    while True:  # the last exits are being worked on
        found = {c["Id"]: c["State"] for c in daemon.request("GET", "/containers/json", all=True).json}
        if {i for i, status in found.items() if status == "running"} == set(running):
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    for container, pid in running.items():
        assert state(daemon, container)["Pid"] == pid
    assert {path.name for path in (daemon.data_root / "containers").iterdir()} == set(found)
    groups = {path.name for path in _cgroups(daemon) if len(path.name) == 64}
    assert groups == set(running)
    kept = {path.name for path in (daemon.exec_root / "containers").iterdir() if len(path.name) == 64}
    assert kept == set(running)


def _cgroups(daemon: Daemon) -> list[Path]:
    parents = list(Path("/sys/fs/cgroup").glob(f"*/{daemon.cgroup}")) + list(Path("/sys/fs/cgroup").glob(daemon.cgroup))
    return [path for parent in parents for path in parent.iterdir() if path.is_dir()]


class Upgraded(Daemon):
    """A daemon whose code can be another copy."""

    source = ROOT / "src"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PYTHONPATH": str(self.source)}


def test_a_keeper_of_another_version_becomes_ours_in_place(tmp_path: Path, busybox_archive: bytes) -> None:
    older = tmp_path / "src"
    shutil.copytree(ROOT / "src", older)
    (older / "wherry" / "__init__.py").write_text('"""An older one."""\n\n__version__ = "0.0.1"\n')
    daemon = Upgraded("--debug")
    daemon.source = older
    try:
        daemon.start()
        import_busybox(daemon, busybox_archive)
        container = create(daemon, "sh", "-c", "while :; do echo tick; sleep 0.02; done")
        terminal = create(daemon, "sh", "-c", "sleep 1; echo survived; exit 6", Tty=True)
        for each in (container, terminal):
            start(daemon, each)
        keeper, pid = daemon.keeper_pid, state(daemon, container)["Pid"]
        daemon.stop()
        daemon.source = ROOT / "src"
        daemon.start()
        assert "upgrading the keeper" in daemon.log_tail()
        assert (daemon.keeper_pid, state(daemon, container)["Pid"]) == (keeper, pid)
        assert wait(daemon, terminal) == 6
        assert "survived" in output(daemon, terminal)
        before = len(output(daemon, container))
        another = create(daemon, "true")
        start(daemon, another)
        assert wait(daemon, another) == 0
        wait_until(lambda: len(output(daemon, container)) > before)
    finally:
        daemon.shut_down()
