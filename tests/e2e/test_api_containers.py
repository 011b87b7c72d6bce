"""Status codes and wording of the operations on containers, images and the engine, asked for by hand.

What is marked as Docker's wording is matched on by clients: docker's command, docker-py, Testcontainers.
"""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support import unixhttp
from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox"), pytest.mark.usefixtures("clean", "busybox")]


def create(daemon: Daemon, *command: str, name: str = "subject", **config: Any) -> unixhttp.Answer:
    host = {"NetworkMode": "none", **config.pop("HostConfig", {})}
    body = {
        "Image": "busybox",
        "Cmd": list(command) or ["sleep", "600"],
        "HostConfig": host,
        "StopSignal": "KILL",
        **config,
    }
    return daemon.request("POST", "/containers/create", {**body, **config}, name=name)


@pytest.fixture
def running(daemon: Daemon) -> Iterator[str]:
    """A running container, by its name."""
    assert create(daemon, name="running").status == 201
    assert daemon.request("POST", "/containers/running/start").status == 204
    yield "running"
    daemon.request("DELETE", "/containers/running", force=True)


# --- the engine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_ping_tells_what_clients_negotiate_with(daemon: Daemon, method: str) -> None:
    answer = daemon.request(method, "/_ping")
    assert answer.status == 200
    assert answer.body == (b"OK" if method == "GET" else b"")
    headers = {
        name: answer.headers[name] for name in ("api-version", "ostype", "docker-experimental", "builder-version")
    }
    assert headers == {"api-version": "1.56", "ostype": "linux", "docker-experimental": "true", "builder-version": "2"}
    assert answer.headers["cache-control"] == "no-cache, no-store, must-revalidate"


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("1.24", 200, None),
        ("1.56", 200, None),
        ("1.99", 400, "client version 1.99 is too new. Maximum supported API version is 1.56"),
        ("1.1", 400, "client version 1.1 is too old. Minimum supported API version is 1.24, please upgrade"),
    ],
)
def test_versions_are_accepted_or_refused_in_dockers_words(
    daemon: Daemon, version: str, status: int, words: str | None
) -> None:
    answer = daemon.request("GET", f"/v{version}/version")
    assert answer.status == status
    assert words is None or answer.message.startswith(words)


def test_an_unknown_page_is_not_found(daemon: Daemon) -> None:
    answer = daemon.request("GET", "/nothing")
    assert (answer.status, answer.json) == (404, {"message": "page not found"})


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/build", 400),
        ("POST", "/session", 400),
        ("GET", "/containers/x/archive?path=/", 404),
        ("PUT", "/volumes/x", 503),
        ("GET", "/swarm", 503),
        ("GET", "/services", 503),
        ("GET", "/volumes/x", 404),
        ("DELETE", "/networks/none", 403),
        ("DELETE", "/networks/bridge", 403),
        ("GET", "/networks/nowhere", 404),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(daemon: Daemon, method: str, target: str, status: int) -> None:
    answer = daemon.request(method, target)
    assert answer.status == status
    assert len(answer.message) > 10


# --- bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", "application/json", "config cannot be empty in order to create a container"),
        (b"   ", "application/json", "invalid JSON: got EOF while reading request body"),
        (b"{", "application/json", "invalid JSON: "),
        (b"{]", "application/json", "invalid JSON: invalid character ']' looking for beginning of object key string"),
        (b"[]", "application/json", "invalid JSON: "),
        (b'{"Env": "A=1"}', "application/json", "invalid JSON: "),
        (b"{}", "text/plain", "unsupported Content-Type header (text/plain): must be 'application/json'"),
    ],
)
def test_a_wrong_body_is_refused_in_dockers_words(daemon: Daemon, body: bytes, kind: str, words: str) -> None:
    answer = daemon.request("POST", "/containers/create", body, headers={"Content-Type": kind})
    assert answer.status == 400
    assert answer.message.startswith(words)


