"""The keeper dies, or replaces itself; containers, their output and their ends go on."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.plain_keeper import SOURCE, Daemon, RunningKeeper, text_of
from wherry.keeper import upgrade
from wherry.keeper.loop import UNEXPECTED
from wherry.linux.fd import Fd
from wherry.linux.process import pidfd_exit_status, set_child_subreaper

TELLS_EXITS = """
import os, sys
from wherry.linux.process import pidfd_open, pidfd_exit_status
pid = os.fork()
if pid == 0: os._exit(3)
fd = pidfd_open(pid); os.waitpid(pid, 0)
sys.exit(0 if pidfd_exit_status(fd) == 3 << 8 else 1)
"""


def kernel_tells_exits() -> bool:
    """Whether the kernel (6.15) tells how another's child ended."""
    environment = os.environ | {"PYTHONPATH": SOURCE}
    return subprocess.run([sys.executable, "-c", TELLS_EXITS], env=environment, check=False).returncode == 0


@pytest.fixture(autouse=True)
def orphans_are_reaped() -> Iterator[None]:
    """A dead keeper's children become ours, so that somebody reaps them in any environment."""
    set_child_subreaper(True)
    yield
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
    set_child_subreaper(False)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[RunningKeeper]:
    keeper = RunningKeeper(tmp_path)
    keeper.start()
    yield keeper
    keeper.stop()
    assert UNEXPECTED not in (tmp_path / "keeper.log").read_text()


def say_into(fifo: Path, text: str) -> None:
    with fifo.open("w") as file:
        file.write(text)


def wait_for_exit(pid: int, pidfd: int) -> None:
    """Wait for an orphan that is ours now, and reap it."""
    assert select.select([pidfd], [], [], 10)[0]
    os.waitpid(pid, 0)


def hold_outputs(directory: Path) -> list[int]:
    """Hold a container's FIFOs open without reading, as wherryd does: they are not emptied while nobody keeps."""
    return [os.open(directory / name, os.O_RDONLY | os.O_NONBLOCK) for name in ("stdout", "stderr")]


def test_the_last_output_of_a_container_that_ended_without_a_keeper_is_saved(
    keeper: RunningKeeper, tmp_path: Path
) -> None:
    first = Daemon(tmp_path)
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo last words; echo and more >&2"
    plain = first.launch("plain", ["sh", "-c", script], tmp_path / "log")
    terminal = first.launch("tty", ["sh", "-c", script], tmp_path / "log-tty", terminal=True)
    held = hold_outputs(tmp_path / "containers/plain")
    keeper.kill()
    (tmp_path / "go").touch()
    for message in (plain, terminal):
        wait_for_exit(message.fields["pid"], message.fds[0])
    keeper.start()
    second = Daemon(tmp_path)
    assert second.greeting is not None
    rows = {row["key"]: row for row in second.greeting.fields["processes"]}
    assert text_of(tmp_path / "log") == b"last words\nand more\n"
    assert rows["plain"]["log"] == [1, (tmp_path / "log/1.log").stat().st_size]
    log = {"dir": str(tmp_path / "log-tty")}
    fields = {"key": "tty", "container": "tty", "kind": "container", "terminal": True, "log": log}
    second.ask("adopt", fields, terminal.fds)
    assert text_of(tmp_path / "log-tty") == b"last words\r\nand more\r\n"
    for fd in [*held, *plain.fds, *terminal.fds]:
        os.close(fd)
    first.close()
    second.close()


def test_a_container_outlives_its_keeper_and_the_next_one_goes_on_with_its_log(
    keeper: RunningKeeper, tmp_path: Path
) -> None:
    first = Daemon(tmp_path)
    wait = "while [ ! -e {} ]; do sleep 0.01; done"
    script = f"echo before; {wait.format('go')}; echo while dead; {wait.format('on')}; echo after; exit 9"
    started = first.launch("c", ["sh", "-c", f"cd {tmp_path}; {script}"], tmp_path / "log", stdin=True)
    pid, pidfd = started.fields["pid"], started.fds[0]
    keeper.kill()
    (tmp_path / "go").touch()
    keeper.start()
    second = Daemon(tmp_path)
    assert second.greeting is not None
    row = second.greeting.fields["processes"][0]
    assert (row["key"], row["pid"], row["started"], row["exited"]) == ("c", pid, started.fields["started"], None)
    assert second.event("process", "c").fds
    (tmp_path / "on").touch()
    wait_for_exit(pid, pidfd)
    ended = second.event("exited").fields
    assert text_of(tmp_path / "log") == b"before\nwhile dead\nafter\n"
    assert ended["status"] == (9 if kernel_tells_exits() else 255)
    first.close()
    second.close()


