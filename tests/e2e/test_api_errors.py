"""Docker's words for what goes wrong with a container: the sentences that people search for, through the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest

from support.daemons import Daemon


@pytest.fixture(scope="module")
def named(daemon: Daemon, busybox: str) -> Iterator[dict[str, str]]:
    """Containers in three states, by name; the values are their IDs."""
    daemon.remove_containers()
    made = {}
    for name, command in {"running": ["sleep", "1000"], "paused": ["sleep", "1000"], "created": ["true"]}.items():
        body = {"Image": busybox, "Cmd": command, "HostConfig": {"NetworkMode": "none"}}
        made[name] = daemon.request("POST", "/containers/create", body, name=name).json["Id"]
    for name in ("running", "paused"):
        assert daemon.request("POST", f"/containers/{name}/start").status == 204
    assert daemon.request("POST", "/containers/paused/pause").status == 204
    yield made
    daemon.remove_containers()


class Case(NamedTuple):
    """A request, and what Docker answers."""

    request: tuple[str, str]
    status: int
    sentence: str
    body: dict[str, object] | None = None
    query: Mapping[str, str] = MappingProxyType({})


_RUNNING, _PAUSED, _CREATED = "/containers/running", "/containers/paused", "/containers/created"
_CASES = [
    Case(("POST", "/containers/gone/kill"), 404, "cannot kill container: gone: No such container: gone"),
    Case(("POST", f"{_CREATED}/kill"), 409, "cannot kill container: created: container {created} is not running"),
    Case(
        ("POST", f"{_RUNNING}/rename"),
        409,
        'Error when allocating new name: Conflict. The container name "/created" is already in use by container',
        query={"name": "created"},
    ),
    Case(
        ("POST", f"{_RUNNING}/rename"),
        400,
        "Error when allocating new name: Invalid container name (/a b)",
        query={"name": "a b"},
    ),
    Case(("POST", f"{_RUNNING}/attach"), 400, "ctrl-?", query={"stream": "1", "detachKeys": "ctrl-?"}),
    Case(("POST", f"{_PAUSED}/attach"), 409, "container paused is paused, unpause", query={"stream": "1"}),
    Case(("POST", f"{_RUNNING}/exec"), 400, "ctrl-?", {"Cmd": ["true"], "DetachKeys": "ctrl-?"}),
    Case(("POST", f"{_RUNNING}/exec"), 400, "No exec command specified", {"Cmd": []}),
    Case(("POST", f"{_PAUSED}/exec"), 409, "container paused is paused, unpause the container", {"Cmd": ["true"]}),
    Case(("GET", "/containers/json"), 400, "is-task", query={"filters": '{"is-task":["x"]}'}),
    Case(("DELETE", _RUNNING), 409, 'cannot remove container "running": container is running'),
]


@pytest.mark.parametrize("case", _CASES)
def test_an_error_has_dockers_status_and_words(daemon: Daemon, named: dict[str, str], case: Case) -> None:
    answer = daemon.request(*case.request, case.body, **case.query)
    assert answer.status == case.status
    assert case.sentence.format(**named) in answer.json["message"]


def test_a_host_name_with_an_underscore_is_the_containers(daemon: Daemon, busybox: str) -> None:
    done = daemon.docker("run", "--rm", "--network=none", "-h", "my_service", busybox, "hostname")
    assert (done.returncode, done.stdout) == (0, "my_service\n"), done.stderr


def test_gpus_are_refused_in_dockers_words(daemon: Daemon, busybox: str) -> None:
    done = daemon.docker("run", "--rm", "--network=none", "--gpus", "all", busybox, "true")
    assert done.returncode == 125
    assert 'could not select device driver "" with capabilities: [[gpu]]' in done.stderr
