"""Health checks of a real daemon; where Docker's own is there, the same questions to it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from support.busybox import import_busybox
from support.daemons import Daemon, DockerDaemon
from support.needs import need

pytestmark = need("root", "busybox")

Engine = Daemon | DockerDaemon
_MS = 1_000_000  # nanoseconds
_PATIENCE = 60.0  # seconds


@pytest.fixture(scope="module", params=["wherryd", "dockerd"])
def engine(request: pytest.FixtureRequest, busybox_archive: bytes) -> Engine:
    """One of the two, with the image."""
    engine: Engine = request.getfixturevalue("daemon" if request.param == "wherryd" else "dockerd")
    import_busybox(engine, busybox_archive)
    return engine


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "engine" in request.fixturenames:
        engine = request.getfixturevalue("engine")
        for container in engine.request("GET", "/containers/json", all=True).json:
            engine.request("DELETE", f"/containers/{container['Id']}", force=True)


def checked(engine: Engine, test: str, **check: int) -> str:
    """Start a container whose check is a line for the shell; durations are nanoseconds."""
    body = {
        "Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"},
        "Healthcheck": {"Test": ["CMD-SHELL", test], "Interval": 50 * _MS, **check}, "StopSignal": "KILL",
    }  # fmt: skip
    answer = engine.request("POST", "/containers/create", body)
    assert answer.status == 201, answer.message
    container = str(answer.json["Id"])
    assert engine.request("POST", f"/containers/{container}/start").status == 204
    return container


def health_of(engine: Engine, container: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.request("GET", f"/containers/{container}/json").json["State"].get("Health", {})
    return found


def await_health(engine: Engine, container: str, test: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE
    while not test(health := health_of(engine, container)):
        assert time.monotonic() < deadline, health
        time.sleep(0.02)
    return health


def status_is(status: str) -> Callable[[dict[str, Any]], bool]:
    return lambda health: health["Status"] == status


def listed(engine: Engine, **filters: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.request("GET", "/containers/json", filters=json.dumps(filters)).json
    return found


def run(engine: Engine, container: str, script: str) -> None:
    wish = {"Cmd": ["sh", "-c", script], "AttachStdout": True}
    made = engine.request("POST", f"/containers/{container}/exec", wish).json["Id"]
    engine.request("POST", f"/exec/{made}/start", {})


def test_a_container_becomes_healthy_and_unhealthy_and_healthy_again(engine: Engine) -> None:
    since = time.time()
    container = checked(engine, "echo looked; test -e /works", Retries=2)
    assert health_of(engine, container)["Status"] == "starting"
    assert " (health: starting)" in listed(engine)[0]["Status"]
    run(engine, container, "touch /works")
    seen = await_health(engine, container, status_is("healthy"))
    assert (seen["FailingStreak"], seen["Log"][-1]["ExitCode"], seen["Log"][-1]["Output"]) == (0, 0, "looked\n")
    assert listed(engine)[0]["Status"].endswith(" (healthy)")
    run(engine, container, "rm /works")
    seen = await_health(engine, container, lambda h: h["Status"] == "unhealthy" and len(h["Log"]) == 5)
    assert (seen["FailingStreak"] >= 2, seen["Log"][-1]["ExitCode"]) == (True, 1)
    assert listed(engine)[0]["Status"].endswith(" (unhealthy)")
    assert [len(listed(engine, health=[s])) for s in ("unhealthy", "healthy", "starting", "none")] == [1, 0, 0, 0]
    run(engine, container, "touch /works")
    await_health(engine, container, status_is("healthy"))
    filters = json.dumps({"event": ["health_status"], "container": [container]})
    told = engine.request("GET", "/events", since=f"{since:.9f}", until=f"{time.time():.9f}", filters=filters)
    actions = [json.loads(line)["Action"] for line in told.body.splitlines()]
    assert actions == [f"health_status: {status}" for status in ("healthy", "unhealthy", "healthy")]
    engine.request("POST", f"/containers/{container}/kill")
    engine.request("POST", f"/containers/{container}/wait")
    assert health_of(engine, container)["Status"] == "unhealthy"


def test_a_check_that_takes_too_long_has_failed_and_is_ended(engine: Engine) -> None:
    container = checked(engine, "echo $$ >> /pids; exec sleep 600", Timeout=200 * _MS, Retries=1)
    seen = await_health(engine, container, status_is("unhealthy"))
    assert seen["Log"][0]["ExitCode"] == -1
    assert seen["Log"][0]["Output"].startswith("Health check exceeded timeout (200ms)")
    await_health(engine, container, lambda health: len(health["Log"]) >= 3)
    top = engine.request("GET", f"/containers/{container}/top").json["Processes"]
    assert len(top) <= 3, "checks that took too long are still there"


def test_a_command_that_is_not_there_is_a_failure_that_says_so(engine: Engine) -> None:
    body = {
        "Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"},
        "Healthcheck": {"Test": ["CMD", "nosuch"], "Interval": 50 * _MS, "Retries": 1},
    }  # fmt: skip
    container = engine.request("POST", "/containers/create", body).json["Id"]
    engine.request("POST", f"/containers/{container}/start")
    seen = await_health(engine, container, status_is("unhealthy"))
    assert seen["Log"][0]["ExitCode"] != 0
    assert 'exec: "nosuch": executable file not found in $PATH' in seen["Log"][0]["Output"]


def test_much_output_is_cut(engine: Engine) -> None:
    container = checked(engine, "head -c 100000 /dev/zero | tr '\\0' x")
    (report, *_) = await_health(engine, container, status_is("healthy"))["Log"]
    assert (len(report["Output"]), report["Output"][-4:]) == (4099, "x...")


def test_failures_do_not_count_while_it_starts(engine: Engine) -> None:
    container = checked(engine, "false", Retries=1, StartPeriod=1500 * _MS, StartInterval=50 * _MS)
    seen = await_health(engine, container, lambda health: len(health["Log"]) >= 3)
    assert (seen["Status"], seen["FailingStreak"]) == ("starting", 0)
    await_health(engine, container, status_is("unhealthy"))


def test_an_images_check_can_be_left_out(engine: Engine) -> None:
    container = checked(engine, "true")
    assert engine.request("POST", "/commit", container=container, repo="sound", tag="1").status == 201
    body = {"Image": "sound:1", "HostConfig": {"NetworkMode": "none"}, "Cmd": ["sleep", "600"]}
    for wish, healthy in (({}, True), ({"Healthcheck": {"Test": ["NONE"]}}, False)):
        made = engine.request("POST", "/containers/create", {**body, **wish}).json["Id"]
        engine.request("POST", f"/containers/{made}/start")
        if healthy:
            await_health(engine, made, status_is("healthy"))
        else:
            assert health_of(engine, made) == {}
        engine.request("DELETE", f"/containers/{made}", force=True)
    engine.request("DELETE", "/images/sound:1", force=True)


# --- wherry's alone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_what_was_seen_outlives_the_daemon_and_checks_go_on(mortal: Daemon, end: str) -> None:
    container = checked(mortal, "test ! -e /broken", Interval=400 * _MS, Retries=1)
    before = await_health(mortal, container, status_is("healthy"))
    getattr(mortal, end)()
    mortal.start()
    after = health_of(mortal, container)
    assert after["Status"] == "healthy"
    assert before["Log"][0] in after["Log"]
    run(mortal, container, "touch /broken")
    await_health(mortal, container, status_is("unhealthy"))


def test_a_paused_container_is_not_asked(mortal: Daemon) -> None:
    paused = checked(mortal, "true", Timeout=300 * _MS, Retries=1)
    other = checked(mortal, "true")
    await_health(mortal, paused, status_is("healthy"))
    assert mortal.request("POST", f"/containers/{paused}/pause").status == 204
    await_checks(mortal, other, 12)  # one of the paused one's may have been under way, and ends by its timeout
    log = health_of(mortal, paused)["Log"]
    await_checks(mortal, other, 12)
    assert health_of(mortal, paused)["Log"] == log
    assert mortal.request("POST", f"/containers/{paused}/unpause").status == 204
    # a busy machine may take longer for a check than its timeout, now and then
    await_health(mortal, paused, lambda health: health["Log"] != log and health["Status"] == "healthy")


def await_checks(engine: Engine, container: str, count: int) -> None:
    """Wait until so many checks of a container have ended, one after the other: at least 50 ms each."""
    for _ in range(count):
        last = health_of(engine, container)["Log"][-1:]
        await_health(engine, container, lambda health: health["Log"][-1:] != last)  # noqa: B023 - called at once


def test_a_container_that_starts_again_starts_anew(mortal: Daemon) -> None:
    container = checked(mortal, "true")
    await_health(mortal, container, status_is("healthy"))
    before = _pipes_and_processes(mortal)
    for _ in range(5):
        assert mortal.request("POST", f"/containers/{container}/restart", t=0).status == 204
    await_health(mortal, container, status_is("healthy"))
    deadline = time.monotonic() + _PATIENCE
    while _pipes_and_processes(mortal) > before + 3:  # a check may be under way
        assert time.monotonic() < deadline, "descriptors of checks are left open"
        time.sleep(0.05)
    assert len(mortal.request("GET", f"/containers/{container}/json").json["ExecIDs"] or []) <= 1


def _pipes_and_processes(daemon: Daemon) -> int:
    """How many descriptors the daemon has of the kinds that a check needs."""
    found = 0
    for entry in os.scandir(f"/proc/{daemon.pid}/fd"):
        with suppress(OSError):
            found += "pipe:" in os.readlink(entry.path) or "pidfd" in os.readlink(entry.path)
    return found
