"""Processes that are killed for want of memory are told of at once, and once, also when their container lives on."""

from __future__ import annotations

import json
import time

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "docker", "overlay", "namespaces")]

LIMIT = ("-m", "16m", "--memory-swap", "16m")
#: A shell's words: a child needs more memory than there is.
HOG = "(x=0123456789abcdef; while :; do x=$x$x; done)"


@pytest.fixture(autouse=True)
def _fresh(clean: None, busybox: str) -> None:
    pass


def state(daemon: Daemon, name: str) -> tuple[str, bool]:
    shown = daemon.request("GET", f"/containers/{name}/json").json["State"]
    return shown["Status"], shown["OOMKilled"]


def told(daemon: Daemon, name: str) -> list[str]:
    """What has been told of a container's memory and end, up to now."""
    chosen = [f"--filter={condition}" for condition in (f"container={name}", "event=oom", "event=die")]
    words = ("events", "--since", "1", "--until", f"{time.time() + 0.01:.9f}", "--format", "{{.Action}}", *chosen)
    return daemon.docker(*words, check=True).stdout.split()


def await_event(daemon: Daemon, name: str, event: str) -> None:
    words = ("--since", "1", "--filter", f"container={name}", "--filter", f"event={event}", "--format", "{{.Action}}")
    with daemon.following("events", *words) as lines:
        assert next(lines).startswith(event)


def test_a_child_is_told_of_while_its_container_lives_on(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "parent", *LIMIT, "busybox", "sh", "-c", f"{HOG}; sleep 600", check=True)
    await_event(daemon, "parent", "oom")
    assert state(daemon, "parent") == ("running", True)
    daemon.docker("kill", "parent", check=True)
    daemon.docker("wait", "parent", check=True)
    assert told(daemon, "parent") == ["oom", "die"]


def test_an_exec_that_runs_out_of_memory_is_told_of(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "calm", *LIMIT, "busybox", "sleep", "600", check=True)
    assert daemon.docker("exec", "calm", "sh", "-c", f"{HOG}; true").returncode == 0
    await_event(daemon, "calm", "oom")
    assert state(daemon, "calm") == ("running", True)
    daemon.docker("restart", "-t0", "calm", check=True)
    assert state(daemon, "calm") == ("running", False)


def test_a_container_that_dies_of_it_is_told_of_once(daemon: Daemon) -> None:
    daemon.docker(
        "run", "--name", "glutton", *LIMIT, "busybox", "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"
    )
    assert state(daemon, "glutton") == ("exited", True)
    assert told(daemon, "glutton") == ["oom", "die"]


def test_another_daemon_goes_on_watching(mortal: Daemon) -> None:
    script = f"{HOG}; while ! [ -e /go ]; do sleep 0.1; done; {HOG}; sleep 600"
    mortal.docker("run", "-d", "--name", "parent", *LIMIT, "busybox", "sh", "-c", script, check=True)
    await_event(mortal, "parent", "oom")
    mortal.kill9()
    mortal.start()
    assert state(mortal, "parent") == ("running", True)
    mortal.docker("exec", "parent", "touch", "/go", check=True)
    await_event(mortal, "parent", "oom")
    mortal.remove_containers()


def test_what_is_executed_later_has_the_containers_limits_and_groups(daemon: Daemon) -> None:
    check = "ulimit -n; id -G"
    words = ("--ulimit", "nofile=77:88", "--group-add", "users", "--group-add", "4321", "--health-interval", "100ms")
    daemon.docker("run", "-d", "--name", "bound", *words, "--health-cmd", check, "busybox", "sleep", "600", check=True)
    for user, groups in (((), "0 100 4321"), (("-u", "guest"), "1000 100 4321")):
        done = daemon.docker("exec", *user, "bound", "sh", "-c", f"{check}; ulimit -Hn", check=True)
        first, *shown, last = done.stdout.splitlines()
        assert (first, last) == ("77", "88")
        assert sorted(shown[0].split()) == sorted(groups.split())
    await_event(daemon, "bound", "health_status")
    (report, *_) = json.loads(daemon.docker("inspect", "bound").stdout)[0]["State"]["Health"]["Log"]
    assert report["Output"] == "77\n0 100 4321\n"
