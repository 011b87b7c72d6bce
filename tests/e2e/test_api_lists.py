"""Filters of lists, events since and until, and the lines of logs: as dockerd has them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from support.daemons import Daemon
from support.needs import need
from support.ports import free_port
from support.unixhttp import UnixConnection, frames

pytestmark = need("root", "busybox", "overlay", "namespaces")


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Any]:
    """docker-py."""
    client = docker.DockerClient(base_url=daemon.host)
    yield client
    client.close()


def names(daemon: Daemon, filters: Any, **query: Any) -> list[str]:
    """The names in a list of containers."""
    shown = daemon.request("GET", "/containers/json", filters=filters, **query).json
    return [container["Names"][0] for container in shown]


@pytest.mark.usefixtures("clean")
def test_published_is_the_hosts_port_and_exposed_the_containers(daemon: Daemon, busybox: str) -> None:
    port = free_port()
    host = {"PortBindings": {"80/tcp": [{"HostPort": str(port)}]}}
    body = {"Image": busybox, "Cmd": ["sleep", "1000"], "ExposedPorts": {"90/udp": {}}, "HostConfig": host}
    daemon.request("POST", "/containers/create?name=web", body)
    assert daemon.request("POST", "/containers/web/start").status == 204
    for filters in ({"publish": [str(port)]}, {"publish": [f"{port - 1}-{port}/tcp"]}, {"expose": ["80"]},
                    {"expose": ["90/udp"]}, {"publish": ["1"], "expose": ["80"]}):  # fmt: skip
        assert names(daemon, filters) == ["/web"], filters
    for filters in ({"publish": ["80"]}, {"publish": [f"{port}/udp"]}, {"expose": [str(port)]}):
        assert names(daemon, filters) == [], filters


@pytest.mark.usefixtures("clean")
def test_an_exit_code_does_not_list_what_has_ended(daemon: Daemon, busybox: str) -> None:
    body = {"Image": busybox, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    daemon.request("POST", "/containers/create?name=ended", body)
    daemon.request("POST", "/containers/ended/start")
    daemon.request("POST", "/containers/ended/wait")
    assert names(daemon, {"exited": ["0"]}) == []
    assert names(daemon, {"exited": ["0"]}, all=True) == ["/ended"]
    assert names(daemon, {"status": ["exited"]}) == ["/ended"]


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("kind", ["containers", "images", "networks"])
def test_what_is_removed_until_when_is_checked_also_where_there_is_nothing(daemon: Daemon, kind: str) -> None:
    for until, words in (
        (["x"], 'failed to parse value as time or duration: "x"'),
        ([""], 'failed to parse value as time or duration: ""'),
        (["1h", "2h"], "more than one until filter specified"),
    ):
        answer = daemon.request("POST", f"/{kind}/prune", filters={"until": until})
        assert (answer.status, answer.message) == (400, words)
    answer = daemon.request("POST", f"/{kind}/prune", filters={"before": ["x"]})
    assert (answer.status, answer.message) == (400, "invalid filter 'before'")
    assert daemon.request("POST", f"/{kind}/prune", filters={"until": ["87600h"], "label!": ["a"]}).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/containers/json"), ("GET", "/images/json"), ("GET", "/networks"), ("GET", "/volumes"),
     ("GET", "/plugins"), ("GET", "/events"), ("POST", "/containers/prune"), ("POST", "/images/prune"),
     ("POST", "/networks/prune"), ("POST", "/volumes/prune"), ("POST", "/build/prune")],
)  # fmt: skip
def test_a_filter_that_there_is_not_is_refused(daemon: Daemon, method: str, path: str) -> None:
    answer = daemon.request(method, path, filters={"nobody": ["x"]})
    assert (answer.status, answer.message) == (400, "invalid filter 'nobody'")


def test_networks_are_listed_with_a_slash_too(daemon: Daemon) -> None:
    assert daemon.request("GET", "/networks/").json == daemon.request("GET", "/networks").json


def test_events_have_a_beginning_and_an_end(daemon: Daemon, busybox: str) -> None:
    daemon.request("POST", "/images/" + busybox + "/tag", repo="told", tag="1")
    daemon.request("DELETE", "/images/told:1")
    now = time.time() + 1
    for query in ({"until": f"{now:.9f}"}, {"since": "0", "until": f"{now:.9f}"}, {"until": "0"}):
        answer = daemon.request("GET", "/events", filters={"image": ["told:1"]}, **query)
        assert b'"untag"' in answer.body or b'"tag"' in answer.body, query


def test_each_line_of_a_log_is_a_frame(daemon: Daemon, busybox: str, client: Any) -> None:
    script = "for i in 1 2 3; do echo line $i; done; printf tail"
    container = client.containers.run(busybox, ["sh", "-c", script], detach=True, network_mode="none")
    container.wait()
    lines = [b"line 1\n", b"line 2\n", b"line 3\n", b"tail"]
    assert list(container.logs(stream=True)) == lines
    assert list(container.logs(stream=True, follow=True)) == lines
    body = daemon.request("GET", f"/containers/{container.id}/logs", stdout=True, timestamps=True).body
    assert [data.partition(b" ")[2] for _, data in frames(body)] == lines
    agent = {"User-Agent": "Docker-Client/28.0.1 (linux)"}
    body = daemon.request("GET", f"/containers/{container.id}/logs", headers=agent, stdout=True).body
    assert list(frames(body)) == [(1, b"".join(lines))], "the command joins all frames again"
    container.remove()


@pytest.mark.usefixtures("clean")
def test_the_tag_of_a_log_is_among_its_details(daemon: Daemon, busybox: str) -> None:
    options = {"tag": "{{.Name}}/{{ .ID }}"}
    host = {"NetworkMode": "none", "LogConfig": {"Type": "json-file", "Config": options}}
    body = {"Image": busybox, "Cmd": ["echo", "hello"], "HostConfig": host}
    identifier = daemon.request("POST", "/containers/create?name=tagged", body).json["Id"]
    daemon.request("POST", "/containers/tagged/start")
    daemon.request("POST", "/containers/tagged/wait")
    answer = daemon.request("GET", "/containers/tagged/logs", stdout=True, details=True)
    assert list(frames(answer.body)) == [(1, f"tag=tagged%2F{identifier[:12]} hello\n".encode())]


@pytest.mark.parametrize(
    ("host", "status", "said"),
    [({"LogConfig": {"Type": "json-file", "Config": {"tag": "{{range 9}}x{{end}}"}}}, 501, "no loops"),
     ({"SecurityOpt": ["writable-cgroups=perhaps"]}, 400, "invalid --security-opt 2"),
     ({"SecurityOpt": ["writable-cgroups=false"]}, 201, "")],
)  # fmt: skip
def test_what_is_not_done_is_refused(daemon: Daemon, busybox: str, host: Any, status: int, said: str) -> None:
    answer = daemon.request("POST", "/containers/create", {"Image": busybox, "Cmd": ["true"], "HostConfig": host})
    assert (answer.status, said in answer.body.decode()) == (status, True)


@pytest.mark.usefixtures("clean")
def test_the_beginning_of_a_line_is_seen_before_its_end(daemon: Daemon, busybox: str) -> None:
    command = ["sh", "-c", "printf login:; exec sleep 1000"]
    body = {"Image": busybox, "Cmd": command, "HostConfig": {"NetworkMode": "none"}}
    daemon.request("POST", "/containers/create?name=asks", body)
    daemon.request("POST", "/containers/asks/start")
    connection = UnixConnection(daemon.socket)
    connection.request("GET", "/containers/asks/logs?stdout=1&follow=1")
    with connection.getresponse() as answer:
        assert answer.read(14) == b"\x01\0\0\0\0\0\0\x06login:"
    connection.close()


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("has_terminal", [False, True])
@pytest.mark.parametrize("is_raw", [False, True])
def test_the_start_of_an_exec_says_whether_its_output_is_raw(
    daemon: Daemon, busybox: str, has_terminal: bool, is_raw: bool
) -> None:
    body = {"Image": busybox, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}
    daemon.request("POST", "/containers/create?name=execs", body)
    daemon.request("POST", "/containers/execs/start")
    wish = {"Cmd": ["echo", "hi"], "AttachStdout": True, "Tty": has_terminal}
    identifier = daemon.request("POST", "/containers/execs/exec", wish).json["Id"]
    answer = daemon.request("POST", f"/exec/{identifier}/start", {"Tty": is_raw})
    said = b"hi\r\n" if has_terminal else b"hi\n"
    assert answer.body == said if is_raw else list(frames(answer.body)) == [(1, said)]
    kind = "raw" if is_raw else "multiplexed"
    assert answer.headers["content-type"] == f"application/vnd.docker.{kind}-stream"
