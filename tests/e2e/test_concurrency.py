"""Many at once, and everything at the wrong moment: each gets an answer, and nothing is lost or left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay"), pytest.mark.usefixtures("clean")]


def create(daemon: Daemon, *command: str, name: str = "", **host: Any) -> str:
    body = {"Image": "busybox:latest", "Cmd": list(command), "HostConfig": host}
    answer = daemon.request("POST", "/containers/create", body, **({"name": name} if name else {}))
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def status_of(daemon: Daemon, method: str, path: str, **query: Any) -> int:
    return int(daemon.request(method, path, **query).status)


def test_fifty_at_once_all_run(daemon: Daemon, busybox: str) -> None:
    def run(number: int) -> str:
        container = create(daemon, "sh", "-c", f"echo {number}; sleep 1000")
        assert status_of(daemon, "POST", f"/containers/{container}/start") == 204
        return container

    containers = at_once(50, run)
    assert len(set(containers)) == 50
    running = daemon.request("GET", "/containers/json").json
    assert {entry["Id"] for entry in running} >= set(containers)
    assert len({daemon.request("GET", f"/containers/{c}/json").json["State"]["Pid"] for c in containers}) == 50
    assert at_once(50, lambda n: status_of(daemon, "DELETE", f"/containers/{containers[n]}", force=1)) == [204] * 50


def test_of_many_that_want_one_name_one_gets_it(daemon: Daemon, busybox: str) -> None:
    body = {"Image": busybox, "Cmd": ["true"]}
    answers = at_once(16, lambda _: daemon.request("POST", "/containers/create", body, name="wanted"))
    assert Counter(answer.status for answer in answers) == {201: 1, 409: 15}
    refused = next(answer for answer in answers if answer.status == 409)
    assert "is already in use by container" in refused.json["message"]


def test_two_starts_at_once_start_it_once(daemon: Daemon, busybox: str) -> None:
    container = create(daemon, "sleep", "1000")
    answers = at_once(8, lambda _: status_of(daemon, "POST", f"/containers/{container}/start"))
    assert Counter(answers) == {204: 1, 304: 7}


@pytest.mark.parametrize("action", ["stop", "kill", "restart", "remove"])
def test_whatever_comes_during_a_start_gets_an_answer(daemon: Daemon, busybox: str, action: str) -> None:
    for _ in range(8):
        container = create(daemon, "sleep", "1000")
        calls = [("POST", f"/containers/{container}/start", {})]
        if action == "remove":
            calls.append(("DELETE", f"/containers/{container}", {"force": 1}))
        else:
            calls.append(("POST", f"/containers/{container}/{action}", {"t": 0} if action != "kill" else {}))
        first, second = at_once(2, lambda n, calls=calls: status_of(daemon, calls[n][0], calls[n][1], **calls[n][2]))
        assert first in (204, 304, 404, 409), first
        assert second in (204, 304, 409), second
        if action == "remove" and second == 204:
            assert status_of(daemon, "GET", f"/containers/{container}/json") == 404
        else:
            state = daemon.request("GET", f"/containers/{container}/json").json["State"]
            assert state["Running"] == (state["Pid"] > 0)


def test_many_removals_of_one_container_end_well(daemon: Daemon, busybox: str) -> None:
    container = create(daemon, "sleep", "1000")
    assert status_of(daemon, "POST", f"/containers/{container}/start") == 204
    answers = at_once(8, lambda _: status_of(daemon, "DELETE", f"/containers/{container}", force=1))
    assert set(answers) <= {204, 404, 409}
    assert 204 in answers
    assert status_of(daemon, "GET", f"/containers/{container}/json") == 404


def test_who_waits_while_it_is_removed_is_answered(daemon: Daemon, busybox: str) -> None:
    container = create(daemon, "sleep", "1000")
    assert status_of(daemon, "POST", f"/containers/{container}/start") == 204
    with ThreadPoolExecutor(6) as pool:
        waiting = [
            pool.submit(daemon.request, "POST", f"/containers/{container}/wait", condition=condition)
            for condition in ("not-running", "next-exit", "removed")
            for _ in range(2)
        ]
        while not all(future.running() for future in waiting):
            pass
        assert status_of(daemon, "DELETE", f"/containers/{container}", force=1) == 204
        found = [future.result(20) for future in waiting]
    assert {answer.status for answer in found} <= {200, 404}
    assert {answer.json["StatusCode"] for answer in found if answer.status == 200} == {137}


def test_a_hundred_execs_at_once(daemon: Daemon, busybox: str) -> None:
    container = create(daemon, "sleep", "1000")
    assert status_of(daemon, "POST", f"/containers/{container}/start") == 204

    def execute(number: int) -> int:
        made = daemon.request("POST", f"/containers/{container}/exec", {"Cmd": ["sh", "-c", f"exit {number}"]}).json
        assert status_of(daemon, "POST", f"/exec/{made['Id']}/start") in (200, 204)
        while (state := daemon.request("GET", f"/exec/{made['Id']}/json").json)["Running"]:
            pass
        return int(state["ExitCode"])

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(execute, range(100))) == list(range(100))


def test_a_flood_that_nobody_reads_harms_nobody(daemon: Daemon, busybox: str) -> None:
    """The log is bounded; so is what the daemon and the keeper hold in memory."""
    flood = create(daemon, "yes", LogConfig={"Type": "local", "Config": {"max-size": "1m", "max-file": "2"}})
    assert status_of(daemon, "POST", f"/containers/{flood}/start") == 204
    for _ in range(5):
        quick = create(daemon, "true")
        assert status_of(daemon, "POST", f"/containers/{quick}/start") == 204
        assert daemon.request("POST", f"/containers/{quick}/wait").json["StatusCode"] == 0
    logs = list((daemon.data_root / "containers" / flood / "logs").iterdir())
    assert sum(path.stat().st_size for path in logs) < 4 << 20
    assert status_of(daemon, "POST", f"/containers/{flood}/kill") == 204
