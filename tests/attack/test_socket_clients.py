"""Who may connect to the socket and does not keep to the protocol: bytes that are no request, ends that never come.

What well-formed requests may hold is in `test_requests.py`, connections by the hundred are in `test_connections.py`.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay", "namespaces"), pytest.mark.usefixtures("unharmed")]

MEGABYTE = 1 << 20
PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
LOGIN = b"POST /auth HTTP/1.1\r\nHost: x\r\n"
LAST = b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@contextlib.contextmanager
def connected(daemon: Daemon, first: bytes = b"") -> Iterator[socket.socket]:
    """A connection that has sent these bytes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(daemon.socket)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have been closed meanwhile
            client.sendall(first)
        yield client


def answer(daemon: Daemon, sent: bytes) -> bytes:
    """All that comes back until the daemon closes the connection."""
    with connected(daemon, sent) as client:
        return read(client)


def read(client: socket.socket) -> bytes:
    """What comes until the end."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def statuses(answered: bytes) -> list[int]:
    """The statuses of the answers in there."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answered)]


# ---------------------------------------------------------------------------------------------------------------- heads

#: What is no request, or two that might be read as one: refused, or the end. None of it brings a second answer.
WRONG: dict[str, bytes] = {
    "noise": bytes(range(256)) * 8 + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100 + b"\r\n\r\n",
    "half of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    "no version": b"GET /_ping\r\n\r\n",
    "an unknown version": b"GET /_ping HTTP/7.7\r\n\r\n",
    "no method": b" /_ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method of noise": b"G\xffT /_ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in a name": b"GET /_ping HTTP/1.1\r\nHost : x\r\n\r\n",
    "a zero byte": b"GET /_ping HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "a length and chunks": LOGIN + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + PING,
    "two lengths": LOGIN + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + PING,
    "a length below zero": LOGIN + b"Content-Length: -1\r\n\r\n{}" + PING,
    "a length with a sign": LOGIN + b"Content-Length: +2\r\n\r\n{}" + PING,
    "a length of noise": LOGIN + b"Content-Length: 0x2\r\n\r\n{}" + PING,
    "chunks of noise": LOGIN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n" + PING,
    "chunks twice": LOGIN + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + PING,
    "a name that never ends": b"GET /_ping HTTP/1.1\r\n" + b"a" * (2 * MEGABYTE),
    "a path that never ends": b"GET /" + b"a" * (2 * MEGABYTE) + b" HTTP/1.1\r\n\r\n",
    "headers that never end": b"GET /_ping HTTP/1.1\r\n" + b"a: b\r\n" * 400_000,
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_request_is_refused_and_nothing_behind_it_is_taken_for_one(daemon: Daemon, what: str) -> None:
    answered = answer(daemon, WRONG[what])
    assert len(statuses(answered)) <= 1
    assert set(statuses(answered)) <= {400, 413, 414, 431, 505}, answered[:300]


def test_an_upgrade_is_no_way_around_that(daemon: Daemon) -> None:
    head = b"POST /containers/none/attach HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n"
    assert statuses(answer(daemon, head + b"\r\n" + LAST)) == [404]
    assert statuses(answer(daemon, head + b"Content-Length: -1\r\n\r\n{}" + LAST)) == [400]
    for kind in (b"tcp", b"h2c", b"websocket"):
        asked = b"GET /_ping HTTP/1.1\r\nHost: x\r\nUpgrade: %b\r\nConnection: close\r\n\r\n" % kind
        assert statuses(answer(daemon, asked)) == [200]


#: Paths that some servers read as another; here each is what it is, or nothing.
PATHS = [
    "/../../../../etc/passwd", "/v1.41/../../etc/passwd", "/containers/../../../etc/passwd/json", "//etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd", "/containers/%2e%2e%2f%2e%2e%2fetc%2fpasswd/json", "/containers/%00/json",
    "/containers/a%0d%0aX-Evil:%20yes/json", "/containers/%ff%fe/json", "/images/..%2f..%2fx/json",
    "/containers/%25252e/json", "/v99999999999999999999.1/_ping", "/v1.41/v1.41/_ping", "/_ping/../info/..",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_leads_to_an_object_or_nowhere(daemon: Daemon, path: str) -> None:
    answered = answer(daemon, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert statuses(answered) in ([400], [404], [301]), answered[:300]
    assert b"root:" not in answered
    assert b"\r\nX-Evil" not in answered


def test_a_request_that_comes_letter_by_letter_is_a_request(daemon: Daemon) -> None:
    with connected(daemon) as client:
        for letter in LAST:
            client.sendall(bytes([letter]))
        assert statuses(read(client)) == [200]


def test_a_hundred_requests_at_once_get_their_answers_in_order(daemon: Daemon) -> None:
    missing = b"".join(f"GET /containers/none{n}/json HTTP/1.1\r\nHost: x\r\n\r\n".encode() for n in range(100))
    answered = answer(daemon, missing + LAST)
    assert statuses(answered) == [404] * 100 + [200]
    assert [f"none{n}".encode() in part for n, part in enumerate(answered.split(b"HTTP/1.")[1:101])] == [True] * 100


# -------------------------------------------------------------------------------------------- clients that do not go on


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def memory(daemon: Daemon) -> int:
    """What the daemon has in memory, in bytes."""
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) << 10


def test_requests_that_stop_anywhere_hold_up_nobody_and_leave_nothing(daemon: Daemon, busybox: str) -> None:
    body = json.dumps({"Image": busybox}).encode()
    whole = b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body) + 1, body)
    files = daemon.open_files()
    with contextlib.ExitStack() as stack:
        for length in range(1, len(whole), 7):
            stack.enter_context(connected(daemon, whole[:length]))
        assert daemon.request("GET", "/_ping").status == 200
        assert daemon.request("GET", "/containers/json", all=True).status == 200
    until(lambda: daemon.open_files() <= files)


