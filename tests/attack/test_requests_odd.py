"""Every operation of the API is given odd values in every place: none brings it to an "internal error", or to a halt.

What the daemon answers is not looked at otherwise; the sentences have tests of their own. Values come from a table, by
the types of bodies and the parameters that the handlers read, so that a new member or parameter is tried by itself.
"""

from __future__ import annotations

import http.client
import inspect
import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import MagicMock
from urllib.parse import quote

import pytest

from support.daemons import Daemon
from support.needs import need
from support.odd_values import TEXTS, members
from support.unixhttp import UnixConnection
from wherry.api.app import all_routes
from wherry.api.http.errors import UNEXPECTED
from wherry.api.http.routing import Route
from wherry.api.routes.exec import ExecStart
from wherry.api.routes.networks import Connection
from wherry.docker.container_requests import ContainerConfig, CreateRequest, ExecConfig, HostConfig
from wherry.docker.networks import NetworkCreate

pytestmark = need("root", "busybox", "overlay", "namespaces")

ROUTES = [route for route in all_routes(MagicMock(), MagicMock(), MagicMock()) if route.pattern != "/wherry/shutdown"]
PARAMETER = re.compile(r'request\.(?:text|texts|flag|integer|optional_integer|moment|side)\(\s*"([\w-]+)"')
FILTERS = ("name", "id", "label", "status", "exited", "network", "publish", "expose", "health", "is-task", "ancestor",
           "before", "since", "reference", "until", "dangling", "driver", "type", "event", "nobody")  # fmt: skip
PATIENCE = 60.0  #: seconds for one answer
FAULT = b"internal error"


class Faults:
    """Asks, and remembers what should not have been answered."""

    def __init__(self, daemon: Daemon) -> None:
        self._socket = daemon.socket
        self.found: list[str] = []

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Ask, and read the beginning of the answer: some never end."""
        connection = UnixConnection(self._socket, PATIENCE)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, target, data, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            ends = answer.status >= 300 or answer.length is not None
            text = answer.read(65536) if ends else b""
        except (OSError, http.client.HTTPException) as error:
            self.found.append(f"{method} {target[:200]} {str(body)[:200]}: {error!r}")
            return 0, b""
        finally:
            connection.close()
        if FAULT in text:
            self.found.append(f"{method} {target[:200]} {str(body)[:200]}: {answer.status} {text[:300]!r}")
        return answer.status, text


@pytest.fixture
def faults(daemon: Daemon) -> Iterator[Faults]:
    """Asks the daemon; at the end neither an answer nor its log may have told of a fault of its own."""
    before = daemon.log_size()
    faults = Faults(daemon)
    yield faults
    assert not faults.found, "\n".join(faults.found)
    log = daemon.log_text(before)
    assert UNEXPECTED not in log, log[-5000:]
    assert FAULT.decode() not in log, log[-5000:]


@pytest.fixture(scope="module")
def targets(daemon: Daemon) -> Iterator[None]:
    """Remove what was made."""
    yield
    daemon.request("DELETE", "/containers/target", force=True)


@pytest.fixture
def target(daemon: Daemon, busybox: str, targets: None) -> str:
    """A container that runs, of which nobody minds what is done to it."""
    seen = daemon.request("GET", "/containers/target/json")
    if seen.status != 200 or not seen.json["State"]["Running"] or seen.json["State"]["Paused"]:
        host, command = {"NetworkMode": "none"}, ["sleep", "100000"]
        body = {"Image": busybox, "Cmd": command, "HostConfig": host, "StopSignal": "KILL"}
        daemon.request("DELETE", "/containers/target", force=True)
        created = daemon.request("POST", "/containers/create?name=target", body)
        assert created.status == 201, created.body
        daemon.request("POST", "/containers/target/start")
    return "target"


def written(text: str) -> str:
    """A text as it stands in a path or a query."""
    return quote(text.encode(errors="surrogatepass"), safe="")


def parameters(route: Route) -> list[str]:
    """The parameters that a route's handler reads, and the functions beside it that are given its request."""
    functions = inspect.getmembers(sys.modules[route.handler.__module__], inspect.isfunction)
    helpers = [function for _, function in functions if "request" in inspect.signature(function).parameters]
    return sorted({*PARAMETER.findall("".join(map(inspect.getsource, [route.handler, *helpers]))), "filters"})