def test_a_container_that_ended_while_there_was_no_keeper_is_lost_until_the_daemon_adopts_it(
    keeper: RunningKeeper, tmp_path: Path
) -> None:
    first = Daemon(tmp_path)
    started = first.launch("c", ["sleep", "100"], tmp_path / "log")
    pid, pidfd = started.fields["pid"], started.fds[0]
    keeper.kill()
    os.kill(pid, signal.SIGTERM)
    wait_for_exit(pid, pidfd)
    keeper.start()
    second = Daemon(tmp_path)
    assert second.greeting is not None
    ended = second.greeting.fields["processes"][0]["exited"]
    assert (ended["status"], ended["lost"]) == (255, True)
    log = {"dir": str(tmp_path / "log")}
    answer = second.ask("adopt", {"key": "c", "container": "c", "kind": "container", "log": log}, [pidfd])
    assert "error" not in answer.fields
    if pidfd_exit_status(pidfd) is not None:
        told = second.event("exited").fields
        assert (told["status"], told["signal"]) == (143, 15)
        assert "lost" not in told
        keeper.kill()
        keeper.start()
        third = Daemon(tmp_path)
        assert third.greeting is not None
        assert third.greeting.fields["processes"][0]["exited"]["status"] == 143, "and it is remembered"
        third.close()
    os.close(pidfd)
    first.close()
    second.close()


def test_an_exit_that_was_recorded_is_remembered(keeper: RunningKeeper, tmp_path: Path) -> None:
    first = Daemon(tmp_path)
    first.launch("c", ["sh", "-c", "echo x; exit 5"], tmp_path / "log")
    told = first.event("exited").fields
    keeper.kill()
    keeper.start()
    second = Daemon(tmp_path)
    assert second.greeting is not None
    ended = second.greeting.fields["processes"][0]["exited"]
    assert (ended["status"], ended["at"], ended["log"]) == (5, told["at"], told["log"])
    assert second.ask("forget", {"key": "c"}).fields.keys() == {"re"}
    first.close()
    second.close()