def test_unknown_members_are_ignored_as_docker_does(daemon: Daemon) -> None:
    assert create(daemon, Colour="red").status == 201


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/containers/json?filters=nonsense", "invalid filter"),
        ("/containers/json?limit=few", 'strconv.Atoi: parsing "few": invalid syntax'),
        ("/events?since=never", "failed to parse value as time or duration"),
        ("/system/df?type=socks", "unknown object type: socks"),
    ],
)
def test_a_wrong_parameter_is_quoted(daemon: Daemon, target: str, words: str) -> None:
    answer = daemon.request("GET", target)
    assert answer.status == 400
    assert words in answer.message


# --- containers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/containers/nobody/json"),
        ("GET", "/containers/nobody/logs?stdout=1"),
        ("GET", "/containers/nobody/logs?stdout=1&follow=1"),
        ("GET", "/containers/nobody/top"),
        ("GET", "/containers/nobody/stats"),
        ("GET", "/containers/nobody/changes"),
        ("GET", "/containers/nobody/export"),
        ("GET", "/containers/nobody/explain"),
        ("POST", "/containers/nobody/start"),
        ("POST", "/containers/nobody/stop"),
        ("POST", "/containers/nobody/restart"),
        ("POST", "/containers/nobody/kill"),
        ("POST", "/containers/nobody/pause"),
        ("POST", "/containers/nobody/unpause"),
        ("POST", "/containers/nobody/rename?name=other"),
        ("POST", "/containers/nobody/resize?h=1&w=1"),
        ("POST", "/containers/nobody/wait"),
        ("POST", "/containers/nobody/attach"),
        ("DELETE", "/containers/nobody"),
    ],
)
def test_a_container_that_is_not_there_is_said_in_dockers_words(daemon: Daemon, method: str, target: str) -> None:
    answer = daemon.request(method, target)
    doing = "cannot kill container: nobody: " if target.endswith("kill") else ""
    assert (answer.status, answer.message) == (404, f"{doing}No such container: nobody")


def test_an_exec_that_is_not_there_is_said_in_dockers_words(daemon: Daemon) -> None:
    for method, target in [
        ("GET", "/exec/none/json"),
        ("POST", "/exec/none/start"),
        ("POST", "/exec/none/resize?h=1&w=1"),
    ]:
        answer = daemon.request(method, target)
        assert (answer.status, answer.message) == (404, "No such exec instance: none"), target


def test_a_missing_image_is_said_in_dockers_words(daemon: Daemon) -> None:
    answer = daemon.request("POST", "/containers/create", {"Image": "missing"})
    assert (answer.status, answer.message) == (404, "No such image: missing:latest")


