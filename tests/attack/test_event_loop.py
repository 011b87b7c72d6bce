"""Nothing that a container does holds up the daemon: who else asks is answered, whatever the daemon was asked to do."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import needs
from support.actors import MAY_MOUNT, STUCK, begin, started
from support.busybox import import_busybox
from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "docker", "overlay", "namespaces")

WATCHED = Path(__file__).parents[1] / "support/watched.py"


class WatchedDaemon(Daemon):
    """A wherryd whose event loop is watched; see `watched`."""

    _known = 0

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def command(self) -> list[str]:
        python, _, _, *flags = super().command
        containers = [self.data_root / "containers", self.exec_root / "containers", self.root / "shared"]
        reachable = ":".join(f"{path}/" for path in containers)
        return [python, str(WATCHED), str(self.report), reachable, "--", *flags]

    def offences(self) -> list[str]:
        """What was told since the test began."""
        return self.report.read_text().splitlines()[self._known :]

    def begin_test(self) -> None:
        self._known = len(self.report.read_text().splitlines())


@pytest.fixture(scope="module")
def watched_by_all(busybox_archive: bytes) -> Iterator[WatchedDaemon]:
    needs.check("root")
    daemon = WatchedDaemon("--debug")
    try:
        daemon.start()
        import_busybox(daemon, busybox_archive)
        yield daemon
    finally:
        daemon.shut_down()


@pytest.fixture
def watched(watched_by_all: WatchedDaemon) -> Iterator[WatchedDaemon]:
    watched_by_all.begin_test()
    yield watched_by_all
    watched_by_all.remove_containers()


@contextmanager
def leased(*paths: Path) -> Iterator[None]:
    """Hold write leases on files, as their owner in a container may, and do not give them up when asked."""
    former = signal.signal(signal.SIGIO, signal.SIG_IGN)
    files = [os.open(path, os.O_RDWR) for path in paths]
    try:
        for file in files:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        for file in files:
            os.close(file)
        signal.signal(signal.SIGIO, former)


@contextmanager
def stuck_file_system(place: Path) -> Iterator[None]:
    """A file system on the host that never answers."""
    place.mkdir(parents=True)
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
    try:
        command = ["mount", "-i", "-t", "fuse", "-o", options, "stuck", place]
        subprocess.run(command, check=True, pass_fds=[server])
        yield
    finally:
        os.close(server)  # that ends whoever waits
        subprocess.run(["umount", "-l", place], check=True)


def is_served(daemon: Daemon) -> None:
    """See that somebody else's container is started and answered for."""
    assert daemon.docker("run", "--rm", "busybox", "echo", "served", timeout=30).stdout == "served\n"


def test_the_watch_sees_what_it_is_there_for(tmp_path: Path) -> None:
    """The test of the test: an open and a standstill are told, a look into the file's neighbourhood is not."""
    script = f"""
import asyncio, sys, threading, time
sys.argv[0] = {str(WATCHED)!r}
sys.path.insert(0, {str(WATCHED.parents[1])!r})
from support import watched
watch = watched.Watch({str(tmp_path / "report")!r}, [{str(tmp_path / "reach")!r} + "/"])
sys.addaudithook(watch.audit)
threading.Thread(target=watch.look, daemon=True).start()
async def main():
    open({str(tmp_path / "reach" / "file")!r}).close()
    open({str(tmp_path / "beside")!r}).close()
    await asyncio.to_thread(lambda: open({str(tmp_path / "reach" / "file")!r}).close())
    await asyncio.sleep(2 * watched.PATIENCE)
    time.sleep(2 * watched.PATIENCE)
asyncio.run(main())
"""
    (tmp_path / "reach").mkdir()
    for name in ("reach/file", "beside"):
        (tmp_path / name).touch()
    subprocess.run([sys.executable, "-c", script], check=True)
    opened, *stood = (tmp_path / "report").read_text().splitlines()
    assert opened.startswith(f"open {tmp_path}/reach/file")
    assert stood
    assert all(line.startswith("standstill") for line in stood)


