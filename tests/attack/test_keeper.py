"""A keeper that stands still, and one that has nothing to keep."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon, cgroups
from support.needs import need

pytestmark = [need("root", "busybox", "overlay")]

RUN = ("run", "-d", "--network", "none")


@pytest.fixture
def kept(busybox_archive: bytes) -> Iterator[Daemon]:
    with busybox_daemon(busybox_archive) as daemon:
        yield daemon


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_keeper_that_stands_still_is_told_and_goes_on_where_it_was(kept: Daemon) -> None:
    kept.cli(*RUN, "--name", "runs", "busybox", "sleep", "1000", check=True)
    keeper = kept.keeper_pid
    os.kill(keeper, signal.SIGSTOP)
    try:
        done = kept.cli(*RUN, "--name", "late", "busybox", "sleep", "1000")
        assert (done.returncode, f"the keeper (process {keeper}) stands still" in done.stderr) == (125, True)
        assert f"kill -CONT {keeper}" in done.stderr
        assert "stands still" in kept.cli("start", "late").stderr
        assert "stands still" in kept.cli("kill", "runs").stderr
        assert "stands still" in kept.log_tail()
        kept.kill9()
        refused = subprocess.run(
            kept.command, env=kept.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert (refused.returncode, "stands still" in refused.stderr) == (1, True)
    finally:
        os.kill(keeper, signal.SIGCONT)
    kept.start()
    wait_until(lambda: kept.request("GET", "/containers/runs/json").json["State"]["Status"] == "exited")
    kept.cli("rm", "-f", "late", check=True)
    kept.cli("run", "--rm", "--network", "none", "busybox", "true", check=True)


def test_what_a_keeper_starts_too_late_does_not_run(kept: Daemon) -> None:
    keeper = kept.keeper_pid
    os.kill(keeper, signal.SIGSTOP)
    try:
        assert kept.cli(*RUN, "--name", "late", "busybox", "sleep", "1000").returncode == 125
    finally:
        os.kill(keeper, signal.SIGCONT)
    wait_until(lambda: kept.cli("start", "late").returncode == 0)
    pid = kept.request("GET", "/containers/late/json").json["State"]["Pid"]
    kept.cli("rm", "-f", "late", check=True)
    assert not os.path.exists(f"/proc/{pid}")
    wait_until(lambda: not any(map(processes_below, cgroups(kept.cgroup))))


def processes_below(group: Path) -> list[str]:
    """The processes in a cgroup and in those below it, some of which may just be removed."""
    found = []
    for directory, _, _ in os.walk(group):
        with suppress(OSError):
            found += Path(directory, "cgroup.procs").read_text().split()
    return found


def test_a_keeper_of_nothing_ends_with_the_daemon(kept: Daemon) -> None:
    kept.cli("run", "--network", "none", "--name", "ended", "busybox", "sh", "-c", "exit 3")
    keeper = kept.keeper_pid
    kept.stop()
    wait_until(lambda: not os.path.exists(f"/proc/{keeper}"))
    kept.start()
    assert kept.request("GET", "/containers/ended/json").json["State"]["ExitCode"] == 3
    kept.cli(*RUN, "--name", "runs", "busybox", "sleep", "1000", check=True)
    keeper = kept.keeper_pid
    kept.restart()
    assert kept.keeper_pid == keeper
