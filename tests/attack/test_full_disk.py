"""Disks that are full, of bytes or of inodes, while somebody goes on filling them: what makes room works."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import needs
from support.archives import member, tar
from support.busybox import import_busybox
from support.daemons import Daemon, docker_environment
from support.needs import compose_program, need
from support.unixhttp import Answer

pytestmark = need("root", "busybox", "overlay")

FILL = {
    "bytes": "while :; do cat /dev/zero >> /fill; sleep 0.01; done 2> /dev/null",
    "inodes": "i=0; while :; do i=$((i+1)); touch /$i || sleep 0.01; done 2> /dev/null",
}
CASES = [
    ("tmpfs", "bytes", "kill9"), ("tmpfs", "inodes", "stop"), ("ext4", "bytes", "kill9"), ("ext4", "inodes", "kill9"),
    ("ext4", "bytes", "stop"),
]  # fmt: skip
FLAGS = ("--debug",)


def small_disk(kind: str, cleaning: ExitStack, size: str = "48m", inodes: int = 1500) -> Path:
    path = Path(tempfile.mkdtemp(prefix="wherry-disk-"))
    cleaning.callback(shutil.rmtree, path, ignore_errors=True)
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes}", "none", path]
    else:
        image = Path(f"{path}.img")
        cleaning.callback(image.unlink)
        with image.open("wb") as file:
            file.truncate(64 << 20)
        make = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if make is None:
            pytest.skip("needs mkfs.ext4 (Debian: e2fsprogs)")
        subprocess.run([make, "-q", "-N", str(inodes), image], check=True)
        command = ["mount", "-o", "loop", image, path]
    subprocess.run(command, check=True)
    cleaning.callback(subprocess.run, ["umount", "-l", path], check=True)
    return path


@pytest.fixture
def cleaning() -> Iterator[ExitStack]:
    needs.check("root")
    with ExitStack() as stack:
        yield stack


def begun(daemon: Daemon, cleaning: ExitStack, archive: bytes) -> Daemon:
    cleaning.callback(daemon.shut_down)
    daemon.start()
    import_busybox(daemon, archive)
    return daemon


def run(daemon: Daemon, name: str, *command: str) -> None:
    daemon.cli("run", "-d", "--network", "none", "--name", name, "busybox", *command, check=True)


def statuses(daemon: Daemon) -> dict[str, str]:
    return {c["Names"][0][1:]: c["State"] for c in daemon.request("GET", "/containers/json", all=True).json}


def wait_until(condition: Callable[[], bool], daemon: Daemon) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, daemon.log_tail()
        time.sleep(0.02)


def is_full(path: Path, what: str) -> bool:
    found = os.statvfs(path)
    return not (found.f_bavail if what == "bytes" else found.f_favail)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "what", "ending"), CASES)
def test_a_container_that_fills_the_disk_stops_nothing(
    kind: str, what: str, ending: str, cleaning: ExitStack, busybox_archive: bytes
) -> None:
    disk = small_disk(kind, cleaning)
    daemon = Daemon(*FLAGS)
    daemon.data_root = disk / "data"
    begun(daemon, cleaning, busybox_archive)
    for name in ("stopped", "killed", "paused", "renamed", "busy"):
        run(daemon, name, "sleep", "1000")
    run(daemon, "gone", "true")
    wait_until(lambda: statuses(daemon)["gone"] == "exited", daemon)
    run(daemon, "filler", "sh", "-c", FILL[what])
    wait_until(lambda: is_full(disk, what), daemon)

    daemon.cli("stop", "-t", "0", "stopped", check=True)
    daemon.cli("kill", "killed", check=True)
    daemon.cli("pause", "paused", check=True)
    renamed = daemon.request("POST", "/containers/renamed/rename", name="other")
    present = "other" if renamed.status == 204 else "renamed"  # it happened, or it did not; and that is what was said
    expected = {
        "stopped": "exited", "killed": "exited", "paused": "paused", present: "running", "busy": "running",
        "gone": "exited", "filler": "running",
    }  # fmt: skip
    assert statuses(daemon) == expected
    refused = daemon.request("POST", "/containers/create", {"Image": "busybox"}, name="new")
    if refused.status != 201:
        assert (refused.status, "space" in refused.json["message"] or "full" in refused.json["message"]) == (500, True)
        assert statuses(daemon) == expected

    getattr(daemon, ending)()
    daemon.start()
    assert statuses(daemon).items() >= expected.items()
    daemon.cli("rm", "gone", check=True)
    daemon.cli("rm", "-f", "busy", check=True)
    daemon.cli("rm", "-f", "filler", check=True)
    wait_until(lambda: not is_full(disk, what), daemon)
    daemon.cli("unpause", "paused", check=True)
    daemon.cli("start", "stopped", check=True)
    daemon.cli("run", "--rm", "--network", "none", "busybox", "true", check=True)
    wait_until(lambda: len(os.listdir(disk / "data" / "reserve")) > 1, daemon)
    before = statuses(daemon)
    daemon.kill9()
    daemon.start()
    assert statuses(daemon) == before
    assert not before.keys() & {"gone", "busy", "filler"}


def test_images_are_removed_from_a_disk_that_is_full(cleaning: ExitStack, busybox_archive: bytes) -> None:
    disk = small_disk("tmpfs", cleaning)
    daemon = Daemon(*FLAGS)
    daemon.data_root = disk / "data"
    begun(daemon, cleaning, busybox_archive)
    daemon.cli("run", "--name", "changed", "--network", "none", "busybox", "sh", "-c", "head -c 2000000 /dev/zero > x")
    daemon.cli("commit", "changed", "more", check=True)
    run(daemon, "filler", "sh", "-c", FILL["bytes"])
    wait_until(lambda: is_full(disk, "bytes"), daemon)
    daemon.cli("rm", "changed", check=True)
    daemon.cli("rmi", "more", check=True)
    assert daemon.cli("images", "-q", "more").stdout == ""
    daemon.cli("rm", "-f", "filler", check=True)
    daemon.restart()
    assert daemon.cli("images", "-q", "more").stdout == ""


@pytest.fixture(scope="module")
def small(busybox_archive: bytes) -> Iterator[Daemon]:
    """A daemon on a disk of a few megabytes, which each test leaves as it was."""
    needs.check("root")
    with ExitStack() as cleaning:
        daemon = Daemon(*FLAGS)
        daemon.data_root = small_disk("tmpfs", cleaning) / "data"
        yield begun(daemon, cleaning, busybox_archive)


def room(daemon: Daemon) -> int:
    """What is free on the daemon's disk, in megabytes."""
    found = os.statvfs(daemon.data_root)
    return found.f_bavail * found.f_bsize >> 20


