"""Volumes that are copied, packed and filled while a container, or an archive, means harm."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.archives import directory, link, member, tar
from support.busybox import import_busybox
from support.daemons import Daemon
from support.needs import need
from wherry.errors import InvalidInput, SystemFault
from wherry.linux import trees
from wherry.volumes import archive
from wherry.volumes.drafts import DATA, begin_draft, fill_draft

pytestmark = need("root", "busybox", "overlay")

SECRET = "the host's own"
TRIES = 200

#: Exchanges names for ever, as a container does that has the volume: each is one step of the kernel's.
EXCHANGE = """
import sys
from wherry.linux.files import RENAME, renameat2
from wherry.linux.fd import AT_FDCWD
print(flush=True)
while True:
    for name in ("directory", "file", "deep/below", "deep", "deep"):
        other = "." + name.replace("/", "-")
        renameat2(AT_FDCWD, f"{sys.argv[1]}/{name}", AT_FDCWD, f"{sys.argv[1]}/{other}", RENAME.EXCHANGE)
"""


@contextmanager
def exchanging(volume: Path) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", EXCHANGE, volume], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
            assert process.poll() is None
        finally:
            process.kill()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume in which everything has a link, a FIFO or a device to be exchanged for."""
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    for place in (outside, outside / "below"):
        (place / "key").write_text(SECRET)
    path = tmp_path / "volume"
    for name in ("directory", "deep/below"):
        (path / name).mkdir(parents=True)
        (path / name / "key").write_text("mine")
    (path / "file").write_text("mine")
    for name in ("directory", "deep", "deep-below"):
        (path / f".{name}").symlink_to(outside)
    (path / ".file").symlink_to(outside / "key")
    return path


def copied(volume: Path, draft: Path) -> list[str]:
    begin_draft(draft)
    fill_draft(draft, str(volume), lambda: None)
    try:
        return [path.read_text() for path in (draft / DATA).rglob("*") if path.is_file() and not path.is_symlink()]
    finally:
        trees.remove(draft)


def packed(volume: Path, _: Path) -> list[str]:
    data = io.BytesIO()
    archive.pack(str(volume), data.write)
    data.seek(0)
    with tarfile.open(fileobj=data) as found:
        files = [found.extractfile(one) for one in found if one.isreg()]
        return [file.read().decode() for file in files if file is not None]


@pytest.mark.parametrize("act", [copied, packed])
def test_what_is_exchanged_for_links_leads_nowhere(
    volume: Path, tmp_path: Path, act: Callable[[Path, Path], list[str]]
) -> None:
    seen: set[str] = set()
    with exchanging(volume):
        for number in range(TRIES):
            with suppress(SystemFault):  # a directory was moved while one was in it
                seen.update(act(volume, tmp_path / f"draft{number}"))
    assert seen == {"mine"}


def test_a_file_that_somebody_has_a_lease_on_is_not_waited_for(volume: Path, tmp_path: Path) -> None:
    hold = "import fcntl,sys,signal; f=open(sys.argv[1],'r+'); signal.signal(signal.SIGIO, lambda *_: None);"
    hold += "fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, volume / "file"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(SystemFault, match=r"'file': somebody has a lease on it"):
            copied(volume, tmp_path / "draft")
        holder.kill()


HOSTILE = {
    "above": [member("../../outside", b"x")],
    "absolute": [member("/outside", b"x")],
    "through a link": [link("way", "OUTSIDE"), member("way/outside", b"x")],
    "through two": [link("one", ".."), link("two", "one/.."), member("two/outside", b"x")],
    "a directory that was a link": [link("way", "OUTSIDE"), directory("way"), member("way/outside", b"x")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_leads_nowhere(tmp_path: Path, name: str) -> None:
    draft, outside = tmp_path / "volumes" / "draft", tmp_path / "outside"
    draft.parent.mkdir()
    outside.mkdir()
    members = HOSTILE[name]
    for info, _ in members:
        info.linkname = info.linkname.replace("OUTSIDE", str(outside))
    begin_draft(draft)
    with suppress(InvalidInput):
        archive.unpack(io.BytesIO(tar(members)), draft, lambda: None)
    assert os.listdir(outside) == []
    assert sorted(os.listdir(tmp_path)) == ["outside", "volumes"]
    assert os.listdir(draft.parent) == ["draft"]


# --- the daemon is killed ----------------------------------------------------------------------------------------


def wait_until(condition: Callable[[], bool], daemon: Daemon) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, daemon.log_tail()
        time.sleep(0.005)


def test_a_daemon_that_is_killed_while_it_copies_leaves_nothing_half_and_nobody_frozen(
    own_daemon: Daemon, busybox_archive: bytes
) -> None:
    import_busybox(own_daemon, busybox_archive)
    own_daemon.cli("volume", "create", "data", check=True)
    data = own_daemon.data_root / "volumes" / "data" / DATA
    for number in range(3000):
        (data / str(number)).write_text("x")
    run = ("run", "-d", "--network", "none", "--name", "user", "-v", "data:/data", "busybox", "sleep", "1000")
    own_daemon.cli(*run, check=True)
    snapshots = own_daemon.data_root / "snapshots"

    def begun() -> bool:
        return snapshots.is_dir() and any(name.startswith(".unfinished") for name in os.listdir(snapshots))

    words = ["-H", own_daemon.host, "volume", "snapshot", "data@1"]
    command = [sys.executable, "-m", "wherry.cli.main", *words]
    with subprocess.Popen(command, env=own_daemon.environment) as client:
        wait_until(lambda: begun() or client.poll() is not None, own_daemon)
        own_daemon.kill9()
        client.wait()
    own_daemon.start()
    state = own_daemon.request("GET", "/containers/user/json").json["State"]
    assert (state["Running"], state["Paused"]) == (True, False)
    for one in own_daemon.request("GET", "/wherry/volumes/snapshots").json:
        assert one["Files"] == 3000
    wait_until(lambda: not begun(), own_daemon)
    assert os.listdir(snapshots / ".frozen") == []


def test_an_import_that_is_cut_short_makes_no_volume(own_daemon: Daemon) -> None:
    volumes = own_daemon.data_root / "volumes"

    def begun() -> bool:
        return any(name.startswith(".") for name in os.listdir(volumes))

    head = b"POST /wherry/volumes/import?name=half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    for killed in (False, True):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(own_daemon.socket))
            client.sendall(head + tar([member("file", b"x" * 5000)])[:4096])
            wait_until(begun, own_daemon)
            if killed:
                own_daemon.kill9()
        if killed:
            own_daemon.start()
        wait_until(lambda: not begun(), own_daemon)
        found = own_daemon.request("GET", "/volumes").json["Volumes"]
        assert [one for one in found if one["Driver"] == "local"] == [], "plugins are the machine's"
