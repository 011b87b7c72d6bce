"""The daemon dies while files are copied, and many want volumes at once: no volume is half of what it should be."""

from __future__ import annotations

import http.client
import io
import os
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.archives import directory, member, tar
from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need
from support.unixhttp import Answer, UnixConnection

pytestmark = need("root", "busybox", "overlay", "namespaces")

FILES = 1500
NAMES = {f"{number:04}" for number in range(FILES)}


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """A daemon that may be killed, with an image that has files at /srv."""
    members = tar([directory("srv"), *(member(f"srv/{name}", name.encode()) for name in sorted(NAMES))])
    with busybox_daemon(busybox_archive) as daemon:
        container = create(daemon, "true", image="busybox:latest")
        assert daemon.request("PUT", f"/containers/{container}/archive", members, path="/").status == 200
        assert daemon.request("POST", "/commit", container=container, repo="full").status == 201
        daemon.remove_containers()
        yield daemon
        daemon.remove_containers()


def create(daemon: Daemon, *command: str, image: str = "full", **host: Any) -> str:
    body = {"Image": image, "Cmd": list(command), "HostConfig": {"NetworkMode": "none", **host}}
    answer = daemon.request("POST", "/containers/create", body)
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


def run(daemon: Daemon, script: str, **host: Any) -> int:
    container = create(daemon, "sh", "-c", script, **host)
    assert daemon.request("POST", f"/containers/{container}/start").status == 204
    return int(daemon.request("POST", f"/containers/{container}/wait").json["StatusCode"])


def wait_until(condition: Callable[[], bool], daemon: Daemon) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, daemon.log_tail()
        time.sleep(0.001)


@contextmanager
def killed_when(daemon: Daemon, begun: Callable[[], bool], *request: Any, **query: Any) -> Iterator[None]:
    """Kill the daemon as soon as something that it is asked for has begun, and start another one."""
    with ThreadPoolExecutor(1) as pool:
        asked: Future[Answer] = pool.submit(daemon.request, *request, **query)
        wait_until(lambda: asked.done() or begun(), daemon)
        daemon.kill9()
        asked.exception()  # it may have been answered just before
    daemon.start()
    yield


def contents(path: Path) -> dict[str, str]:
    return {name: (path / name).read_text() for name in os.listdir(path)}


WHOLE = {name: name for name in NAMES}


def test_a_volume_that_was_being_filled_is_filled_again(daemon: Daemon) -> None:
    volume = daemon.data_root / "volumes" / "filled"
    body = {"Image": "full", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", "Binds": ["filled:/srv"]}}
    copy = volume / "_copy"
    with killed_when(daemon, lambda: copy.is_dir() and bool(os.listdir(copy)), "POST", "/containers/create", body):
        assert os.listdir(volume) == ["_data"]
        assert contents(volume / "_data") in ({}, WHOLE)
    create(daemon, "true", Binds=["filled:/srv"])
    assert contents(volume / "_data") == WHOLE


def test_a_clone_and_a_snapshot_are_whole_or_not_there(daemon: Daemon) -> None:
    create(daemon, "true", Binds=["source:/srv"])
    volumes, snapshots = daemon.data_root / "volumes", daemon.data_root / "snapshots"

    def drafts(where: Path) -> bool:
        return where.is_dir() and any(name.startswith(".") and name != ".frozen" for name in os.listdir(where))

    clone = ("POST", "/wherry/volumes/source/clone", {"Name": "copied"})
    with killed_when(daemon, lambda: drafts(volumes), *clone):
        known = {one["Name"] for one in daemon.request("GET", "/volumes").json["Volumes"]}
        assert ("copied" in known) == (volumes / "copied").is_dir()
        assert "copied" not in known or contents(volumes / "copied" / "_data") == WHOLE
    snapshot = ("POST", "/wherry/volumes/source/snapshot", {"Name": "one"})
    with killed_when(daemon, lambda: drafts(snapshots), *snapshot):
        assert all(one["Files"] == FILES for one in daemon.request("GET", "/wherry/volumes/snapshots").json)
    wait_until(lambda: not drafts(volumes) and not drafts(snapshots), daemon)


def test_files_that_were_being_copied_can_be_copied_again(daemon: Daemon) -> None:
    container = create(daemon, "sh", "-c", "test $(ls /new | wc -l) = 2")
    archive = tar([directory("new"), member("new/a", b"a"), member("new/b", b"b")])
    upper = daemon.data_root / "containers" / container / "upper"
    connection = UnixConnection(daemon.socket)
    connection.putrequest("PUT", f"/containers/{container}/archive?path=/")
    connection.putheader("Content-Length", str(len(archive)))
    connection.endheaders(archive[: tarfile.BLOCKSIZE * 3])  # the directory, and a file of two
    wait_until((upper / "new" / "a").exists, daemon)
    daemon.kill9()
    connection.close()
    daemon.start()
    assert daemon.request("PUT", f"/containers/{container}/archive", archive, path="/").status == 200
    assert daemon.request("POST", f"/containers/{container}/start").status == 204
    assert daemon.request("POST", f"/containers/{container}/wait").json["StatusCode"] == 0


def test_who_gets_files_when_the_daemon_dies_does_not_take_the_part_for_the_whole(daemon: Daemon) -> None:
    container = create(daemon, "true")
    large = tar([member("large", bytes(8 << 20))])
    assert daemon.request("PUT", f"/containers/{container}/archive", large, path="/").status == 200
    connection = UnixConnection(daemon.socket)
    connection.request("GET", f"/containers/{container}/archive?path=/large")
    answer = connection.getresponse()
    begin = answer.read(tarfile.BLOCKSIZE)
    daemon.kill9()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()
    daemon.start()
    whole = daemon.request("GET", f"/containers/{container}/archive", path="/large").body
    assert whole.startswith(begin)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        assert archive.getmember("large").size == 8 << 20


def test_fifty_that_first_use_a_volume_at_once_find_it_whole(daemon: Daemon) -> None:
    script = f"test $(ls /srv | wc -l) = {FILES} && cat /srv/* | wc -c | grep -qx {4 * FILES}"
    with ThreadPoolExecutor(50) as pool:
        codes = list(pool.map(lambda _: run(daemon, script, Binds=["shared:/srv"]), range(50)))
    assert Counter(codes) == {0: 50}


def test_fifty_make_and_remove_the_same_volumes_at_once(daemon: Daemon) -> None:
    def make_and_remove(number: int) -> tuple[int, int]:
        name = f"contended-{number % 5}"
        made = daemon.request("POST", "/volumes/create", {"Name": name}).status
        return made, daemon.request("DELETE", f"/volumes/{name}").status

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(make_and_remove, range(50)))
    assert {made for made, _ in answers} == {201}
    assert {removed for _, removed in answers} <= {204, 404}  # somebody else has removed it
    assert sum(removed == 204 for _, removed in answers) >= 5
    known = {one["Name"] for one in daemon.request("GET", "/volumes").json["Volumes"]}
    assert not any(name.startswith("contended") for name in known | set(os.listdir(daemon.data_root / "volumes")))