def test_a_process_id_that_another_process_has_now_is_not_mistaken(keeper: RunningKeeper, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.launch("c", ["sleep", "100"], tmp_path / "log")
    keeper.kill()
    record = tmp_path / "containers/c/process.json"
    fields = json.loads(record.read_text())
    os.kill(fields["pid"], signal.SIGKILL)
    record.write_text(json.dumps(fields | {"pid": os.getpid()}))
    keeper.start()
    again = Daemon(tmp_path)
    assert again.greeting is not None
    assert again.greeting.fields["processes"][0]["exited"]["lost"]
    daemon.close()
    again.close()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": "c"}', '{"unexpected": 1}'])
def test_a_damaged_record_keeps_nobody_from_the_others(tmp_path: Path, damage: str) -> None:
    keeper = RunningKeeper(tmp_path)
    keeper.start()
    daemon = Daemon(tmp_path)
    daemon.launch("good", ["sleep", "100"], tmp_path / "log")
    keeper.kill()
    (tmp_path / "containers/bad").mkdir()
    (tmp_path / "containers/bad/process.json").write_text(damage)
    keeper.start()
    again = Daemon(tmp_path)
    assert again.greeting is not None
    assert [row["key"] for row in again.greeting.fields["processes"]] == ["good"]
    (tmp_path / "containers/bad/process.json").unlink()
    keeper.stop()
    daemon.close()
    again.close()


def test_closed_standard_input_stays_closed_and_an_open_one_open(keeper: RunningKeeper, tmp_path: Path) -> None:
    first = Daemon(tmp_path)
    script = "cat; while [ ! -e {0}/on ]; do sleep 0.01; done"
    first.launch("closed", ["sh", "-c", script.format(tmp_path)], tmp_path / "log-closed", stdin=True)
    first.ask("close-stdin", {"key": "closed"})
    held = first.launch("open", ["cat"], tmp_path / "log-open", stdin=True)
    keep = os.open(tmp_path / "containers/open/stdin", os.O_WRONLY)  # as wherryd does, for the time without a keeper
    keeper.kill()
    keeper.start()
    second = Daemon(tmp_path)
    os.close(keep)
    assert not (tmp_path / "containers/closed/stdin").exists()
    say_into(tmp_path / "containers/open/stdin", "still here\n")
    second.ask("close-stdin", {"key": "open"})
    wait_for_exit(held.fields["pid"], held.fds[0])
    second.event("exited", "open")
    assert text_of(tmp_path / "log-open") == b"still here\n"
    (tmp_path / "on").touch()
    first.close()
    second.close()


def test_a_terminal_is_adopted_with_the_daemons_master(keeper: RunningKeeper, tmp_path: Path) -> None:
    first = Daemon(tmp_path)
    script = f"read x; echo one; while [ ! -e {tmp_path}/on ]; do sleep 0.01; done; echo two; exit 3"
    started = first.launch("c", ["sh", "-c", script], tmp_path / "log", terminal=True)
    pidfd, master = started.fds
    first.ask("watch", {"key": "c"})
    os.write(master, b"\n")
    while b"one" not in text_of(tmp_path / "log"):  # what a keeper has read from a terminal can die with it
        first.event("grew")
    keeper.kill()
    keeper.start()
    second = Daemon(tmp_path)
    fields = {
        "key": "c",
        "container": "c",
        "kind": "container",
        "terminal": True,
        "log": {"dir": str(tmp_path / "log")},
    }
    assert "error" not in second.ask("adopt", fields, [pidfd, master]).fields
    (tmp_path / "on").touch()
    wait_for_exit(started.fields["pid"], pidfd)
    second.event("exited")
    assert text_of(tmp_path / "log") == b"\r\none\r\ntwo\r\n"
    os.close(pidfd)
    os.close(master)
    first.close()
    second.close()


def test_a_terminal_whose_process_ends_before_it_is_handed_over_is_read(keeper: RunningKeeper, tmp_path: Path) -> None:
    first = Daemon(tmp_path)
    script = f"while [ ! -e {tmp_path}/on ]; do sleep 0.01; done; echo last words; exit 3"
    started = first.launch("c", ["sh", "-c", script], tmp_path / "log", terminal=True)
    pidfd, master = started.fds
    keeper.kill()
    keeper.start()
    second = Daemon(tmp_path)
    (tmp_path / "on").touch()
    wait_for_exit(started.fields["pid"], pidfd)
    second.event("exited")
    fields = {"key": "c", "container": "c", "kind": "container", "terminal": True, "log": {"dir": f"{tmp_path}/log"}}
    assert "error" not in second.ask("adopt", fields, [pidfd, master]).fields
    assert text_of(tmp_path / "log") == b"last words\r\n"
    os.close(pidfd)
    os.close(master)
    first.close()
    second.close()


def test_a_process_of_which_nothing_was_written_down_is_adopted(keeper: RunningKeeper, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    stranger = subprocess.Popen(["sleep", "100"])
    pidfd = os.pidfd_open(stranger.pid)
    fields = {"key": "e", "container": "c", "kind": "exec", "started": 12345}
    assert "error" not in daemon.ask("adopt", fields, [pidfd]).fields
    keeper.kill()
    keeper.start()
    again = Daemon(tmp_path)
    assert again.greeting is not None
    assert again.greeting.fields["processes"][0]["started"] == 12345
    stranger.terminate()
    stranger.wait()
    ended = again.event("exited", "e").fields
    assert ended["status"] == (143 if pidfd_exit_status(pidfd) is not None else 255)
    os.close(pidfd)
    daemon.close()
    again.close()


def test_a_process_that_nobody_knows_the_end_of_is_refused(keeper: RunningKeeper, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    child = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(child.pid)
    child.wait()
    answer = daemon.ask("adopt", {"key": "e", "container": "c", "kind": "exec"}, [pidfd])
    if pidfd_exit_status(pidfd) is None:
        assert answer.fields["error"]["kind"] == "invalid"
    else:
        assert daemon.event("exited", "e").fields["status"] == 0
    os.close(pidfd)
    daemon.close()


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost(keeper: RunningKeeper, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    script = "i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done"
    started = daemon.launch("c", ["sh", "-c", script], tmp_path / "log")
    held = hold_outputs(tmp_path / "containers/c")
    moments = random.Random(5)
    for _ in range(8):
        time.sleep(moments.random() / 50)  # the moment is the point; nothing is waited for
        keeper.kill()
        keeper.start()
    daemon.close()
    daemon = Daemon(tmp_path)
    assert daemon.greeting is not None
    if daemon.greeting.fields["processes"][0]["exited"] is None:
        wait_for_exit(started.fields["pid"], started.fds[0])
        daemon.event("exited")
    assert text_of(tmp_path / "log") == b"".join(b"%d\n" % number for number in range(30000))
    for fd in [*held, *started.fds]:
        os.close(fd)
    daemon.close()


# --- re-execution in place ----------------------------------------------------------------------------------------


def test_the_keeper_replaces_itself_and_nobody_notices(keeper: RunningKeeper, tmp_path: Path) -> None:
    assert keeper.process is not None
    daemon = Daemon(tmp_path)
    assert daemon.greeting is not None
    script = "read x; echo $x; read y; echo $y; read z; exit 3"
    plain = daemon.launch("plain", ["sh", "-c", script], tmp_path / "log", stdin=True)
    terminal = daemon.launch("tty", ["sh", "-c", "read x; exit 4"], tmp_path / "log-tty", terminal=True)
    executed = daemon.launch("exec", ["sh", "-c", "read x; exit 5"], kind="exec", terminal=True, container="plain")
    daemon.launch("done", ["false"], tmp_path / "log-done")
    daemon.event("exited", "done")
    daemon.ask("watch", {"key": "plain"})
    say_into(tmp_path / "containers/plain/stdin", "one\n")
    daemon.event("grew", "plain")
    ready = daemon.ask("upgrade").fields
    assert (ready["event"], ready["pid"]) == ("ready", keeper.process.pid)
    say_into(tmp_path / "containers/plain/stdin", "two\n")
    daemon.event("grew", "plain")
    say_into(tmp_path / "containers/plain/stdin", "three\n")
    os.write(terminal.fds[1], b"\n")
    os.write(executed.fds[1], b"\n")
    assert {key: daemon.event("exited", key).fields["status"] for key in ("plain", "tty", "exec")} == {
        "plain": 3,
        "tty": 4,
        "exec": 5,
    }
    assert text_of(tmp_path / "log") == b"one\ntwo\n"
    assert daemon.ask("forget", {"key": "done"}).fields.keys() == {"re"}
    for message in (plain, terminal, executed):
        for fd in message.fds:
            os.close(fd)
    daemon.close()


def test_nothing_leaks_from_one_image_to_the_next(keeper: RunningKeeper, tmp_path: Path) -> None:
    assert keeper.process is not None
    daemon = Daemon(tmp_path)
    fds = Path(f"/proc/{keeper.process.pid}/fd")
    daemon.launch("c", ["sh", "-c", "read x"], tmp_path / "log", stdin=True)
    before = len(os.listdir(fds))
    for _ in range(3):
        assert daemon.ask("upgrade").fields["event"] == "ready"
    assert len(os.listdir(fds)) == before
    daemon.launch("d", ["sh", "-c", "ls /proc/self/fd"], tmp_path / "log-d")
    daemon.event("exited", "d")
    assert text_of(tmp_path / "log-d").split() == [b"0", b"1", b"2", b"3"], "3 is ls's own"
    again = Daemon(tmp_path)
    assert again.greeting is not None
    assert {row["key"] for row in again.greeting.fields["processes"]} == {"c", "d"}
    daemon.close()
    again.close()


def test_what_a_daemon_deposits_the_next_one_gets_also_from_another_image(
    keeper: RunningKeeper, tmp_path: Path
) -> None:
    assert keeper.process is not None
    fds = Path(f"/proc/{keeper.process.pid}/fd")
    daemon = Daemon(tmp_path)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert daemon.ask("kept", {"name": "it"}).fds == []
        before = len(os.listdir(fds))
        for each in (ours, theirs):
            daemon.ask("keep", {"name": "it"}, [each.fileno()])
        assert len(os.listdir(fds)) == before + 1, "the one before is closed"
        daemon.ask("upgrade")
        daemon.close()
        again = Daemon(tmp_path)
        (found,) = again.ask("kept", {"name": "it"}).fds
        with socket.socket(fileno=found) as back:
            back.send(b"hello")
            assert ours.recv(10) == b"hello"
        again.launch("d", ["sh", "-c", "ls /proc/self/fd"], tmp_path / "log-d")
        again.event("exited", "d")
        assert text_of(tmp_path / "log-d").split() == [b"0", b"1", b"2", b"3"], "3 is ls's own"
        for number in range(3):
            again.ask("keep", {"name": f"n{number}"}, [ours.fileno()])
        refused = again.ask("keep", {"name": "more"}, [ours.fileno()]).fields
        assert refused["error"]["text"] == "the keeper holds 4 descriptors already"
        again.close()


def test_output_during_the_replacement_is_not_lost(keeper: RunningKeeper, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.launch("c", ["sh", "-c", "seq 1 400000"], tmp_path / "log")
    for _ in range(3):
        daemon.ask("upgrade")
    daemon.event("exited", "c")
    assert text_of(tmp_path / "log") == b"".join(b"%d\n" % number for number in range(1, 400001))
    daemon.close()


def test_the_command_line_is_repeated_without_what_was_for_one_start_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "orig_argv", ["/bin/python", "-I", "k.py", "--exec-root", "/x", "--daemonize", "--resume", "5"]
    )
    assert upgrade.command(["--resume", "7"]) == ["/bin/python", "-I", "k.py", "--exec-root", "/x", "--resume", "7"]


def test_a_program_that_cannot_be_executed_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/no/such/python"])
    with Fd(os.memfd_create("x")) as fd:
        with pytest.raises(FileNotFoundError):
            upgrade.reexecute({}, [fd.fileno()])
        assert not os.get_inheritable(fd.fileno())