def test_parameters_are_found_in_the_handlers_code() -> None:
    by_route = {shown(route): parameters(route) for route in ROUTES}
    assert {"all", "limit", "size"} <= set(by_route["GET /containers/json"])
    assert len({name for names in by_route.values() for name in names}) > 40


def place(route: Route, name: str) -> str:
    """The path of a route for one thing."""
    return re.sub(r"\{\w+(:path)?\}", lambda _: name, route.pattern)


def shown(route: Route) -> str:
    """The name of a test."""
    return f"{route.method} {route.pattern}"


@pytest.mark.parametrize("route", ROUTES, ids=shown)
def test_odd_parameters_are_no_fault_of_the_daemons(faults: Faults, target: str, route: Route) -> None:
    body = b"{}" if route.method == "POST" else None
    always = {"/containers/{id:path}/logs": "stdout=1&", "/events": "until=1&", "/images/create": "fromSrc=-&"}
    for number, name in enumerate(parameters(route)):
        for text in TEXTS[number % 3 :: 3]:
            query = f"?{always.get(route.pattern, '')}{name}={written(text)}"
            faults.ask(route.method, place(route, target) + query, body)


@pytest.mark.parametrize("route", [route for route in ROUTES if "{" in route.pattern], ids=shown)
def test_odd_names_are_no_fault_of_the_daemons(faults: Faults, route: Route) -> None:
    for text in (*TEXTS, "%2e%2e", "x/../y", "a//b", "sha256:" + "a" * 64, "name@sha256:x", ":tag", "x:", "@"):
        if text:
            faults.ask(route.method, place(route, written(text)), b"{}" if route.method == "POST" else None)


FILTERED = ("/containers/json", "/images/json", "/networks", "/volumes", "/plugins", "/containers/prune",
            "/images/prune", "/networks/prune", "/volumes/prune", "/build/prune", "/events?until=1")  # fmt: skip


@pytest.mark.parametrize("path", FILTERED)
@pytest.mark.usefixtures("target")
def test_odd_filters_are_no_fault_of_the_daemons(faults: Faults, path: str) -> None:
    """Each filter gets each text, but not all at each path."""
    mark = "&" if "?" in path else "?"
    for number, name in enumerate(FILTERS, FILTERED.index(path)):
        for text in TEXTS[number % 6 :: 6]:
            filters = written(json.dumps({name: [text], "label": ["nobody=has this"]}))
            faults.ask("POST" if path.endswith("prune") else "GET", f"{path}{mark}filters={filters}")


def test_odd_bodies_are_no_fault_of_the_daemons(faults: Faults) -> None:
    bodies = [b"", b"null", b"[]", b'"x"', b"5", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000,
              b'{"Image":"a"}{', b'{"IMAGE": "\\ud800"}', b'{"HostConfig": {"Memory": 1e999}}']  # fmt: skip
    for route in ROUTES:
        if route.method in ("POST", "PUT", "DELETE"):
            for body in bodies:
                faults.ask(route.method, place(route, "nobody"), body)
            faults.ask(route.method, place(route, "nobody"), b"{}", **{"Content-Type": "text/plain"})


def test_odd_heads_are_no_fault_of_the_daemons(faults: Faults, target: str) -> None:
    heads = {
        "Content-Type": ["", "x", "application/json; charset=x", "a/b/c", "application/json" * 500],
        "X-Registry-Auth": ["", "x", "e30=", "bnVsbA==", "WzFd", "=" * 70_000],
        "Upgrade": ["", "tcp", "websocket", "h2c"],
        "Sec-WebSocket-Version": ["", "13", "99"],
        "Range": ["bytes=0-"],
        "Host": ["", "[", "a:b:c"],
        "Accept": ["x" * 60_000],
    }
    for number, route in enumerate(ROUTES):
        for name, values in heads.items():
            for value in values[number % 2 :: 2]:
                body = b"{}" if route.method == "POST" else None
                faults.ask(route.method, place(route, target), body, **{name: value})