def test_a_lease_on_the_hosts_file_holds_up_nobody(watched: WatchedDaemon) -> None:
    watched.docker("network", "create", "late", check=True)
    started(watched, "web", "busybox", "sleep", "600")
    started(watched, "linking", "--link", "web", "busybox", "sleep", "600")
    kept = {name: watched.request("GET", f"/containers/{name}/json").json for name in ("web", "linking")}
    files = [Path(shown[name]) for shown in kept.values() for name in ("HostsPath", "ResolvConfPath", "HostnamePath")]
    with leased(*files):
        connecting = begin(watched, "network", "connect", "late", "web")
        is_served(watched)
        assert connecting.wait(30) == 0
        assert watched.docker("network", "disconnect", "late", "web", timeout=30).returncode == 0
        assert watched.docker("restart", "-t0", "web", timeout=30).returncode == 0
        assert watched.docker("rename", "web", "web2", timeout=30).returncode == 0
        is_served(watched)
    assert watched.docker("network", "connect", "late", "web2", timeout=30).returncode == 0
    assert watched.docker("exec", "web2", "grep", "-c", "172", "/etc/hosts").stdout == "2\n"
    assert watched.offences() == []


@need("fuse")
def test_a_root_full_of_traps_holds_up_nobody(watched: WatchedDaemon) -> None:
    """Places that never answer, FIFOs for files, endless directories: whatever is asked about this container."""
    traps = (
        f"mkdir /stuck; {STUCK.format('/stuck')}; cd /etc; rm -f group nsswitch.conf; mkfifo group nsswitch.conf;"
        " mkfifo /fifo; mkdir -p /many; for i in $(seq 300); do mkdir -p /many/$i/$i; done;"
        " ln -s /stuck/bin /bin/slow; echo set; exec sleep 600"
    )
    started(watched, "trap", *MAY_MOUNT, "busybox", "sh", "-c", traps, says="set")
    stuck = [begin(watched, "exec", "-w", "/stuck/dir", "trap", "true"), begin(watched, "exec", "trap", "slow")]
    asked = [
        ("top", "trap"), ("diff", "trap"), ("inspect", "-s", "trap"), ("ps", "-as"), ("system", "df", "-v"),
        ("stats", "--no-stream", "trap"), ("logs", "trap"), ("port", "trap"), ("exec", "trap", "true"),
        ("exec", "-u", "guest", "trap", "true"), ("update", "-m", "64m", "--memory-swap", "64m", "trap"),
        ("export", "-o", "/dev/null", "trap"), ("commit", "--pause=false", "trap", "trapped"),
        ("pause", "trap"), ("unpause", "trap"), ("rename", "trap", "trap2"), ("kill", "-s", "CONT", "trap2"),
    ]  # fmt: skip
    for words in asked:
        asking = begin(watched, *words)
        is_served(watched)
        asking.wait(60)
    assert watched.docker("rm", "-f", "trap2", timeout=60).returncode == 0
    for one in stuck:
        one.wait(30)
    is_served(watched)
    assert watched.offences() == []


@need("fuse")
def test_a_source_on_the_host_that_never_answers_holds_up_nobody(watched: WatchedDaemon) -> None:
    place = watched.root / "shared"
    with stuck_file_system(place):
        for words in (
            ("-v", f"{place}/x:/x"), ("--mount", f"type=bind,src={place}/x,dst=/x"), ("--device", f"{place}/x"),
            ("-v", f"{place}/x:/x:rslave"), ("-v", f"{place}/x:/proc"),
        ):  # fmt: skip
            running = begin(watched, "run", "--rm", *words, "busybox", "true")
            is_served(watched)
            running.kill()
            running.wait(30)
    assert watched.offences() == []


@need("fuse")
def test_a_health_check_that_never_begins_fails_and_is_alone(watched: WatchedDaemon) -> None:
    check = ("--health-cmd", "slow", "--health-interval", "200ms", "--health-timeout", "300ms", "--health-retries", "2")
    trap = f"mkdir /stuck; {STUCK.format('/stuck')}; ln -s /stuck/p /bin/slow; cd /bin; rm sh; ln -s /stuck/sh sh;"
    started(watched, "sick", *MAY_MOUNT, *check, "busybox", "sh", "-c", trap + " echo set; exec sleep 600", says="set")
    with watched.following("events", "--filter", "event=health_status", "--since", "1") as lines:
        assert any("unhealthy" in line for line in lines)
    group = [line for line in watched.docker("top", "sick").stdout.splitlines() if "sleep" not in line]
    assert len(group) <= 2, group  # the title, and one check
    assert watched.docker("rm", "-f", "sick", timeout=60).returncode == 0
    assert watched.offences() == []