def test_an_archive_that_never_ends_is_dropped_with_its_connection(daemon: Daemon, busybox_archive: bytes) -> None:
    head = b"POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(daemon, head + b"100000\r\n" + busybox_archive[:900_000]):
        assert daemon.request("GET", "/images/json").status == 200
    until(lambda: not daemon.unfinished())


@pytest.fixture
def flooding(daemon: Daemon, busybox: str) -> Iterator[str]:
    """A container with much to say, and a large file."""
    script = "head -c 60000000 /dev/zero >/large; yes | head -c 30000000; echo end; exec sleep 1000"
    body = {"Image": busybox, "Cmd": ["sh", "-c", script], "HostConfig": {"NetworkMode": "none"}}
    created = daemon.request("POST", "/containers/create", body).json["Id"]
    daemon.request("POST", f"/containers/{created}/start")
    until(lambda: daemon.request("GET", f"/containers/{created}/logs", stdout=True, tail=1).body.endswith(b"end\n"))
    yield created
    daemon.request("DELETE", f"/containers/{created}", force=True)


ENDLESS = [
    "/containers/{}/logs?stdout=1&follow=1", "/containers/{}/logs?stdout=1", "/containers/{}/export",
    "/containers/{}/archive?path=/large", "/images/busybox/get", "/events", "/containers/{}/stats", "/system/df",
]  # fmt: skip


@pytest.mark.parametrize("path", ENDLESS)
def test_who_never_reads_an_answer_costs_little(daemon: Daemon, flooding: str, path: str) -> None:
    request = f"GET {path.format(flooding)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    files, before = daemon.open_files(), memory(daemon)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(daemon, request)) for _ in range(8)]
        for client in clients:
            client.recv(1)  # it has begun
        for _ in range(20):
            assert daemon.request("GET", f"/containers/{flooding}/json").status == 200
        assert memory(daemon) - before < 40 * MEGABYTE
    until(lambda: daemon.open_files() <= files)


ATTACH = "/containers/{}/attach?stream=1&stdin=1&stdout=1&stderr=1&logs=1"


@pytest.mark.parametrize("upgrade", [b"", b"Upgrade: tcp\r\nConnection: Upgrade\r\n"])
def test_who_attaches_and_vanishes_takes_nobody_along(daemon: Daemon, flooding: str, upgrade: bytes) -> None:
    files = daemon.open_files()
    for read_first in (0, 1, 100_000):
        head = f"POST {ATTACH.format(flooding)} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n".encode()
        with connected(daemon, head + upgrade + b"\r\n" + b"input" * 1000) as client:
            if read_first:
                client.recv(read_first)
    assert daemon.request("GET", f"/containers/{flooding}/json").json["State"]["Running"]
    until(lambda: daemon.open_files() <= files)
