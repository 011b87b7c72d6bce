"""A wherryd that is made of its startup snapshot is one like every other; where anything is odd it is made of none."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quiet import patience
from support.busybox import import_busybox
from support.daemons import PROGRAM, SOURCE, Daemon
from support.needs import need
from wherry.linux._libc import ARCHITECTURE
from wherry.startup.machine_code import LISTINGS

pytestmark = [
    need("root"),
    pytest.mark.skipif(
        ARCHITECTURE not in LISTINGS or sys.version_info >= (3, 14), reason="there are no snapshots here"
    ),
]


class OfSnapshot(Daemon):
    """A daemon of a source tree of its own, started as users start theirs."""

    copied = False
    source = ""
    extra: dict[str, str] = {}  # noqa: RUF012 - each test's own, by assignment

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PYTHONPATH": self.source, **self.extra}

    def is_one(self, pid: int = 0) -> bool:
        """Whether it is made of a snapshot, by the file that it executes."""
        exe = os.readlink(f"/proc/{pid or self.pid}/exe")
        return exe.startswith(f"{self.source}/wherry/daemon/__pycache__/wherryd.")


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + patience(120)
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def snapshots(source: str) -> list[Path]:
    """Those that can be executed."""
    found = Path(source, "wherry/daemon/__pycache__").glob("wherryd.*")
    return [one for one in found if one.stat().st_mode & 0o100 and one.name.count(".") == 2]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy of the source tree, whose first daemon has made a snapshot; it was none itself."""
    place = tmp_path_factory.mktemp("source") / "src"
    shutil.copytree(SOURCE, place, ignore=shutil.ignore_patterns("wherry*.*-*-*"))
    first = OfSnapshot()
    first.source = str(place)
    try:
        first.start()
        assert not first.is_one()
        wait_until(lambda: snapshots(first.source))
    finally:
        first.shut_down()
    return str(place)


@pytest.fixture
def daemon(source: str) -> Iterator[OfSnapshot]:
    """A daemon that has not begun yet."""
    daemon = OfSnapshot("--debug")
    daemon.source = source
    try:
        yield daemon
    finally:
        daemon.shut_down()


def run(daemon: Daemon, *command: str) -> str:
    body = {"Image": "busybox", "Cmd": list(command), "StopSignal": "SIGKILL"}
    identifier = daemon.request("POST", "/containers/create", body).json["Id"]
    answer = daemon.request("POST", f"/containers/{identifier}/start")
    assert answer.status == 204, answer.body
    return str(identifier)


@need("busybox")
def test_it_runs_containers_keeps_them_reloads_and_ends(daemon: OfSnapshot, busybox_archive: bytes) -> None:
    daemon.start()
    assert daemon.is_one()
    assert Path(f"/proc/{daemon.pid}/comm").read_text() == "wherryd\n"
    import_busybox(daemon, busybox_archive)
    kept = run(daemon, "sleep", "1000")
    done = run(daemon, "echo", "said")
    assert daemon.request("POST", f"/containers/{done}/wait").json["StatusCode"] == 0
    assert b"said" in daemon.request("GET", f"/containers/{done}/logs", stdout=True).body
    pid = daemon.request("GET", f"/containers/{kept}/json").json["State"]["Pid"]
    assert "wherryd" not in Path(f"/proc/{pid}/maps").read_text()
    links = [os.readlink(f"/proc/{pid}/fd/{one}") for one in os.listdir(f"/proc/{pid}/fd")]
    assert not [one for one in links if "userfault" in one or "wherryd" in one]
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: "configuration reloaded" in daemon.log_text())
    for end in (daemon.stop, daemon.kill9):
        end()
        daemon.start()
        assert daemon.is_one()
        assert daemon.request("GET", f"/containers/{kept}/json").json["State"]["Pid"] == pid
    assert daemon.stop() == 0
    assert not list(Path(daemon.source).rglob("*.begun-*"))
    daemon.start()


