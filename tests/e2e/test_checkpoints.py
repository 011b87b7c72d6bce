"""Checkpoints through Docker's API, with a criu that works on this kernel; and to registries."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need
from support.processes import wait_for
from support.registries import Registry

pytestmark = need("root", "busybox", "overlay")

COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"


def call(daemon: Daemon, method: str, path: str, body: object = None) -> Any:
    """Ask for something that must succeed."""
    answer = daemon.request(method, path, body)
    assert answer.status < 300, answer.body
    return answer


def state(daemon: Daemon, name: str) -> dict[str, Any]:
    """A container's state."""
    found: dict[str, Any] = call(daemon, "GET", f"/containers/{name}/json").json["State"]
    return found


def counted(daemon: Daemon, name: str) -> int:
    """The last number in a container's log, whose last line may be cut."""
    return max(map(int, daemon.cli("logs", "--tail", "2", name).stdout.split()), default=0)


def address_of(daemon: Daemon, name: str) -> str:
    """A container's address."""
    networks = call(daemon, "GET", f"/containers/{name}/json").json["NetworkSettings"]["Networks"]
    return str(networks["bridge"]["IPAddress"])


def ended(daemon: Daemon, name: str) -> bool:
    """Whether a container has ended."""
    return not state(daemon, name)["Running"]


@need("criu")
def test_a_container_goes_on_from_a_checkpoint_that_another_daemon_makes(mortal: Daemon) -> None:
    """Its log goes on, its exit is seen, execs and volumes work; a restart policy does not begin it again."""
    body = {
        "Image": "busybox:latest",
        "Cmd": ["sh", "-c", COUNT],
        "Tty": True,
        "HostConfig": {"RestartPolicy": {"Name": "always"}, "Binds": ["counting:/data"]},
    }
    call(mortal, "POST", "/containers/create?name=one", body)
    call(mortal, "POST", "/containers/one/start")
    wait_for(lambda: counted(mortal, "one") > 2)
    had = address_of(mortal, "one")
    mortal.kill9()
    mortal.start()

    call(mortal, "POST", "/containers/one/checkpoints", {"CheckpointID": "before", "Exit": False})
    assert state(mortal, "one")["Running"]
    call(mortal, "POST", "/containers/one/checkpoints", {"CheckpointID": "last", "Exit": True})
    wait_for(lambda: ended(mortal, "one"))
    assert state(mortal, "one")["ExitCode"] == 137
    assert call(mortal, "GET", "/containers/one/checkpoints").json == [{"Name": "before"}, {"Name": "last"}]
    call(mortal, "DELETE", "/containers/one/checkpoints/before")
    before = counted(mortal, "one")

    call(mortal, "POST", "/containers/one/start?checkpoint=last")
    wait_for(lambda: before < counted(mortal, "one"))
    assert counted(mortal, "one") < before + 1000, "it did not begin again at one"
    script = ["sh", "-c", "ip addr show eth0; echo hello >/data/hello; cat /proc/1/cmdline"]
    execution = call(mortal, "POST", "/containers/one/exec", {"Cmd": script, "AttachStdout": True}).json["Id"]
    said = call(mortal, "POST", f"/exec/{execution}/start", {"Detach": False}).body
    assert address_of(mortal, "one") == had
    assert had.encode() in said
    assert COUNT.encode() in said

    refused = mortal.request("POST", "/containers/one/checkpoints", {"CheckpointID": "last", "Exit": True})
    assert (refused.status, b"already exists" in refused.body) == (409, True)
    assert mortal.request("POST", "/containers/one/start?checkpoint=last").status == 304
    call(mortal, "POST", "/containers/one/kill")
    assert state(mortal, "one")["ExitCode"] == 137