def still_builds(daemon: Daemon) -> bool:
    """Whether there is room for a build."""
    dockerfile = f"FROM busybox\nRUN echo {time.monotonic_ns()} > /1\n".encode()  # not from the cache
    answer = daemon.request("POST", "/build", tar([member("Dockerfile", dockerfile)]))
    return b"Successfully built" in answer.body


DOCKERFILE = b"FROM busybox:latest\nCOPY a /a\n"
LARGE = {
    "a file": lambda: tar([member("Dockerfile", DOCKERFILE), member("a", os.urandom(64 << 20))]),
    "compressed": lambda: gzip.compress(tar([member("Dockerfile", DOCKERFILE), member("a", os.urandom(64 << 20))]), 0),
    "files": lambda: tar([member("Dockerfile", DOCKERFILE), *(member(f"{number}") for number in range(3000))]),
}


@pytest.mark.parametrize("what", LARGE)
def test_contexts_that_the_disk_does_not_hold_leave_it_as_it_was(small: Daemon, what: str) -> None:
    before, body = room(small), LARGE[what]()
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(small.request("POST", "/build", body))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(answer.status, "no space left on device" in answer.message) for answer in answers] == [(500, True)] * 2
    assert room(small) >= before - 1
    assert still_builds(small)


def test_files_that_the_disk_does_not_hold_are_an_error_of_cp_and_of_snapshots(small: Daemon, tmp_path: Path) -> None:
    before = room(small)
    (tmp_path / "a").write_bytes(os.urandom(64 << 20))
    small.cli("run", "-d", "--network", "none", "--name", "takes", "-v", "data:/data", "busybox", "sleep", "1000",
              check=True)  # fmt: skip
    done = small.cli("cp", str(tmp_path / "a"), "takes:/data/a")
    assert "no space left on device" in done.stderr
    small.cli("exec", "takes", "sh", "-c", "rm /data/a; head -c 9m /dev/urandom > /data/b", check=True)
    copies = [small.cli("volume", "snapshot", f"data@{number}") for number in range(9)]
    assert any("no space left on device" in copy.stderr for copy in copies)
    kept = small.cli("volume", "snapshots", "-q", "data", check=True).stdout.split()
    assert kept == [f"data@{number}" for number, copy in enumerate(copies) if not copy.returncode]
    small.cli("rm", "-f", "takes", check=True)
    for name in (*kept, "data"):
        small.cli("volume", "rm", name, check=True)
    wait_until(lambda: room(small) >= before - 1, small)  # what is removed is deleted behind the answer


