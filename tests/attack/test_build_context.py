"""A client whose build context, or what it says about one, is to reach files of the host or to break the builder."""

from __future__ import annotations

import gzip
import json
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from quiet import in_time
from support.archives import directory, link, member, tar
from support.daemons import Daemon
from support.needs import need
from support.processes import wait_for
from support.unixhttp import Answer

pytestmark = [need("root", "busybox"), pytest.mark.usefixtures("clean", "busybox", "unharmed")]

EVERYTHING = b"FROM busybox\nCOPY . /all\nRUN cd /all && find . | sort && cat -- $(find . -type f) | head -c 100000\n"


def build(daemon: Daemon, *members: Any, dockerfile: bytes = EVERYTHING, **query: Any) -> Answer:
    """Ask for a build of a context."""
    return daemon.request("POST", "/build", tar([member("Dockerfile", dockerfile), *members]), nocache=1, **query)


def shown(answer: Answer) -> str:
    """What a build said."""
    lines = [json.loads(line) for line in answer.body.splitlines()]
    return "".join(line.get("stream", "") + line.get("error", "") + line.get("message", "") for line in lines)


def unfinished(daemon: Daemon) -> list[str]:
    """Contexts that are on the disk, but for one that stays a while for the next build."""
    return [path.name for path in (daemon.root / "data" / "tmp").glob("contexts/context-*")]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the host's that no build may see, or change."""
    path = tmp_path / "secret"
    path.write_text("of the host alone")
    return path


def test_names_and_links_of_a_context_stay_inside(daemon: Daemon, secret: Path) -> None:
    up = "../" * 30
    answer = build(
        daemon,
        link("out", str(secret.parent)), link("up", up + str(secret.parent)[1:]), member("out/made", b"made"),
        member(f"{up}{secret}", b"changed"), member(str(secret), b"changed"), member("up/secret", b"changed"),
        link("file", str(secret)),
    )  # fmt: skip
    assert answer.status == 200
    assert "of the host alone" not in shown(answer)
    assert secret.read_text() == "of the host alone"
    assert os.listdir(secret.parent) == ["secret"]


@pytest.mark.parametrize("source", ["link", "link/", "directory/secret", "directory/../secret", "*k"])
def test_what_is_copied_is_looked_for_inside(daemon: Daemon, secret: Path, source: str) -> None:
    members = [link("link", str(secret)), link("directory", str(secret.parent))]
    for instruction in ("COPY", "ADD"):
        answer = build(daemon, *members, dockerfile=f"FROM busybox\n{instruction} {source} /x\nRUN cat /x\n".encode())
        assert "of the host alone" not in shown(answer)


def test_hard_links_lead_to_nothing_of_the_host(daemon: Daemon, secret: Path) -> None:
    for target in (str(secret), "../" * 30 + str(secret)[1:]):
        answer = build(daemon, link("hard", target, hard=True))
        assert answer.status == 400
        assert "is not in the archive" in answer.message


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"])
def test_a_dockerfile_that_is_a_link_is_looked_for_inside(daemon: Daemon, secret: Path, name: str) -> None:
    secret.write_text("FORM of the host alone\n")
    answer = build(daemon, link(name, str(secret)))
    assert "of the host" not in shown(answer)
    elsewhere = "../" * 30 + str(secret)[1:]
    answer = daemon.request("POST", "/build", tar([member("Dockerfile", b"FROM busybox\n")]), dockerfile=elsewhere)
    assert (answer.status, "of the host" in shown(answer)) == (400, False)


def test_a_context_has_no_devices(daemon: Daemon) -> None:
    kinds = {"disk": tarfile.BLKTYPE, "memory": tarfile.CHRTYPE, "fifo": tarfile.FIFOTYPE}
    nodes = [member(name, type=kind, devmajor=1, devminor=1) for name, kind in kinds.items()]
    answer = build(daemon, *nodes, member("a", b"1"))
    assert answer.status == 200
    assert not set(kinds) & {line.removeprefix("./") for line in shown(answer).splitlines()}


def test_owners_and_attributes_of_a_context_do_not_come_along(daemon: Daemon) -> None:
    attributes = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/bin"}
    odd = {"uid": 4242, "gid": 4242, "pax_headers": attributes}
    answer = build(
        daemon,
        directory("d", **odd),
        member("d/a", b"1", **odd),
        dockerfile=b"FROM busybox\nRUN mkdir /d && touch /d/below\nCOPY d /d\nRUN stat -c 'owner %u:%g' /d/a; ls /d\n",
    )
    lines = shown(answer).splitlines()
    assert lines[lines.index("owner 0:0") :][:3] == ["owner 0:0", "a", "below"]
    made = [path for path in (daemon.data_root / "layers").rglob("d") if (path / "a").exists()]
    assert made
    found = {name for path in made for file in (path, path / "a") for name in os.listxattr(file)}
    assert not found & {"trusted.overlay.opaque", "trusted.overlay.redirect"}


@pytest.mark.parametrize("name", [".wh.busybox", ".wh..wh..opq"])
def test_a_name_that_removes_others_in_a_layer_is_refused_where_it_would_become_part_of_one(
    daemon: Daemon, name: str
) -> None:
    copied = build(daemon, member(name, b"odd"), dockerfile=b"FROM busybox\nCOPY . /bin/\n")
    assert "cannot be in an image: the name would remove other files" in shown(copied)
    mounted = b"FROM busybox\nRUN --mount=target=/context ls -A /context && ls /bin/busybox\n"
    answer = build(daemon, member(name, b"odd"), dockerfile=mounted)
    assert name in shown(answer)
    assert "Successfully built" in shown(answer)


