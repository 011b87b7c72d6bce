"""Clients of a container's output that read late, slowly or never; and what others notice of it, which is nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support import unixhttp
from support.busybox import import_busybox
from support.daemons import Daemon
from support.needs import need
from support.wire import Wire

pytestmark = [need("root", "busybox", "overlay", "namespaces"), pytest.mark.usefixtures("busybox")]

SMALL = {"LogConfig": {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "2"}}}
NONE = {"LogConfig": {"Type": "none", "Config": {}}}
LINES = 1_000_000
COUNT = f"seq {LINES}"
COUNTED = b"".join(b"%d\n" % number for number in range(1, LINES + 1))


@pytest.fixture
def wires() -> Iterator[Callable[..., Wire]]:
    opened: list[Wire] = []

    def connect(*arguments: Any, **options: Any) -> Wire:
        opened.append(Wire(*arguments, **options))
        return opened[-1]

    yield connect
    for wire in opened:
        wire.close()


@pytest.fixture
def crashing(own_daemon: Daemon, busybox_archive: bytes) -> Daemon:
    import_busybox(own_daemon, busybox_archive)
    return own_daemon


def create(daemon: Daemon, script: str, host: dict[str, Any] | None = None, **config: Any) -> str:
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "StopSignal": "KILL", **config}
    body["HostConfig"] = {"NetworkMode": "none", **(host or {})}
    answer = daemon.request("POST", "/containers/create", body)
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


def start(daemon: Daemon, container: str) -> None:
    answer = daemon.request("POST", f"/containers/{container}/start")
    assert answer.status == 204, answer.body


def state(daemon: Daemon, container: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.request("GET", f"/containers/{container}/json").json["State"]
    return found


def attached(wires: Callable[..., Wire], daemon: Daemon, container: str) -> Wire:
    wire = wires(daemon, "POST", f"/containers/{container}/attach?stream=1&stdout=1&stderr=1", upgrade=True)
    assert wire.status == 101
    return wire


def processor_time(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12])


def _stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def wait_until_it_waits(daemon: Daemon, container: str) -> None:
    """Wait until a container that writes all the time writes no more: its processes sleep, and use no time."""
    top = daemon.request("GET", f"/containers/{container}/top").json
    pids = [int(row[top["Titles"].index("PID")]) for row in top["Processes"]]
    last, same = None, 0
    for _ in range(3000):
        now = [(_stat(pid)[0], processor_time(pid)) for pid in pids]
        asleep = all(status == "S" for status, _ in now)
        last, same = now, same + 1 if asleep and now == last else 0
        if same == 15:
            return
        time.sleep(0.01)
    raise AssertionError(f"it does not wait: {last}")


def data_of(stream: bytes) -> bytes:
    return b"".join(data for number, data in unixhttp.frames(stream) if number in (1, 2))


@pytest.mark.parametrize("host", [NONE, SMALL, {}], ids=["none", "small", "default"])
@pytest.mark.parametrize("removed", [True, False], ids=["rm", "kept"])
def test_who_reads_late_gets_all_of_it(
    daemon: Daemon, wires: Callable[..., Wire], host: dict[str, Any], removed: bool
) -> None:
    container = create(daemon, COUNT, {**host, "AutoRemove": removed})
    wire = attached(wires, daemon, container)
    start(daemon, container)
    if host:
        wait_until_it_waits(daemon, container)
    else:
        daemon.request("POST", f"/containers/{container}/wait", condition="removed" if removed else "not-running")
    assert data_of(wire.read()) == COUNTED


def test_who_reads_a_terminal_late_gets_all_of_it(daemon: Daemon, wires: Callable[..., Wire]) -> None:
    container = create(daemon, "seq 100000", {**SMALL, "AutoRemove": True}, Tty=True)
    wire = attached(wires, daemon, container)
    start(daemon, container)
    assert wire.read() == b"".join(b"%d\r\n" % number for number in range(1, 100001))


def test_who_attaches_to_what_runs_loses_nothing_from_there_on(daemon: Daemon, wires: Callable[..., Wire]) -> None:
    container = create(daemon, COUNT + "; exit 3", NONE)
    start(daemon, container)
    wire = attached(wires, daemon, container)
    seen = data_of(wire.read())
    assert seen
    assert COUNTED.endswith(seen)
    assert state(daemon, container)["ExitCode"] == 3


@pytest.mark.parametrize("tty", [True, False], ids=["terminal", "pipes"])
def test_who_reads_an_exec_late_gets_all_of_it(daemon: Daemon, wires: Callable[..., Wire], tty: bool) -> None:
    container = create(daemon, "sleep 1000")
    start(daemon, container)
    wish = {"Cmd": ["seq", "200000"], "AttachStdout": True, "Tty": tty}
    process = daemon.request("POST", f"/containers/{container}/exec", wish).json["Id"]
    wire = wires(daemon, "POST", f"/exec/{process}/start", {"Tty": tty}, upgrade=True)
    while not (pid := daemon.request("GET", f"/exec/{process}/json").json["Pid"]):
        pass
    while _stat(pid)[0] != "S":
        time.sleep(0.01)
    seen = wire.read()
    expected = b"".join(b"%d\n" % number for number in range(1, 200001))
    assert (seen.replace(b"\r\n", b"\n") if tty else data_of(seen)) == expected
    daemon.request("DELETE", f"/containers/{container}", force=True)


def test_a_client_that_never_reads_holds_up_its_own_container_and_nobody_else(
    daemon: Daemon, wires: Callable[..., Wire]
) -> None:
    container = create(daemon, "yes", SMALL)
    never = attached(wires, daemon, container)
    start(daemon, container)
    wait_until_it_waits(daemon, container)
    used = [processor_time(pid) for pid in (daemon.pid, daemon.keeper_pid)]
    assert daemon.cli("run", "--rm", "--network", "none", "busybox", "seq", "5", check=True).stdout == "1\n2\n3\n4\n5\n"
    flood = daemon.cli("run", "--rm", "--network", "none", "busybox", "seq", "300000", check=True)
    assert len(flood.stdout.split()) == 300000
    assert daemon.request("GET", f"/containers/{container}/logs", stdout=True, tail=3).status == 200
    wait_until_it_waits(daemon, container)
    assert processor_time(daemon.keeper_pid) - used[1] < 1000, "waiting is no work"
    never.close()  # the client dies
    second = attached(wires, daemon, container)
    assert second.read(100000), "and the container goes on"
    daemon.request("DELETE", f"/containers/{container}", force=True)


@pytest.mark.parametrize("end", ["stop", "kill", "rm", "restart"])
def test_a_container_that_waits_for_a_client_can_be_ended(daemon: Daemon, wires: Callable[..., Wire], end: str) -> None:
    container = create(daemon, COUNT + "; exec sleep 1000", SMALL)
    never = attached(wires, daemon, container)
    start(daemon, container)
    wait_until_it_waits(daemon, container)
    if end == "rm":
        assert daemon.request("DELETE", f"/containers/{container}", force=True).status == 204
    else:
        assert daemon.request("POST", f"/containers/{container}/{end}").status == 204
    seen = data_of(never.read())
    assert seen
    assert COUNTED.startswith(seen), "what it wrote before its end is there, without a gap"
    if end != "rm":
        daemon.request("DELETE", f"/containers/{container}", force=True)


def test_a_client_that_reads_bytewise_gets_everything(daemon: Daemon, wires: Callable[..., Wire]) -> None:
    container = create(daemon, "seq 200000", SMALL)
    wire = attached(wires, daemon, container)
    start(daemon, container)
    stream = b""
    for _ in range(2000):
        stream += wire.read(1)
    assert data_of(stream + wire.read()) == COUNTED[: COUNTED.index(b"200001\n")]


def test_two_clients_at_their_own_pace_get_the_same(daemon: Daemon, wires: Callable[..., Wire]) -> None:
    container = create(daemon, COUNT, SMALL)
    quick, slow = (attached(wires, daemon, container) for _ in range(2))
    start(daemon, container)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(quick.read)
        wait_until_it_waits(daemon, container)
        assert not first.done()
        assert data_of(slow.read()) == COUNTED
        assert data_of(first.result()) == COUNTED


def test_two_hundred_clients_of_one_flood_get_all_of_it(daemon: Daemon, wires: Callable[..., Wire]) -> None:
    container = create(daemon, "seq 100000", SMALL)
    clients = [attached(wires, daemon, container) for _ in range(200)]
    start(daemon, container)
    with ThreadPoolExecutor(len(clients)) as pool:  # all at once: each waits for the slowest
        seen = list(pool.map(lambda wire: hashlib.sha256(data_of(wire.read())).hexdigest(), clients[::-1]))
    assert set(seen) == {hashlib.sha256(COUNTED[: COUNTED.index(b"100001\n")]).hexdigest()}
    assert state(daemon, container)["ExitCode"] == 0


def test_a_container_goes_on_when_its_daemon_dies(crashing: Daemon, wires: Callable[..., Wire]) -> None:
    container = create(crashing, COUNT + "; exit 9", SMALL)
    attached(wires, crashing, container)
    start(crashing, container)
    wait_until_it_waits(crashing, container)
    crashing.kill9()
    crashing.start()
    assert crashing.request("POST", f"/containers/{container}/wait").json["StatusCode"] == 9


def test_a_client_loses_nothing_when_the_keeper_dies(crashing: Daemon, wires: Callable[..., Wire]) -> None:
    container = create(crashing, COUNT + "; exit 9", SMALL)
    wire = attached(wires, crashing, container)
    start(crashing, container)
    wait_until_it_waits(crashing, container)
    for _ in range(2):
        keeper = crashing.keeper_pid
        os.kill(keeper, signal.SIGKILL)
        while crashing.keeper_pid == keeper:
            time.sleep(0.01)
        wait_until_it_waits(crashing, container)
    assert data_of(wire.read()) == COUNTED
    assert crashing.request("POST", f"/containers/{container}/wait").json["StatusCode"] == 9


def test_who_does_not_want_to_wait_is_not_made_to_and_the_client_is_told(
    daemon: Daemon, wires: Callable[..., Wire]
) -> None:
    host = {"LogConfig": {"Type": "json-file", "Config": {"max-size": "64k", "mode": "non-blocking"}}}
    container = create(daemon, COUNT, host)
    wire = attached(wires, daemon, container)
    start(daemon, container)
    assert daemon.request("POST", f"/containers/{container}/wait").json["StatusCode"] == 0
    frames = list(unixhttp.frames(wire.read()))
    assert frames[-1][0] == 3
    assert b"dropped by the rotation of the log" in frames[-1][1]
    assert COUNTED.startswith(b"".join(data for number, data in frames if number == 1))


def test_a_terminals_log_breaks_off_for_who_is_overtaken(daemon: Daemon, wires: Callable[..., Wire]) -> None:
    container = create(daemon, "echo ready; read go; seq 300000", SMALL, OpenStdin=True, Tty=True)
    start(daemon, container)
    wire = wires(daemon, "GET", f"/containers/{container}/logs?follow=1&stdout=1")
    assert wire.chunk() == b"ready\r\n"
    overtake(daemon, wires, container)
    stream = wire.read()
    assert stream
    assert not stream.endswith(b"\r\n0\r\n\r\n"), "no last chunk: clients call it an unexpected end"
    assert b"HTTP/1.1" not in stream


def test_who_follows_a_log_and_is_overtaken_is_told(daemon: Daemon, wires: Callable[..., Wire]) -> None:
    container = create(daemon, "echo ready; read go; " + COUNT, SMALL, OpenStdin=True)
    start(daemon, container)
    wire = wires(daemon, "GET", f"/containers/{container}/logs?follow=1&stdout=1")
    stream = wire.chunk()
    overtake(daemon, wires, container)
    while chunk := wire.chunk():
        stream += chunk
    frames = list(unixhttp.frames(stream))
    assert frames[-1][0] == 3
    assert (b"ready\n" + COUNTED).startswith(b"".join(data for number, data in frames if number == 1))


def overtake(daemon: Daemon, wires: Callable[..., Wire], container: str) -> None:
    """Let a container write more than its log keeps, and end."""
    stdin = wires(daemon, "POST", f"/containers/{container}/attach?stream=1&stdin=1", upgrade=True)
    stdin.socket.sendall(b"go\n")
    assert daemon.request("POST", f"/containers/{container}/wait").json["StatusCode"] == 0
