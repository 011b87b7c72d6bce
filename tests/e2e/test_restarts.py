"""Restart policies: after exits, failed starts, keepers that die, reboots; and what can be said to who waits."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay")


@pytest.fixture
def crashing(mortal: Daemon) -> Daemon:
    return mortal


def create(daemon: Daemon, script: str, policy: str = "no", retries: int = 0, name: str = "", **host: Any) -> str:
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "StopSignal": "KILL", "HostConfig": {
        "NetworkMode": "none", "RestartPolicy": {"Name": policy, "MaximumRetryCount": retries}, **host,
    }}  # fmt: skip
    answer = daemon.request("POST", "/containers/create", body, **({"name": name} if name else {}))
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


def start(daemon: Daemon, container: str) -> None:
    answer = daemon.request("POST", f"/containers/{container}/start")
    assert answer.status == 204, answer.body


def inspect(daemon: Daemon, container: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.request("GET", f"/containers/{container}/json").json
    return found


def state(daemon: Daemon, container: str) -> dict[str, Any]:
    found: dict[str, Any] = inspect(daemon, container)["State"]
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def restarting(daemon: Daemon, **host: Any) -> str:
    """A container that waits for its next start, for some seconds still."""
    container = create(daemon, "exit 3", "always", **host)
    start(daemon, container)
    wait_until(lambda: inspect(daemon, container)["RestartCount"] >= 6 and state(daemon, container)["Restarting"])
    return container


@pytest.fixture
def waiting(daemon: Daemon, busybox: str) -> Any:
    container = restarting(daemon)
    yield container
    daemon.request("DELETE", f"/containers/{container}", force=True)


def test_who_waits_for_his_restart_is_not_removed_without_force(daemon: Daemon, waiting: str) -> None:
    answer = daemon.request("DELETE", f"/containers/{waiting}")
    name = inspect(daemon, waiting)["Name"][1:]
    assert answer.status == 409
    assert answer.message == (
        f'cannot remove container "{name}": container is restarting: stop the container before removing or force remove'
    )
    assert state(daemon, waiting)["Restarting"]
    assert daemon.request("POST", f"/containers/{waiting}/start").status == 304
    sentence = f"Container {waiting} is restarting, wait until the container is running"
    for method, what, body in (("POST", "exec", {"Cmd": ["true"]}), ("POST", "pause", None), ("GET", "top", None)):
        refused = daemon.request(method, f"/containers/{waiting}/{what}", body)
        assert (refused.status, refused.message) == (409, sentence)
    assert daemon.request("DELETE", f"/containers/{waiting}", force=True).status == 204
    assert daemon.request("GET", f"/containers/{waiting}/json").status == 404


@pytest.mark.parametrize(
    ("what", "query"), [("kill", {}), ("kill", {"signal": "USR1"}), ("stop", {})], ids=["kill", "signal", "stop"]
)
def test_who_waits_for_his_restart_is_ended(daemon: Daemon, busybox: str, what: str, query: dict[str, Any]) -> None:
    body = {"Image": "busybox", "Cmd": ["false"], "HostConfig": {"RestartPolicy": {"Name": "always"}}}
    container = str(daemon.request("POST", "/containers/create", body).json["Id"])
    start(daemon, container)
    wait_until(lambda: inspect(daemon, container)["RestartCount"] >= 4 and state(daemon, container)["Restarting"])
    assert daemon.request("POST", f"/containers/{container}/{what}", **query).status == 204
    shown = state(daemon, container)
    assert (shown["Status"], shown["Running"], shown["Restarting"]) == ("exited", False, False)
    assert daemon.request("POST", f"/containers/{container}/kill").status == 409
    assert daemon.request("DELETE", f"/containers/{container}").status == 204


def test_a_restart_is_no_end_for_a_container_with_rm(daemon: Daemon, busybox: str) -> None:
    container = create(daemon, "sleep 1000", AutoRemove=True)
    start(daemon, container)
    first = state(daemon, container)["Pid"]
    assert daemon.request("POST", f"/containers/{container}/restart").status == 204
    assert state(daemon, container)["Running"]
    assert state(daemon, container)["Pid"] != first
    assert daemon.request("POST", f"/containers/{container}/stop").status == 204
    assert daemon.request("GET", f"/containers/{container}/json").status == 404


def test_a_start_that_fails_is_tried_again_and_shown(daemon: Daemon, busybox: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    container = create(daemon, "sleep 1000", "always", NetworkMode="bridge", PortBindings=ports)
    start(daemon, container)

    def is_refused() -> bool:
        if pid := state(daemon, container)["Pid"]:  # its first run, or one that came before the port was taken
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return str(port) in state(daemon, container)["Error"]

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        wait_until(is_refused)
        before = inspect(daemon, container)["RestartCount"]
        wait_until(lambda: inspect(daemon, container)["RestartCount"] > before)
        assert state(daemon, container)["Status"] == "restarting"
        assert state(daemon, container)["ExitCode"] == 128
    wait_until(lambda: state(daemon, container)["Status"] == "running")
    assert state(daemon, container)["Error"] == ""
    daemon.request("DELETE", f"/containers/{container}", force=True)


def test_a_start_that_fails_counts_as_a_failure(daemon: Daemon, busybox: str) -> None:
    donor = create(daemon, "sleep 1000")
    start(daemon, donor)
    container = create(daemon, "sleep 1000", "on-failure", 2, NetworkMode=f"container:{donor}")
    start(daemon, container)
    pid = state(daemon, container)["Pid"]
    daemon.request("DELETE", f"/containers/{donor}", force=True)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: state(daemon, container)["Status"] == "exited")
    assert inspect(daemon, container)["RestartCount"] == 2
    assert donor in state(daemon, container)["Error"]
    assert daemon.request("DELETE", f"/containers/{container}").status == 204


def test_a_keeper_that_dies_again_and_again_costs_nobody_his_restart(crashing: Daemon) -> None:
    loops = [create(crashing, "sleep 0.05; exit 1", "always") for _ in range(5)]
    for container in loops:
        start(crashing, container)
    for _ in range(5):
        keeper = crashing.keeper_pid
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda old=keeper: crashing.keeper_pid != old)  # type: ignore[misc]
        time.sleep(0.1)
    counts = [inspect(crashing, container)["RestartCount"] for container in loops]
    for container, count in zip(loops, counts, strict=True):
        wait_until(lambda c=container, n=count: inspect(crashing, c)["RestartCount"] > n + 1)  # type: ignore[misc]
        assert state(crashing, container)["Status"] in ("restarting", "running")
        crashing.request("POST", f"/containers/{container}/stop")
        assert state(crashing, container)["Status"] == "exited"


def test_a_start_during_the_keepers_replacement_waits_for_it(crashing: Daemon) -> None:
    container = create(crashing, "sleep 1000")
    os.kill(crashing.keeper_pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while (answer := crashing.request("POST", f"/containers/{container}/start")).status == 503:
        assert time.monotonic() < deadline, answer.body  # it was sent before the daemon knew
    assert answer.status == 204, answer.body
    assert state(crashing, container)["Status"] == "running"


def written_state(daemon: Daemon, container: str) -> bytes:
    """What the database has of a container that runs; a start comes there some milliseconds after its answer."""
    with closing(sqlite3.connect(f"file:{daemon.data_root}/wherry.db?mode=ro", uri=True)) as database:
        [[found]] = database.execute("SELECT state FROM states WHERE id = ?", (container,)).fetchall() or [[b""]]
    return bytes(found)


def reboot(daemon: Daemon) -> None:
    """What a machine's going down leaves: rows that say running, and no process."""
    listed = daemon.request("GET", "/containers/json").json
    pids = [pid for one in listed if (pid := state(daemon, one["Id"])["Pid"])]
    keeper = daemon.keeper_pid
    wait_until(lambda: all(b"running" in written_state(daemon, one["Id"]) for one in listed))
    daemon.kill9()
    for pid in (keeper, *pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for path in sorted((daemon.exec_root / "containers").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    daemon.start()


@pytest.mark.parametrize("how", ["reboot", "shutdown"])
def test_who_needs_another_comes_back_after_it(crashing: Daemon, how: str) -> None:
    first = create(crashing, "sleep 1000", "always", name="first", NetworkMode="bridge", IpcMode="shareable")
    joined: list[dict[str, Any]] = [
        {"NetworkMode": "container:first"},
        {"PidMode": "container:first"},
        {"IpcMode": "container:first"},
        {"NetworkMode": "bridge", "Links": ["first:db"]},
    ]
    others = [create(crashing, "sleep 1000", "unless-stopped", **host) for host in joined]
    last = create(crashing, "sleep 1000", "always", NetworkMode=f"container:{others[3]}")
    for container in (first, *others, last):
        start(crashing, container)
    if how == "reboot":
        reboot(crashing)
    else:
        assert crashing.request("POST", "/wherry/shutdown", kill=True).status in (200, 204)
        assert crashing.process
        crashing.process.wait(60)
        crashing.start()
    for container in (first, *others, last):
        wait_until(lambda c=container: state(crashing, c)["Status"] == "running")  # type: ignore[misc]
        assert state(crashing, container)["Error"] == ""
    assert inspect(crashing, last)["RestartCount"] <= 1, "it was not tried in vain"


def test_who_starts_with_the_daemon_is_as_under_docker(crashing: Daemon) -> None:
    def made(policy: str, *moves: str, script: str = "sleep 1000") -> str:
        container = create(crashing, script, policy)
        for move in moves:
            assert crashing.request("POST", f"/containers/{container}/{move}").status in (204, 200)
        return container

    comes = [
        made("always", "start", "stop"),
        made("always", "start"),
        made("unless-stopped", "start"),
        made("on-failure", "start"),
    ]
    stays = [
        made("always"),
        made("unless-stopped", "start", "stop"),
        made("unless-stopped", "start", "kill"),
        made("on-failure", "start", "wait", script="exit 0"),
        made("no", "start"),
    ]
    removed = create(crashing, "sleep 1000", AutoRemove=True)
    for number in range(2):
        assert crashing.request("POST", "/wherry/shutdown", kill=True).status in (200, 204)
        assert crashing.process
        crashing.process.wait(60)
        crashing.start()
        for container in comes:
            wait_until(lambda c=container: state(crashing, c)["Status"] == "running")  # type: ignore[misc]
        if number == 0:
            crashing.request("POST", f"/containers/{comes[0]}/stop")
    assert [state(crashing, container)["Running"] for container in stays] == [False] * 5
    assert crashing.request("GET", f"/containers/{removed}/json").status == 404
    crashing.restart()  # this time everybody runs on
    assert all(state(crashing, container)["Running"] for container in comes)