@need("criu")
def test_the_commands_of_the_cli(mortal: Daemon) -> None:
    """Without a terminal: the streams are the new run's FIFOs."""
    call(mortal, "POST", "/containers/create?name=two", {"Image": "busybox:latest", "Cmd": ["sh", "-c", COUNT]})
    call(mortal, "POST", "/containers/two/start")
    wait_for(lambda: counted(mortal, "two") > 2)
    assert mortal.cli("checkpoint", "create", "two", "last").stdout == "last\n"
    wait_for(lambda: ended(mortal, "two"))
    assert mortal.cli("checkpoint", "ls", "two").stdout.split() == ["CHECKPOINT", "NAME", "last"]
    before = counted(mortal, "two")
    assert mortal.cli("start", "--checkpoint", "last", "two").stdout == "two\n"
    wait_for(lambda: counted(mortal, "two") > before)
    assert mortal.cli("checkpoint", "rm", "two", "last").returncode == 0
    assert "does not exist" in mortal.cli("start", "--checkpoint", "last", "two").stderr


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Ours, for everybody."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    bcrypt = pytest.importorskip("bcrypt")
    registry = Registry("wherry", f"me:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


def test_a_checkpoint_goes_to_a_registry_and_comes_to_another_container(
    daemon: Daemon, busybox: str, registry: Registry, tmp_path: Path
) -> None:
    """What is in it does not matter for that: here no criu has made it."""
    name, here, there = f"{registry.host}/moved/web", tmp_path / "here", tmp_path / "there"
    (here / "last").mkdir(parents=True)
    for part in ("inventory.img", "pages-1.img", "external.json"):
        (here / "last" / part).write_bytes(hashlib.sha256(part.encode()).digest() * 1000)
    daemon.cli("create", "--name", "web", busybox, check=True)
    at = ("--checkpoint-dir", str(here))
    assert daemon.cli("checkpoint", "push", *at, "web", "last", name).returncode == 1, "nobody is logged in"
    daemon.cli("login", "-u", "me", "--password-stdin", registry.host, input="secret", check=True)
    assert "last: Pushed" in daemon.cli("checkpoint", "push", *at, "web", "last", name, check=True).stdout
    at = ("--checkpoint-dir", str(there))
    assert daemon.cli("checkpoint", "pull", *at, name, "web", "next", check=True).stdout.endswith("next\n")
    found = {path.name: path.read_bytes() for path in (there / "next").iterdir()}
    assert found == {path.name: path.read_bytes() for path in (here / "last").iterdir()}
    assert "already exists" in daemon.cli("checkpoint", "pull", *at, name, "web", "next").stderr
    assert "is an artifact of the type" in daemon.cli("volume", "pull", name, "new").stderr
    daemon.cli("rm", "web", check=True)


def test_while_one_is_written_whoever_only_looks_is_answered(
    busybox_archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A criu that says nothing: the container's state, log and processes are told, execs and signals reach it."""
    criu = tmp_path / "criu"
    criu.write_text(f"#!/bin/sh\necho >{tmp_path}/begun\nread line <{tmp_path}/go\n")
    criu.chmod(0o755)
    os.mkfifo(tmp_path / "go")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with busybox_daemon(busybox_archive) as daemon, ThreadPoolExecutor() as pool:
        script = "trap 'echo heard' USR1; echo begun; while :; do sleep 0.05; done"
        assert daemon.cli("run", "-d", "--name", "one", "busybox", "sh", "-c", script).returncode == 0
        wait_for(lambda: "begun" in daemon.cli("logs", "one").stdout)
        writing = pool.submit(daemon.cli, "checkpoint", "create", "one", "before")
        wait_for((tmp_path / "begun").exists)
        for words, text in (
            (("inspect", "-f", "{{.State.Status}}", "one"), "running"),
            (("ps",), "one"),
            (("top", "one"), "trap"),
            (("checkpoint", "ls", "one"), ""),
            (("exec", "one", "echo", "inside"), "inside"),
            (("kill", "-s", "USR1", "one"), "one"),
        ):
            assert text in daemon.cli(*words).stdout, words
        wait_for(lambda: "heard" in daemon.cli("logs", "one").stdout)
        pausing = pool.submit(daemon.cli, "pause", "one")  # what changes the container comes after it
        assert not writing.done()
        (tmp_path / "go").write_text("\n")
        assert "criu failed" in writing.result().stderr
        assert pausing.result().returncode == 0
        assert daemon.cli("inspect", "-f", "{{.State.Status}}", "one").stdout == "paused\n"
