"""Archives go in and out in pieces; a client that stalls or leaves harms nobody and leaves nothing."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox"), pytest.mark.usefixtures("busybox")]


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def threads(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/task"))


def unfinished(daemon: Daemon) -> list[Path]:
    return [daemon.data_root / "tmp" / name for name in daemon.unfinished()]


class Upload:
    """A request whose body comes as the test likes."""

    def __init__(self, daemon: Daemon, target: str, size: int) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(daemon.socket)
        self.socket.sendall(f"POST {target} HTTP/1.1\r\nHost: d\r\nContent-Length: {size}\r\n\r\n".encode())


@pytest.fixture
def archive(daemon: Daemon) -> bytes:
    return daemon.request("GET", "/images/busybox/get").body


@pytest.fixture
def stalled(daemon: Daemon, archive: bytes) -> Iterator[list[Upload]]:
    uploads = [Upload(daemon, "/images/load", len(archive)) for _ in range(12)]
    for upload in uploads:
        upload.socket.sendall(archive[: len(archive) // 2])
    yield uploads
    for upload in uploads:
        upload.socket.close()


def test_many_stalled_uploads_hold_nobody_up(daemon: Daemon, stalled: list[Upload], archive: bytes) -> None:
    assert stalled
    assert b"Loaded image: busybox:latest" in daemon.request("POST", "/images/load", archive).body
    assert daemon.request("GET", "/images/busybox/get").body


@pytest.mark.parametrize("target", ["/images/load", "/images/create?fromSrc=-&repo=half"])
def test_an_upload_that_is_given_up_leaves_nothing(daemon: Daemon, archive: bytes, target: str) -> None:
    images = daemon.request("GET", "/images/json?all=1").json
    before = threads(daemon)
    wait_until(lambda: not unfinished(daemon))  # of other tests
    upload = Upload(daemon, target, len(archive))
    try:
        upload.socket.sendall(archive[: len(archive) // 2])
        wait_until(lambda: unfinished(daemon))
    finally:
        upload.socket.close()
    wait_until(lambda: threads(daemon) <= before)
    wait_until(lambda: not unfinished(daemon))
    assert [image["Id"] for image in daemon.request("GET", "/images/json?all=1").json] == [one["Id"] for one in images]


def test_a_download_that_is_given_up_leaves_nothing(daemon: Daemon) -> None:
    before = threads(daemon)
    client = socket.socket(socket.AF_UNIX)
    client.connect(daemon.socket)
    client.sendall(b"GET /images/busybox/get HTTP/1.1\r\nHost: d\r\n\r\n")
    assert client.recv(1000)
    client.close()
    wait_until(lambda: threads(daemon) <= before)
    wait_until(lambda: not unfinished(daemon))


def test_the_same_archive_may_come_many_times_at_once(daemon: Daemon, archive: bytes) -> None:
    answers: list[bytes] = []

    def load() -> None:
        answers.append(daemon.request("POST", "/images/load", archive).body)

    loaders = [threading.Thread(target=load) for _ in range(8)]
    for loader in loaders:
        loader.start()
    for loader in loaders:
        loader.join()
    assert all(b"Loaded image: busybox:latest" in answer for answer in answers), answers
    assert len(answers) == 8
