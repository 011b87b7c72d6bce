"""``docker cp`` meets a container that wants out: links, exchanges, FIFOs, devices, the kernel's files, mounts."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.actors import started
from support.daemons import Daemon
from support.needs import need
from wherry.engine.archive.archives import _status
from wherry.engine.archive.pack import pack
from wherry.engine.archive.unpack import unpack
from wherry.engine.archive.view import View
from wherry.errors import WherryError
from wherry.linux.fd import Fd
from wherry.linux.files import RENAME, renameat2

TRIES = 800
SECRET = b"a secret of the host"


@contextmanager
def exchanging(first: Path, second: Path) -> Iterator[None]:
    """Two names are exchanged without pause, as a container may do with its own: CVE-2018-15664."""
    over = threading.Event()

    def exchange() -> None:
        while not over.is_set():
            renameat2(-100, first, -100, second, RENAME.EXCHANGE)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host, which nothing may read or write."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "file").write_bytes(SECRET)
    return place


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    top = tmp_path / "root"
    (top / "a/dir").mkdir(parents=True)
    (top / "a/dir/file").write_bytes(b"its own")
    (top / "a/link").symlink_to(outside)
    (top / "a/up").symlink_to("../../outside")
    return top


def tar(*names: str) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.gid = 3, os.getuid(), os.getgid()
            archive.addfile(member, io.BytesIO(b"new"))
    made.seek(0)
    return made


def members(daemon: Daemon, path: str) -> list[tarfile.TarInfo]:
    """What is in the archive of a path of the container."""
    body = daemon.request("GET", f"/containers/web/archive?path={path}").body
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return archive.getmembers()


@pytest.mark.parametrize("link", ["link", "up"])
def test_directories_that_become_links_while_they_are_copied(root: Path, outside: Path, link: str) -> None:
    view = View(Fd(os.open(root, os.O_PATH | os.O_CLOEXEC)), "web")
    with exchanging(root / "a/dir", root / "a" / link):
        for path in ("/a/dir/", "/a/dir/file", "/a", f"/a/{link}/.") * (TRIES // 8):
            pieces = io.BytesIO()
            with suppress(WherryError):
                pack(view, path, pieces.write)
            assert SECRET not in pieces.getvalue()
            with suppress(WherryError):
                assert _status(view, path).size != len(SECRET)
            with suppress(WherryError):
                unpack(view, "/a/dir", tar("planted", "file"), check=lambda real: None)
            with suppress(WherryError):
                unpack(view, "/a", tar("dir/planted", f"{link}/planted"), check=lambda real: None)
    pieces = io.BytesIO()
    pack(view, "/a", pieces.write)  # so that it was not something else that let none of them through
    assert b"/file\0" in pieces.getvalue()
    assert SECRET not in pieces.getvalue()
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_bytes() == SECRET


@pytest.mark.usefixtures("clean", "busybox", "unharmed")
class TestOfARunningContainer:
    """With a daemon and the stock client."""

    pytestmark = need("root", "busybox", "docker", "overlay", "namespaces")

    def test_links_lead_into_the_container_only(self, daemon: Daemon, tmp_path: Path) -> None:
        name = f"wherry-test-{os.getpid()}"
        script = f"mkdir -p /tmp/{name}; ln -s /tmp/{name} /link; ln -s /proc/1/root /magic; ln -s /proc/1/cwd /cwd"
        started(daemon, "web", "busybox", "sh", "-c", f"{script}; echo ready; exec sleep 600", says="ready")
        (tmp_path / "new").write_text("new")
        daemon.docker("cp", str(tmp_path / "new"), "web:/link/", check=True)
        assert not Path(f"/tmp/{name}").exists()
        assert daemon.docker("exec", "web", "cat", "/link/new", check=True).stdout == "new"
        for path in ("/magic/etc/passwd", "/cwd/etc/passwd", "/proc/version", "/proc/self/environ"):
            assert daemon.request("GET", f"/containers/web/archive?path={path}").status in (404, 500)

    def test_nothing_of_the_kernel_is_read_or_written(self, daemon: Daemon, tmp_path: Path) -> None:
        """What /proc/sys/net has depends on who asks: through a copy, that would be the host."""
        script = "ln -s /proc/sys/kernel /k; mkdir /d; ln -s /sys /d/sys; echo ready; exec sleep 600"
        options = ("--security-opt", "systempaths=unconfined")
        started(daemon, "web", *options, "busybox", "sh", "-c", script, says="ready")
        before = Path("/proc/sys/kernel/hostname").read_text()
        (tmp_path / "hostname").write_text("taken")
        for target in ("web:/k", "web:/k/hostname", "web:/proc/sys/kernel/hostname", "web:/proc", "web:/d/sys"):
            assert daemon.docker("cp", str(tmp_path / "hostname"), target).returncode == 1
        assert Path("/proc/sys/kernel/hostname").read_text() == before
        names = [member.name for member in members(daemon, "/")]
        assert {"/proc", "/sys", "/dev", "/d/sys"} <= set(names)
        assert not [name for name in names if name.startswith(("/proc/", "/sys/", "/dev/"))]

    def test_devices_and_fifos_in_the_way_are_not_opened(self, daemon: Daemon, tmp_path: Path) -> None:
        script = (
            "mkdir /d; mknod /d/disk b 8 0; mknod /d/mem c 1 1; mkfifo /d/pipe /d/place; rm /etc/passwd; "
            "mkfifo /etc/passwd; echo ready; exec sleep 600"
        )
        started(daemon, "web", "--user", "0", "busybox", "sh", "-c", script, says="ready")
        assert [member.type for member in members(daemon, "/d")] == [b"5", b"4", b"3", b"6", b"6"]
        (tmp_path / "place").write_text("new")
        daemon.docker("cp", "-a", str(tmp_path / "place"), "web:/d/place", check=True)
        assert [member.type for member in members(daemon, "/d/place")] == [tarfile.REGTYPE]

    def test_what_something_is_mounted_on_stays_mounted(self, daemon: Daemon, tmp_path: Path) -> None:
        """In another mount namespace the kernel lets a mount point be removed, and the mount with it."""
        host = tmp_path / "host"
        host.mkdir()
        (host / "kept").write_text("kept")
        started(daemon, "web", "-v", f"{host}:/m/in", "busybox", "sh", "-c", "echo ready; exec sleep 600", says="ready")
        for state in ("running", "stopped"):
            for path, name in (("/etc", "hosts"), ("/", "m"), ("/m", "in")):
                answer = daemon.request("PUT", f"/containers/web/archive?path={path}", tar(name).getvalue())
                assert answer.status == 500, (state, name)
            if state == "running":
                assert daemon.docker("exec", "web", "cat", "/m/in/kept", check=True).stdout == "kept"
                assert daemon.docker("exec", "web", "grep", "-c", " /etc/hosts ", "/proc/mounts").stdout == "1\n"
                daemon.docker("kill", "web", check=True)
        assert (host / "kept").read_text() == "kept"

    def test_nothing_stays_mounted_on_the_host(self, daemon: Daemon, tmp_path: Path) -> None:
        daemon.docker("create", "--name", "web", "-v", f"{tmp_path}:/v", "busybox", "true", check=True)
        assert daemon.request("GET", "/containers/web/archive?path=/etc").status == 200
        assert str(daemon.root) not in Path("/proc/self/mountinfo").read_text()