def test_nobody_but_root_can_read_execute_or_replace_it(source: str, tmp_path: Path) -> None:
    """Who knew its addresses and seeds would know those of the daemon."""
    (one,) = snapshots(source)
    for above in [tmp_path, *(each for each in one.parents if each.is_relative_to(tmp_path.parents[1]))]:
        above.chmod(
            above.stat().st_mode | 0o055
        )  # so that nothing but its own mode, and its directory's, is in the way
    # The shell: setpriv itself still has root's capabilities when it executes a program.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", 'exec "$0" "$@"']
    assert subprocess.run([*nobody, "test", "-e", one], check=False).returncode == 0
    for command in (["cat", one], [one, "--version"], ["ln", one, f"{one}.2"], ["mv", one, f"{one}.2"], ["rm", one]):
        done = subprocess.run([*nobody, *command], capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
        assert done.returncode != 0
        assert "denied" in done.stderr or "not permitted" in done.stderr
    assert snapshots(source) == [one]


def test_it_daemonizes(daemon: OfSnapshot) -> None:
    done = subprocess.run([*daemon.command, "--daemonize"], env=daemon.environment, check=False, timeout=patience(60))
    assert done.returncode == 0
    assert daemon.request("GET", "/_ping").status == 200
    pid = int((daemon.exec_root / "wherryd.pid").read_text())
    assert daemon.is_one(pid)
    assert os.getsid(pid) != os.getsid(0)
    assert daemon.request("POST", "/wherry/shutdown", kill=True).status in (200, 204)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    daemon.start()


def test_a_service_manager_gives_it_its_socket_and_hears_of_its_number(daemon: OfSnapshot, tmp_path: Path) -> None:
    command = [*daemon.command, "--host", "fd://"]
    script = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
        "os.execvp(sys.argv[2], sys.argv[2:])"
    )
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        listening.bind(str(tmp_path / "api"))
        listening.listen()
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(patience(60))

        daemon.process = subprocess.Popen(
            [sys.executable, "-c", script, str(listening.fileno()), *command],
            env={**daemon.environment, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            pass_fds=[listening.fileno()],
        )
        assert manager.recv(100) == b"READY=1"
    assert daemon.is_one()
    daemon.socket = str(tmp_path / "api")
    assert daemon.request("GET", "/_ping").status == 200


@pytest.mark.parametrize("name", ["PYTHONWARNINGS", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "AIOHTTP_NO_EXTENSIONS"])
def test_who_asks_for_something_unusual_gets_an_ordinary_process(daemon: OfSnapshot, name: str) -> None:
    daemon.extra = {name: "1"}
    daemon.start()
    assert not daemon.is_one()


def test_with_little_address_space_it_begins_in_the_ordinary_way(daemon: OfSnapshot) -> None:
    def little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    command = [*daemon.command, "--daemonize"]
    assert subprocess.run(command, env=daemon.environment, preexec_fn=little, check=False).returncode == 0
    pid = int((daemon.exec_root / "wherryd.pid").read_text())
    assert not daemon.is_one(pid)
    assert daemon.request("POST", "/wherry/shutdown", kill=True).status in (200, 204)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    daemon.start()


def test_without_a_stream_it_begins_in_the_ordinary_way(daemon: OfSnapshot) -> None:
    """What it opens first would be its standard input."""
    command = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *daemon.command]
    daemon.process = subprocess.Popen(command, env=daemon.environment)
    wait_until(lambda: os.path.exists(daemon.exec_root / "wherryd.pid"))
    assert not daemon.is_one()


def test_an_error_at_the_start_is_said_as_ever_and_says_nothing_against_the_snapshot(daemon: OfSnapshot) -> None:
    daemon.start()
    wrong = [sys.executable, "-m", PROGRAM, "--no-such-flag"]
    for command, words in ((daemon.command, "is in use by another daemon"), (wrong, "--no-such-flag")):
        done = subprocess.run(command, env=daemon.environment, capture_output=True, text=True, check=False)
        assert done.returncode in (1, 2)
        assert words in done.stderr
    assert snapshots(daemon.source)
    assert not list(Path(daemon.source).rglob("*.begun-*"))


def test_after_a_change_of_a_source_it_begins_in_the_ordinary_way_and_makes_another(daemon: OfSnapshot) -> None:
    (before,) = snapshots(daemon.source)
    inode = before.stat().st_ino
    changed = Path(daemon.source, "wherry/engine/events.py")
    changed.write_text(f"{changed.read_text()}\n# changed\n")
    os.utime(changed, (time.time() - 5,) * 2)
    daemon.start()
    assert not daemon.is_one()
    wait_until(lambda: [one for one in snapshots(daemon.source) if one.stat().st_ino != inode])
    daemon.restart()
    assert daemon.is_one()


def test_one_of_another_boot_is_good_for_a_start_and_replaced(daemon: OfSnapshot) -> None:
    (one,) = snapshots(daemon.source)
    other = one.with_name(".".join([*one.name.split(".")[:2], "another-boot-id"]))
    one.rename(other)
    daemon.start()
    assert os.readlink(f"/proc/{daemon.pid}/exe") == str(other)
    wait_until(lambda: snapshots(daemon.source) == [one])


def test_one_whose_last_process_died_before_it_answered_is_not_executed_again(daemon: OfSnapshot) -> None:
    (one,) = snapshots(daemon.source)
    with subprocess.Popen(["/bin/true"]) as ended:
        pass
    one.with_name(f"{one.name}.begun-{ended.pid}").touch()
    daemon.start()
    assert not daemon.is_one()
    assert not snapshots(daemon.source)
    assert not list(Path(daemon.source).rglob("*.begun-*"))
    daemon.restart()
    assert not daemon.is_one()
