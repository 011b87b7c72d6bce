"""No request stops the daemon, or brings it to an answer of 500: not by its filters, its body, its head or its path."""

from __future__ import annotations

import json

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay", "namespaces")]

#: Matched by going back and trying again, each takes longer than anybody lives.
EVIL = ["(a+)+b$", "(a|a)*b$", "^(/a|a|aa)+$"]


@pytest.fixture
def long_name(daemon: Daemon, busybox: str) -> str:
    """A container with a name that such expressions do not match."""
    name = "a" * 60
    daemon.request("DELETE", f"/containers/{name}", force=True)
    created = daemon.request("POST", f"/containers/create?name={name}", {"Image": busybox, "Cmd": ["true"]})
    assert created.status == 201, created.body
    return name


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("path", ["/containers/json", "/networks"])
@pytest.mark.usefixtures("long_name")
def test_an_expression_cannot_hold_the_daemon(daemon: Daemon, path: str, text: str) -> None:
    assert daemon.request("GET", path, all=True, filters={"name": [text], "id": [text]}).json == []


def test_a_pattern_of_images_cannot_hold_the_daemon(daemon: Daemon, busybox: str) -> None:
    assert busybox
    assert daemon.request("GET", "/images/json", filters={"reference": ["*" + "b*" * 200 + "!"]}).json == []


def test_an_expression_in_a_logs_options_cannot_hold_the_daemon(daemon: Daemon, busybox: str) -> None:
    options = {"labels-regex": "(a+)+b$", "env-regex": "(a|a)*b$"}
    body = {
        "Image": busybox,
        "Cmd": ["echo", "hello"],
        "Labels": {"a" * 100_000: "x", "aab": "1"},
        "Env": [f"{'a' * 100}=1"],
        "HostConfig": {"LogConfig": {"Type": "json-file", "Config": options}},
    }
    created = daemon.request("POST", "/containers/create", body).json["Id"]
    daemon.request("POST", f"/containers/{created}/start")
    daemon.request("POST", f"/containers/{created}/wait")
    read = daemon.request("GET", f"/containers/{created}/logs", stdout=True, details=True)
    assert read.body.endswith(b"aab=1 hello\n")


def test_ten_thousand_expressions_are_refused(daemon: Daemon) -> None:
    filters = json.dumps({"name": [f"a+{number}" for number in range(10_000)]})
    answer = daemon.request("GET", "/containers/json", filters=filters)
    assert answer.status == 400
    assert "expression is longer than" in answer.message
