"""A log that is held for an attached client: the container waits, nobody else does, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.plain_keeper import Daemon, RunningKeeper, text_of
from wherry.keeper.log_reader import LogReader
from wherry.keeper.log_writer import segments_of
from wherry.keeper.loop import UNEXPECTED
from wherry.keeper.protocol import PROTOCOL


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[RunningKeeper]:
    keeper = RunningKeeper(tmp_path)
    keeper.start()
    yield keeper
    keeper.stop()
    assert UNEXPECTED not in (tmp_path / "keeper.log").read_text()


@pytest.fixture
def daemon(keeper: RunningKeeper) -> Iterator[Daemon]:
    daemon = Daemon(keeper.exec_root)
    yield daemon
    daemon.close()


LIMITS = {"max_size": 65536, "max_files": 2}


def log_waits(log: Path, container: Path) -> None:
    """Wait until a log is at its bound and its container sleeps: both look the same a dozen times."""
    pid = json.loads((container / "process.json").read_text())["pid"]
    last, same = None, 0
    for _ in range(2000):
        now = segments_of(log), [path.stat().st_size for path in log.glob("*.log")]
        asleep = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
        last, same = now, same + 1 if now == last and now[0] and asleep else 0
        if same == 12:
            return
        time.sleep(0.005)
    raise AssertionError(f"it does not wait, with {last}")


def read_all(daemon: Daemon, log: Path, key: str, ended: Callable[[], bool]) -> bytes:
    """What an attached client gets, who tells where he is."""
    reader, seen, told = LogReader(log), [], 0
    while True:
        done = ended()
        while chunks := reader.read():
            seen += [bytes(chunk.data) for chunk in chunks]
            if reader.held != told:
                told = reader.held
                daemon.client.request("hold", {"key": key, "segment": told})
        if done:
            return b"".join(seen)
        time.sleep(0.001)


def has_exited(daemon: Daemon, key: str) -> bool:
    daemon.events += daemon.client.receive()
    return any(m.fields.get("event") == "exited" and m.fields["key"] == key for m in daemon.events)


def test_a_container_waits_for_what_is_held_and_others_do_not(daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["seq", "1", "400000"], tmp_path / "log", limits=LIMITS, hold=0)
    log_waits(tmp_path / "log", tmp_path / "containers/c")
    daemon.launch("d", ["seq", "1", "400000"], tmp_path / "log-d", limits=LIMITS)
    assert daemon.event("exited", "d").fields["status"] == 0
    seen = read_all(daemon, tmp_path / "log", "c", lambda: has_exited(daemon, "c"))
    assert seen == b"".join(b"%d\n" % number for number in range(1, 400001))


@pytest.mark.slow
def test_a_container_that_waits_can_be_killed_and_what_it_wrote_stays(daemon: Daemon, tmp_path: Path) -> None:
    started = daemon.launch("c", ["seq", "1", "4000000"], tmp_path / "log", limits=LIMITS, hold=0)
    log_waits(tmp_path / "log", tmp_path / "containers/c")
    signal.pidfd_send_signal(started.fds[0], signal.SIGKILL)
    assert daemon.event("exited", "c").fields["signal"] == signal.SIGKILL
    seen = text_of(tmp_path / "log")
    assert seen.startswith(b"1\n2\n")
    assert seen == b"".join(b"%d\n" % number for number in range(1, 4000001))[: len(seen)]


def test_a_container_goes_on_when_the_daemon_that_held_its_log_is_gone(daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["seq", "1", "400000"], tmp_path / "log", limits=LIMITS, hold=0)
    log_waits(tmp_path / "log", tmp_path / "containers/c")
    daemon.client.close()
    for _ in range(2000):
        if (tmp_path / "containers/c/exit.json").exists():
            break
        time.sleep(0.01)
    assert text_of(tmp_path / "log").endswith(b"400000\n")


def test_a_second_daemon_has_none_of_the_firsts_clients(keeper: RunningKeeper, daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["seq", "1", "400000"], tmp_path / "log", limits=LIMITS, hold=0)
    log_waits(tmp_path / "log", tmp_path / "containers/c")
    again = Daemon(keeper.exec_root)
    assert again.event("exited", "c").fields["status"] == 0
    again.close()


@pytest.mark.slow
def test_what_is_held_is_held_across_a_replacement(daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["seq", "1", "400000"], tmp_path / "log", limits=LIMITS, hold=0)
    log_waits(tmp_path / "log", tmp_path / "containers/c")
    for _ in range(2):
        assert daemon.ask("upgrade").fields["protocol"] == PROTOCOL
    log_waits(tmp_path / "log", tmp_path / "containers/c")
    seen = read_all(daemon, tmp_path / "log", "c", lambda: has_exited(daemon, "c"))
    assert seen == b"".join(b"%d\n" % number for number in range(1, 400001))


def test_a_new_keeper_drops_nothing_before_it_was_told_what_is_held(
    keeper: RunningKeeper, daemon: Daemon, tmp_path: Path
) -> None:
    started = daemon.launch("c", ["seq", "1", "400000"], tmp_path / "log", limits=LIMITS, hold=0)
    log_waits(tmp_path / "log", tmp_path / "containers/c")
    held = [os.open(tmp_path / f"containers/c/{name}", os.O_RDONLY | os.O_NONBLOCK) for name in ("stdout", "stderr")]
    keeper.kill()
    keeper.start()
    log_waits(tmp_path / "log", tmp_path / "containers/c")
    again = Daemon(keeper.exec_root)
    adopted = {"key": "c", "container": "c", "kind": "container", "log": {"dir": str(tmp_path / "log"), **LIMITS}}
    again.ask("adopt", {**adopted, "hold": 0}, [started.fds[0]])
    seen = read_all(again, tmp_path / "log", "c", lambda: has_exited(again, "c"))
    assert seen == b"".join(b"%d\n" % number for number in range(1, 400001))
    again.close()
    for fd in held:
        os.close(fd)
