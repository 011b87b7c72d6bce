"""A container's log: how much of it is kept, who is told, and what becomes of it when somebody else cuts it."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import pytest

from support import unixhttp
from support.daemons import Daemon
from support.needs import need
from support.terminal import Person

pytestmark = [need("root", "busybox", "overlay"), pytest.mark.usefixtures("clean", "busybox")]

SMALL = {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "2"}}


def create(daemon: Daemon, script: str, log: dict[str, Any] | None = None) -> str:
    host = {"NetworkMode": "none", **({"LogConfig": log} if log else {})}
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host, "StopSignal": "KILL"}
    answer = daemon.request("POST", "/containers/create", body)
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


def run(daemon: Daemon, script: str, log: dict[str, Any] | None = None) -> str:
    container = create(daemon, script, log)
    assert daemon.request("POST", f"/containers/{container}/start").status == 204
    daemon.request("POST", f"/containers/{container}/wait")
    return container


def logs(daemon: Daemon, container: str, **query: Any) -> unixhttp.Answer:
    return daemon.request("GET", f"/containers/{container}/logs", stdout=1, stderr=1, **query)


def lines(answer: unixhttp.Answer) -> list[bytes]:
    return b"".join(data for _, data in unixhttp.frames(answer.body)).split()


def test_inspect_tells_how_large_a_log_becomes(daemon: Daemon) -> None:
    def shown(log: dict[str, Any] | None) -> Any:
        return daemon.request("GET", f"/containers/{create(daemon, 'true', log)}/json").json["HostConfig"]["LogConfig"]

    assert shown(None) == {"Type": "json-file", "Config": {"max-size": "20m", "max-file": "5"}}
    assert shown({"Type": "local", "Config": {"max-size": "1m"}}) == {
        "Type": "local",
        "Config": {"max-size": "1m", "max-file": "5"},
    }
    assert shown({"Type": "none", "Config": {}}) == {"Type": "none", "Config": {}}


def test_info_tells_what_holds_where_nothing_is_said(daemon: Daemon) -> None:
    assert "  Log of a container: 5 files of 20m\n" in daemon.cli("info", check=True).stdout
    assert "  Log of a container: 5 files of 20m\n" in daemon.docker("info", check=True).stdout


def test_who_asks_for_what_was_rotated_away_is_told(daemon: Daemon) -> None:
    container = run(daemon, "seq 100000", SMALL)
    told = [
        "warning" in logs(daemon, container, **query).headers
        for query in ({}, {"tail": 10**9}, {"since": 1}, {"tail": 3}, {"tail": 0}, {"since": int(time.time()) + 10})
    ]
    assert told == [True, True, True, False, False, False]
    assert "rotation of the log" in logs(daemon, container).headers["warning"]
    assert "warning" not in logs(daemon, run(daemon, "seq 10", SMALL)).headers


def test_a_person_is_told_and_a_program_is_not(daemon: Daemon) -> None:
    container = run(daemon, "seq 100000", SMALL)
    done = daemon.cli("logs", container, check=True)
    assert done.stderr == ""
    assert done.stdout.endswith("\n99999\n100000\n")
    assert daemon.docker("logs", container, check=True).stdout == done.stdout
    command = [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, "logs", container]
    person = Person(command, daemon.environment)
    person.sees(b"wherry: older output was dropped by the rotation of the log\r\n")
    person.sees(b"\r\n100000\r\n")
    assert person.leaves() == 0


def test_a_log_that_is_cut_goes_on_at_once(daemon: Daemon) -> None:
    container = create(daemon, "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done")
    daemon.request("POST", f"/containers/{container}/start")
    log = daemon.data_root / "containers" / container / "logs/1.log"
    while len(lines(logs(daemon, container))) < 20:
        time.sleep(0.02)
    os.truncate(log, 0)
    while not (seen := lines(logs(daemon, container))):
        time.sleep(0.02)
    assert int(seen[1]) > 9
    assert lines(logs(daemon, container, tail=1))
    os.truncate(log, 100)
    while len(lines(logs(daemon, container))) < 30:
        time.sleep(0.02)