@pytest.mark.parametrize("name", ["a\nb", "\\", "%s", "-rf", "\udcff\udcfe", "x" * 255, "Dockerfile "])
def test_odd_names_are_names(daemon: Daemon, name: str) -> None:
    answer = build(
        daemon,
        member(name, b"what is in it\n"),
        dockerfile=b"FROM busybox\nCOPY . /all/\nRUN find /all -type f ! -name Dockerfile -exec cat {} +\n",
    )
    assert answer.status == 200, answer.body
    assert "what is in it" in shown(answer).splitlines()
    assert "Successfully built" in shown(answer)


def huge_hole() -> bytes:
    """An archive of a few blocks, of a file of a petabyte."""
    size = 1 << 50
    headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "a",
        "GNU.sparse.realsize": str(size),
    }
    return tar([member("Dockerfile", EVERYTHING), member("a", b"1\n0\n0\n".ljust(512, b"\0"), pax_headers=headers)])


def bomb() -> bytes:
    """An archive that is a thousand times its size: one compressed block of zeros, over and over."""
    info = tarfile.TarInfo("zeros")
    info.size = 300 << 20  # bytes; fewer are taken for harmless
    return gzip.compress(info.tobuf()) + gzip.compress(bytes(1 << 20)) * 300 + gzip.compress(bytes(1024))


@pytest.mark.parametrize(("make", "status"), [(huge_hole, 400), (bomb, 413)])
def test_a_small_archive_does_not_become_a_large_one(daemon: Daemon, make: Callable[[], bytes], status: int) -> None:
    answer = daemon.request("POST", "/build", make())
    assert answer.status == status
    assert not unfinished(daemon)


def test_many_files_hold_up_nobody(daemon: Daemon) -> None:
    count = 15_000
    answers: list[Answer] = []
    members = [directory("d"), *(member(f"d/{number}", b"") for number in range(count))]
    dockerfile = b"FROM busybox\nCOPY d /d\nRUN ls /d | wc -l\n"
    thread = threading.Thread(target=lambda: answers.append(build(daemon, *members, dockerfile=dockerfile)))
    start = time.monotonic()
    thread.start()
    slowest = 0.0
    while thread.is_alive():
        began = time.monotonic()
        assert daemon.request("GET", "/_ping").status == 200
        slowest = max(slowest, time.monotonic() - began)
        thread.join(0.1)
    assert str(count) in shown(answers[0]).splitlines()
    took = time.monotonic() - start
    in_time(slowest < took / 3, f"a ping waits for the files: {slowest:.2f} s of {took:.2f}")


def test_deep_directories_are_copied(daemon: Daemon) -> None:
    deep = "/".join("d" * 500)
    answer = build(
        daemon,
        member(f"{deep}/file", b"deep"),
        dockerfile=f"FROM busybox\nCOPY . /x\nRUN cat /x/{deep}/file\n".encode(),
    )
    assert "deep" in shown(answer)


def test_a_client_that_stalls_or_goes_leaves_nothing(daemon: Daemon) -> None:
    body = tar([member("Dockerfile", EVERYTHING), member("a", bytes(1 << 20))])
    head = f"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connections = []
    for count in (0, 100, 700, len(body) - 1):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(daemon.socket)
        connection.sendall(head + body[:count])
        connections.append(connection)
    wait_for(lambda: len(unfinished(daemon)) == len(connections))
    assert "Successfully built" in shown(build(daemon, dockerfile=b"FROM busybox\n"))
    for connection in connections:
        connection.close()
    wait_for(lambda: not unfinished(daemon))


@pytest.mark.parametrize(
    "remote",
    [
        "ext::sh -c 'touch {mark}'",
        "git@-oProxyCommand=touch${{IFS}}{mark}:x",
        "ssh://-oProxyCommand=touch${{IFS}}{mark}/x.git",
        "--upload-pack=touch${{IFS}}{mark}",
        "https://localhost:1/x.git#--upload-pack=touch${{IFS}}{mark}",
        "file:///etc/passwd",
        "/etc",
        "../../etc",
        "gopher://localhost/",
    ],
)
def test_an_address_of_a_context_runs_nothing(daemon: Daemon, tmp_path: Path, remote: str) -> None:
    mark = tmp_path / "mark"
    answer = daemon.request("POST", "/build", b"", remote=remote.format(mark=mark))
    assert answer.status >= 400
    assert not mark.exists()


@pytest.fixture
def redirecting() -> Iterator[Callable[[str], str]]:
    """An address whose server redirects to another one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield lambda target: f"http://127.0.0.1:{server.server_address[1]}/x?{target}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_server_does_not_lead_to_the_hosts_files(
    daemon: Daemon, redirecting: Callable[[str], str], secret: Path
) -> None:
    for dockerfile in ("FROM busybox\nADD {} /x\nRUN cat /x\n", None):
        address = redirecting(f"file://{secret}")
        if dockerfile:
            answer = build(daemon, dockerfile=dockerfile.format(address).encode())
        else:
            answer = daemon.request("POST", "/build", b"", remote=address)
        assert "of the host alone" not in shown(answer)
        assert "redirects to" in shown(answer)


def test_a_query_may_be_long_but_not_do_harm(daemon: Daemon) -> None:
    many = {f"A{number}": "x" * 100 for number in range(2000)}
    answer = build(daemon, dockerfile=b"FROM busybox\n", buildargs=json.dumps(many), labels=json.dumps(many))
    assert "Successfully built" in shown(answer)
    for name in ("buildargs", "labels", "ulimits", "cachefrom", "outputs"):
        assert build(daemon, dockerfile=b"FROM busybox\n", **{name: "[" * 50_000}).status == 400
