"""What ``docker update`` changes of a container that runs."""

from __future__ import annotations

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay", "namespaces")]


@pytest.mark.parametrize("lifted", [0, -1])
def test_the_limit_of_processes_is_lifted_by_zero_and_by_less(daemon: Daemon, busybox: str, lifted: int) -> None:
    body = {"Image": busybox, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none", "PidsLimit": 50}}
    identifier = daemon.request("POST", "/containers/create", body).json["Id"]
    daemon.request("POST", f"/containers/{identifier}/start")

    def limit() -> object:
        """What it is, by what the container's statistics say."""
        return daemon.request("GET", f"/containers/{identifier}/stats", stream=0).json["pids_stats"].get("limit")

    assert limit() == 50
    for wanted, seen in ((None, 50), (30, 30), (lifted, None)):
        answer = daemon.request("POST", f"/containers/{identifier}/update", {"PidsLimit": wanted})
        assert answer.json == {"Warnings": None}
        assert limit() in (seen, seen or 0, (1 << 64) - 1 if seen is None else seen)
    shown = daemon.request("GET", f"/containers/{identifier}/json").json["HostConfig"]["PidsLimit"]
    assert shown == 0
    daemon.request("DELETE", f"/containers/{identifier}", force=True)


def test_before_api_1_40_zero_is_as_it_is(daemon: Daemon, busybox: str) -> None:
    body = {"Image": busybox, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", "PidsLimit": 50}}
    identifier = daemon.request("POST", "/containers/create", body).json["Id"]
    daemon.request("POST", f"/v1.39/containers/{identifier}/update", {"PidsLimit": 0})
    assert daemon.request("GET", f"/containers/{identifier}/json").json["HostConfig"]["PidsLimit"] == 50
    daemon.request("DELETE", f"/containers/{identifier}", force=True)