def test_a_name_belongs_to_one_container(daemon: Daemon) -> None:
    first = create(daemon).json["Id"]
    answer = create(daemon)
    assert answer.status == 409
    assert answer.message == (
        f'Conflict. The container name "/subject" is already in use by container "{first}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


def test_what_is_so_already_is_not_modified(daemon: Daemon, running: str) -> None:
    again = daemon.request("POST", f"/containers/{running}/start")
    assert (again.status, again.body) == (304, b"")
    assert daemon.request("POST", f"/containers/{running}/stop").status == 204
    assert daemon.request("POST", f"/containers/{running}/stop").status == 304


def test_what_the_state_does_not_allow_is_a_conflict(daemon: Daemon, running: str) -> None:
    create(daemon)
    for method, target in [
        ("POST", "/containers/subject/kill"),
        ("POST", "/containers/subject/pause"),
        ("POST", f"/containers/{running}/unpause"),
        ("DELETE", f"/containers/{running}"),
    ]:
        answer = daemon.request(method, target)
        assert answer.status in {409, 500}, target
        assert answer.message


def test_a_missing_command_is_the_callers_fault(daemon: Daemon) -> None:
    create(daemon, "nosuch")
    answer = daemon.request("POST", "/containers/subject/start")
    assert answer.status == 400
    assert 'exec: "nosuch": executable file not found in $PATH' in answer.message
    assert daemon.request("GET", "/containers/subject/json").json["State"]["ExitCode"] == 127


def test_starting_with_a_configuration_is_refused(daemon: Daemon) -> None:
    create(daemon)
    answer = daemon.request("POST", "/containers/subject/start", {"HostConfig": {"Memory": 1}})
    assert answer.status == 400
    assert answer.message.startswith("starting container with non-empty request body was deprecated")


def test_logs_need_a_stream(daemon: Daemon, running: str) -> None:
    answer = daemon.request("GET", f"/containers/{running}/logs")
    assert (answer.status, answer.message) == (400, "Bad parameters: you must choose at least one stream")


def test_resizing_needs_both_sides(daemon: Daemon, running: str) -> None:
    answer = daemon.request("POST", f"/containers/{running}/resize", h=24)
    assert (answer.status, answer.message) == (400, 'invalid resize width "": invalid syntax')


def test_an_unknown_condition_is_refused(daemon: Daemon, running: str) -> None:
    answer = daemon.request("POST", f"/containers/{running}/wait", condition="bored")
    assert (answer.status, answer.message) == (400, 'invalid condition: "bored"')


def test_explain_is_an_operation_of_our_own(daemon: Daemon, running: str) -> None:
    told = daemon.request("GET", f"/containers/{running}/explain").json
    assert {"Namespaces", "Mounts", "Layers", "Writable", "Limits", "Capabilities", "Seccomp"} <= told.keys()
    assert told["Name"].lstrip("/") == running


# --- images -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/images/missing/json"),
        ("GET", "/images/missing/history"),
        ("GET", "/images/missing/get"),
        ("GET", "/images/get?names=busybox,missing"),
        ("POST", "/images/missing/tag?repo=x"),
        ("DELETE", "/images/missing"),
    ],
)
def test_an_image_that_is_not_there_is_said_in_dockers_words(daemon: Daemon, method: str, target: str) -> None:
    answer = daemon.request(method, target)
    assert (answer.status, answer.message) == (404, "No such image: missing:latest")


def test_an_error_while_loading_is_a_line_of_the_stream(daemon: Daemon) -> None:
    answer = daemon.request("POST", "/images/load", b"no archive at all" * 100)
    last = json.loads(answer.body.splitlines()[-1]) if answer.status == 200 else answer.json
    assert last.get("error") or last.get("message")
    if answer.status == 200:
        assert last["errorDetail"]["message"] == last["error"]


def test_several_images_are_saved_into_one_archive(daemon: Daemon) -> None:
    daemon.request("POST", "/images/busybox/tag", repo="example.org/second", tag="2")
    answer = daemon.request("GET", "/images/get?names=busybox&names=example.org/second:2")
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        member = archive.extractfile("manifest.json")
        assert member
        tags = {tag for entry in json.load(member) for tag in entry["RepoTags"]}
    assert {"busybox:latest", "example.org/second:2"} <= tags
    assert daemon.request("DELETE", "/images/example.org/second:2").status == 200


def test_an_image_in_use_is_kept(daemon: Daemon, running: str) -> None:
    image = daemon.request("GET", "/images/busybox/json").json["Id"]
    answer = daemon.request("DELETE", f"/images/{image}", force=True)
    assert answer.status == 409
    assert "cannot be forced" in answer.message
    assert daemon.request("GET", "/images/busybox/json").status == 200


def test_a_new_name_is_told_as_people_write_it(daemon: Daemon) -> None:
    since = f"{time.time():.9f}"
    daemon.request("POST", "/images/busybox/tag", repo="docker.io/library/renamed", tag="1")
    answer = daemon.request("GET", "/events", since=since, until=f"{time.time():.9f}", filters={"event": ["tag"]})
    assert json.loads(answer.body)["Actor"]["Attributes"]["name"] == "renamed:1"
    assert daemon.request("DELETE", "/images/renamed:1").status == 200
