"""Streams of a real daemon: each direction to its end, at once, and without holding anybody up."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support import unixhttp
from support.daemons import Daemon
from support.needs import need
from support.wire import Wire

pytestmark = [need("root", "busybox"), pytest.mark.usefixtures("clean", "busybox")]


@pytest.fixture
def wires(daemon: Daemon) -> Iterator[Any]:
    opened: list[Wire] = []

    def connect(*arguments: Any, **options: Any) -> Wire:
        opened.append(Wire(daemon, *arguments, **options))
        return opened[-1]

    yield connect
    for wire in opened:
        wire.close()


def create(daemon: Daemon, script: str, **config: Any) -> str:
    host = {"NetworkMode": "none"}
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host, "StopSignal": "KILL", **config}
    answer = daemon.request("POST", "/containers/create", body)
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


def start(daemon: Daemon, container: str) -> None:
    answer = daemon.request("POST", f"/containers/{container}/start")
    assert answer.status == 204, answer.body


def attach(wires: Any, container: str, query: str = "stream=1&stdin=1&stdout=1&stderr=1") -> Wire:
    wire: Wire = wires("POST", f"/v1.43/containers/{container}/attach?{query}", upgrade=True)
    assert wire.status == 101
    return wire


def test_the_head_of_a_wait_comes_before_the_container_has_ended(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "exit 9")
    wire = wires("POST", f"/containers/{container}/wait?condition=next-exit")
    assert wire.status == 200
    start(daemon, container)
    assert json.loads(wire.chunk()) == {"StatusCode": 9}


def test_a_wait_for_the_removal_ends_with_it(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "exit 4", HostConfig={"NetworkMode": "none", "AutoRemove": True})
    wire = wires("POST", f"/containers/{container}/wait?condition=removed")
    start(daemon, container)
    assert json.loads(wire.chunk())["StatusCode"] == 4
    assert daemon.request("GET", f"/containers/{container}/json").status == 404


def test_an_attached_client_gets_both_streams_in_frames(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "echo out; echo err >&2")
    wire = attach(wires, container)
    assert wire.headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    start(daemon, container)
    assert sorted(unixhttp.frames(wire.read())) == [(1, b"out\n"), (2, b"err\n")]


def test_half_closing_ends_the_input_and_not_the_output(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "cat; echo after", OpenStdin=True, StdinOnce=True, AttachStdin=True)
    wire = attach(wires, container)
    start(daemon, container)
    wire.socket.sendall(b"input\n")
    wire.socket.shutdown(socket.SHUT_WR)
    assert b"".join(data for _, data in unixhttp.frames(wire.read())) == b"input\nafter\n"


def test_megabytes_go_through_a_container_unharmed(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "cat", OpenStdin=True, StdinOnce=True, AttachStdin=True)
    wire = attach(wires, container)
    start(daemon, container)
    sent = bytes(range(256)) * 40_000

    def send() -> None:
        wire.socket.sendall(sent)
        wire.socket.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    received = b"".join(data for _, data in unixhttp.frames(wire.read()))
    thread.join()
    assert received == sent


def test_a_terminal_is_raw_has_a_size_and_detach_keys(daemon: Daemon, wires: Any) -> None:
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    container = create(daemon, script, Tty=True, OpenStdin=True, AttachStdin=True)
    wire = attach(wires, container, "stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,x")
    assert wire.headers["content-type"] == "application/vnd.docker.raw-stream"
    start(daemon, container)
    assert wire.read(7) == b"ready\r\n"
    assert daemon.request("POST", f"/containers/{container}/resize", h=33, w=77).status == 200
    assert wire.read(7) == b"33 77\r\n"
    wire.socket.sendall(b"\x01x")
    assert b"\x01" not in wire.read()
    assert daemon.request("GET", f"/containers/{container}/json").json["State"]["Running"] is True


def test_an_attached_client_that_is_killed_harms_nobody(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "while :; do echo tick; sleep 0.05; done")
    first, second = attach(wires, container), attach(wires, container)
    start(daemon, container)
    assert first.read(13)
    first.close()
    assert len(second.read(130)) == 130
    assert daemon.request("GET", f"/containers/{container}/json").json["State"]["Running"] is True


def test_a_client_that_does_not_read_holds_up_neither_container_nor_daemon(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "head -c 20000000 /dev/zero; echo done >&2")
    wire = attach(wires, container, "stream=1&stdout=1")
    ended = wires("POST", f"/containers/{container}/wait?condition=next-exit")
    start(daemon, container)
    assert json.loads(ended.chunk())["StatusCode"] == 0
    assert sum(len(data) for _, data in unixhttp.frames(wire.read())) == 20_000_000


def test_what_was_written_before_comes_first_when_asked_for(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "echo before; sleep 600")
    start(daemon, container)
    wait_for_log(daemon, container, b"before\n")
    wire = attach(wires, container, "logs=1&stream=1&stdout=1")
    assert wire.read(15) == b"\x01\0\0\0\0\0\0\x07before\n"


def wait_for_log(daemon: Daemon, container: str, text: bytes) -> None:
    deadline = time.monotonic() + 60
    while text not in daemon.request("GET", f"/containers/{container}/logs", stdout=True).body:
        assert time.monotonic() < deadline


def test_an_exec_carries_its_streams_and_its_exit_code(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "sleep 600")
    start(daemon, container)
    wish = {"Cmd": ["sh", "-c", "cat; exit 6"], "AttachStdin": True, "AttachStdout": True}
    execution = daemon.request("POST", f"/containers/{container}/exec", wish).json["Id"]
    wire = wires("POST", f"/exec/{execution}/start", {"Detach": False, "Tty": False}, upgrade=True)
    assert wire.status == 101
    wire.socket.sendall(b"through")
    wire.socket.shutdown(socket.SHUT_WR)
    assert list(unixhttp.frames(wire.read())) == [(1, b"through")]
    told = daemon.request("GET", f"/exec/{execution}/json").json
    assert (told["Running"], told["ExitCode"]) == (False, 6)


def test_an_exec_is_started_once(daemon: Daemon) -> None:
    container = create(daemon, "sleep 600")
    start(daemon, container)
    execution = daemon.request("POST", f"/containers/{container}/exec", {"Cmd": ["sleep", "600"]}).json["Id"]
    assert daemon.request("POST", f"/exec/{execution}/start", {"Detach": True}).status == 200
    assert daemon.request("POST", f"/exec/{execution}/start", {"Detach": True}).status == 409
    assert daemon.request("POST", f"/exec/{execution}/start", {}).status == 409


def test_events_come_as_they_happen(daemon: Daemon, wires: Any) -> None:
    wire = wires("GET", '/events?filters={"type":["container"]}')
    assert wire.headers["content-type"] == "application/jsonl"  # since version 1.52
    container = create(daemon, "exit 3", Labels={"colour": "red"})
    start(daemon, container)
    daemon.request("POST", f"/containers/{container}/wait")
    daemon.request("DELETE", f"/containers/{container}")
    events = [json.loads(wire.chunk()) for _ in range(4)]
    assert [event["Action"] for event in events] == ["create", "start", "die", "destroy"]
    assert {event["Actor"]["ID"] for event in events} == {container}
    assert events[2]["Actor"]["Attributes"]["exitCode"] == "3"
    assert events[2]["Actor"]["Attributes"]["colour"] == "red"


def test_past_events_are_told_up_to_a_moment(daemon: Daemon) -> None:
    since = time.time()
    container = create(daemon, "true")
    answer = daemon.request("GET", "/events", since=f"{since:.9f}", until=f"{time.time():.9f}")
    actions = [json.loads(line)["Action"] for line in answer.body.splitlines()]
    assert actions == ["create"], container


def test_followed_logs_end_with_the_container(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "echo one; sleep 0.2; echo two")
    start(daemon, container)
    answer = daemon.request("GET", f"/containers/{container}/logs", stdout=True, follow=True)
    assert b"".join(data for _, data in unixhttp.frames(answer.body)) == b"one\ntwo\n"


def test_connections_that_were_left_are_forgotten(daemon: Daemon, wires: Any) -> None:
    container = create(daemon, "sleep 600")
    start(daemon, container)
    before = daemon.open_files()
    targets = [
        ("GET", "/events"),
        ("GET", f"/containers/{container}/logs?stdout=1&follow=1"),
        ("GET", f"/containers/{container}/stats"),
        ("POST", f"/containers/{container}/wait"),
    ]
    opened = [wires(*target) for target in targets * 5]
    opened += [attach(wires, container) for _ in range(10)]
    assert daemon.open_files() > before + 20
    for wire in opened:
        wire.close()
    deadline = time.monotonic() + 60
    while daemon.open_files() > before:
        assert time.monotonic() < deadline, daemon.open_files() - before
        time.sleep(0.05)