@need("compose")
def test_a_clients_directory_that_the_disk_does_not_hold_leaves_it_as_it_was(small: Daemon, tmp_path: Path) -> None:
    before = room(small)
    (tmp_path / "Dockerfile").write_bytes(DOCKERFILE)
    (tmp_path / "a").write_bytes(os.urandom(64 << 20))
    (tmp_path / "compose.yaml").write_text('{"services": {"one": {"build": "."}}}')
    environment = {**docker_environment(f"unix://{small.socket}", tmp_path), "COMPOSE_BAKE": "false"}
    done = subprocess.run(
        [compose_program(), "--progress", "plain", "build"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "unable to keep the client's files: no space left on device" in done.stderr
    assert room(small) >= before - 1
    assert still_builds(small)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_an_exec_root_that_is_full_keeps_nobody_from_ending_things(
    what: str, cleaning: ExitStack, busybox_archive: bytes
) -> None:
    disk = small_disk("tmpfs", cleaning, size="2m", inodes=300)
    daemon = Daemon(*FLAGS)
    daemon.exec_root = disk / "run"
    daemon.socket = str(daemon.root / "wherry.sock")
    daemon.host = f"unix://{daemon.socket}"
    daemon.flags = (*FLAGS, "-H", daemon.host)
    begun(daemon, cleaning, busybox_archive)
    for name in ("stopped", "killed", "removed", "stays"):
        run(daemon, name, "sleep", "1000")
    (disk / "fill").mkdir()
    try:
        for number in range(100_000):
            (disk / "fill" / str(number)).write_bytes(bytes(65536 if what == "bytes" else 0))
    except OSError:
        assert is_full(disk, what)
    daemon.cli("stop", "-t", "0", "stopped", check=True)
    daemon.cli("kill", "killed", check=True)
    daemon.cli("rm", "-f", "removed", check=True)
    assert statuses(daemon) == {"stopped": "exited", "killed": "exited", "stays": "running"}
    daemon.kill9()
    os.kill(daemon.keeper_pid, 9)
    daemon.start()
    assert statuses(daemon) == {"stopped": "exited", "killed": "exited", "stays": "running"}
    daemon.cli("rm", "-f", "stays", check=True)
    shutil.rmtree(disk / "fill")
    daemon.cli("start", "stopped", check=True)
    daemon.cli("run", "--rm", "--network", "none", "busybox", "true", check=True)