def test_odd_containers_are_no_fault_of_the_daemons(faults: Faults, busybox: str) -> None:
    base: dict[str, Any] = {"Image": busybox, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    plain = [{**base, **member} for member in members(CreateRequest)][::9]
    hosts = [{**base, "HostConfig": {**base["HostConfig"], **member}} for member in members(HostConfig)][::11]
    for number, body in enumerate((*plain, *hosts)):
        status, answer = faults.ask("POST", "/containers/create", body)
        if status == 201:
            identifier = json.loads(answer)["Id"]
            if number % 3 == 0:
                faults.ask("POST", f"/containers/{identifier}/start")
            faults.ask("GET", f"/containers/{identifier}/json")
            faults.ask("GET", "/containers/json?all=1")
            faults.ask("DELETE", f"/containers/{identifier}?force=1")


def test_odd_updates_and_execs_are_no_fault_of_the_daemons(faults: Faults, target: str) -> None:
    for body in list(members(HostConfig))[::11]:
        faults.ask("POST", f"/containers/{target}/update", body)
    for body in list(members(ExecConfig))[::3]:
        status, answer = faults.ask("POST", f"/containers/{target}/exec", {"Cmd": ["true"], **body})
        if status == 201:
            faults.ask("POST", f"/exec/{json.loads(answer)['Id']}/start", {"Detach": True})
    for body in list(members(ExecStart)):
        _, answer = faults.ask("POST", f"/containers/{target}/exec", {"Cmd": ["true"]})
        faults.ask("POST", f"/exec/{json.loads(answer)['Id']}/start", {"Detach": True, **body})
    for body in list(members(ContainerConfig))[::40]:
        faults.ask("POST", f"/commit?container={target}&repo=odd", body)
    faults.ask("DELETE", "/images/odd?force=1")


def test_odd_networks_are_no_fault_of_the_daemons(faults: Faults, daemon: Daemon, target: str) -> None:
    for body in list(members(NetworkCreate))[::7]:
        status, answer = faults.ask("POST", "/networks/create", {"Name": "odd", **body})
        if status == 201:
            faults.ask("DELETE", f"/networks/{json.loads(answer)['Id']}")
    daemon.request("POST", "/networks/create", {"Name": "ordinary"})
    try:
        for body in list(members(Connection))[::5]:
            faults.ask("POST", "/networks/ordinary/connect", {"Container": target, **body})
            faults.ask("POST", "/networks/ordinary/disconnect", {"Container": target, "Force": True})
    finally:
        daemon.request("DELETE", "/networks/ordinary")


def test_what_is_no_http_is_no_fault_of_the_daemons(faults: Faults, daemon: Daemon) -> None:
    lines = [b"GET / HTTP/9.9", b"GET", b"\0\0\0\0", b"GET /_ping HTTP/1.1\r\nContent-Length: -1", b"X" * 2_000_000,
             b"POST /info HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz", b"GET \xff HTTP/1.1\r\nHost: x",
             b"GET /info HTTP/1.1\r\nContent-Length: " + b"9" * 5000, b"GET http://[/ HTTP/1.1\r\nHost: x",
             b"GET //x HTTP/1.1\r\nHost: x", b"POST /info HTTP/1.1\r\nUpgrade: tcp\r\nContent-Length: 999999999",
             b"GET /v" + b"9" * 5000 + b"/info HTTP/1.1\r\nHost: x"]  # fmt: skip
    for line in lines:
        connection = UnixConnection(daemon.socket, PATIENCE)
        connection.connect()
        with connection.sock, suppress(ConnectionError):
            connection.sock.sendall(line + b"\r\n\r\n")
            connection.sock.shutdown(1)
            answer = connection.sock.recv(65536)
            if FAULT in answer or b" 500 " in answer[:20]:
                faults.found.append(f"{line[:100]!r}: {answer[:300]!r}")
