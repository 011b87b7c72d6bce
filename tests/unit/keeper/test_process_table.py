"""Real processes under a real keeper: their streams, their ends, and what the daemon is told."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiet import in_time
from support.plain_keeper import Daemon, RunningKeeper, text_of
from support.steps import eventually
from wherry.errors import SystemFault
from wherry.keeper.client import connect, start_keeper
from wherry.keeper.loop import UNEXPECTED
from wherry.keeper.records import STDERR, STDOUT


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


def test_hello_tells_who_keeps(keeper: RunningKeeper, daemon: Daemon) -> None:
    assert daemon.greeting is not None
    assert keeper.process is not None
    assert daemon.greeting.fields["pid"] == keeper.process.pid
    assert daemon.greeting.fields["processes"] == []
    assert int((keeper.exec_root / "keeper.pid").read_text()) == keeper.process.pid


def test_output_goes_to_the_log_by_stream_and_the_exit_is_told(daemon: Daemon, tmp_path: Path) -> None:
    before = time.time_ns()
    started = daemon.launch("c", ["sh", "-c", "echo out; echo err >&2; printf unfinished; exit 3"], tmp_path / "log")
    assert started.fields["started"] >= before
    ended = daemon.event("exited", "c").fields
    assert (ended["status"], ended["signal"], ended["container"], ended["kind"]) == (3, 0, "c", "container")
    assert ended["at"] >= started.fields["started"]
    assert text_of(tmp_path / "log", STDOUT) == b"out\nunfinished"
    assert text_of(tmp_path / "log", STDERR) == b"err\n"
    assert ended["log"] == [1, (tmp_path / "log/1.log").stat().st_size]


def test_the_answer_brings_a_pidfd(daemon: Daemon, tmp_path: Path) -> None:
    started = daemon.launch("c", ["sleep", "100"], tmp_path / "log")
    signal.pidfd_send_signal(started.fds[0], signal.SIGTERM)
    ended = daemon.event("exited").fields
    assert (ended["status"], ended["signal"]) == (128 + signal.SIGTERM, signal.SIGTERM)
    os.close(started.fds[0])


def test_a_command_that_is_not_there_is_an_error_and_leaves_nothing(daemon: Daemon, tmp_path: Path) -> None:
    answer = daemon.launch("c", ["/no/such/program"], tmp_path / "log")
    assert answer.fields["error"]["kind"] == "command-not-found"
    assert os.listdir(tmp_path / "containers/c") == []
    assert not (tmp_path / "log").exists()
    assert "pid" in daemon.launch("c", ["true"], tmp_path / "log").fields, "the same key may be used again"


def test_standard_input_is_a_fifo_that_stays_open_until_it_is_closed(daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["cat"], tmp_path / "log", stdin=True)
    for text in ("one\n", "two\n"):
        with (tmp_path / "containers/c/stdin").open("w") as fifo:
            fifo.write(text)
    daemon.ask("close-stdin", {"key": "c"})
    assert daemon.event("exited").fields["status"] == 0
    assert text_of(tmp_path / "log") == b"one\ntwo\n"
    assert not (tmp_path / "containers/c/stdin").exists()


def test_without_standard_input_it_is_empty(daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["cat"], tmp_path / "log")
    assert daemon.event("exited").fields["status"] == 0


def test_a_container_blocks_on_its_standard_streams_as_on_any_pipe(daemon: Daemon, tmp_path: Path) -> None:
    script = "import os; print([os.get_blocking(fd) for fd in (0, 1, 2)])"
    daemon.launch("c", ["python3", "-c", script], tmp_path / "log", stdin=True)
    daemon.event("exited")
    assert text_of(tmp_path / "log") == b"[True, True, True]\n"


def test_an_exec_writes_into_the_streams_that_came_along(daemon: Daemon, tmp_path: Path) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    end, other = os.pipe()
    daemon.launch("e", ["sh", "-c", "echo hi; echo there >&2"], fds=[null, other, other], kind="exec", container="c")
    os.close(other)
    with os.fdopen(end, "rb") as pipe:
        assert pipe.read() == b"hi\nthere\n", "and nobody else holds the pipe"
    ended = daemon.event("exited").fields
    assert (ended["key"], ended["container"], ended["kind"], ended["status"]) == ("e", "c", "exec", 0)
    os.close(null)


def test_the_end_of_an_exec_is_written_down_only_where_no_daemon_hears_of_it(keeper: RunningKeeper) -> None:
    directory = keeper.exec_root / "containers/c"
    daemon = Daemon(keeper.exec_root)
    daemon.launch("heard", ["sh", "-c", "exit 3"], kind="exec", container="c", terminal=True)
    told = daemon.event("exited", "heard").fields
    assert (told["status"], told["forgotten"]) == (3, True)
    eventually(lambda: list(directory.iterdir()) == [])
    pidfd, master = daemon.launch(
        "unheard", ["sh", "-c", "read x; exit 4"], kind="exec", container="c", terminal=True
    ).fds
    assert (directory / "exec-unheard.process.json").exists()
    daemon.close()
    os.write(master, b"\n")
    eventually((directory / "exec-unheard.exit.json").exists)
    again = Daemon(keeper.exec_root)
    assert again.greeting is not None
    ended = {process["key"]: process["exited"]["status"] for process in again.greeting.fields["processes"]}
    assert ended == {"unheard": 4}
    again.close()
    os.close(pidfd)
    os.close(master)


def test_a_terminal_is_read_into_the_log_and_its_master_is_handed_out(daemon: Daemon, tmp_path: Path) -> None:
    started = daemon.launch("c", ["sh", "-c", "read x; echo got $x; tty; exit 4"], tmp_path / "log", terminal=True)
    _, master = started.fds
    os.write(master, b"hello\n")
    assert daemon.event("exited").fields["status"] == 4
    assert text_of(tmp_path / "log").startswith(b"hello\r\ngot hello\r\n/dev/")


def test_all_that_a_terminal_printed_before_the_end_is_in_the_log(daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["sh", "-c", "seq 1 20000"], tmp_path / "log", terminal=True)
    daemon.event("exited")
    assert text_of(tmp_path / "log") == b"".join(b"%d\r\n" % number for number in range(1, 20001))


def test_a_terminal_that_was_closed_and_opened_again_is_still_read(daemon: Daemon, tmp_path: Path) -> None:
    script = 'name=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.1; echo back >"$name"; sleep 0.1; exit 5'
    daemon.launch("c", ["sh", "-c", script], tmp_path / "log", terminal=True)
    assert daemon.event("exited").fields["status"] == 5
    assert text_of(tmp_path / "log") == b"back\r\n"


def test_an_execs_terminal_belongs_to_the_daemon(daemon: Daemon) -> None:
    started = daemon.launch("e", ["sh", "-c", "echo hi; read x"], kind="exec", terminal=True, container="c")
    pidfd, master = started.fds
    assert select.select([master], [], [], 10)[0]
    assert os.read(master, 100) == b"hi\r\n"
    os.write(master, b"\n")
    assert daemon.event("exited").fields["status"] == 0
    os.close(pidfd)
    os.close(master)


def test_growth_of_a_watched_log_is_told(daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["cat"], tmp_path / "log", stdin=True)
    daemon.launch("other", ["sh", "-c", "echo unwatched; sleep 100"], tmp_path / "other")
    assert daemon.ask("watch", {"key": "c"}).fields["log"] == [1, 0]
    with (tmp_path / "containers/c/stdin").open("w") as fifo:
        fifo.write("text\n")
    grown = daemon.event("grew")
    assert grown.fields["key"] == "c"
    assert grown.fields["log"][1] >= (tmp_path / "log/1.log").stat().st_size
    position = daemon.ask("unwatch", {"key": "c"}).fields["log"]
    assert position == grown.fields["log"]
    with (tmp_path / "containers/c/stdin").open("w") as fifo:
        fifo.write("more\n")
    daemon.ask("close-stdin", {"key": "c"})
    daemon.event("exited", "c")
    assert all(message.fields.get("event") != "grew" for message in daemon.events)


def test_an_exit_is_told_after_the_last_growth(daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["sh", "-c", "read x; seq 1 100000"], tmp_path / "log", stdin=True)
    daemon.ask("watch", {"key": "c"})
    with (tmp_path / "containers/c/stdin").open("w") as fifo:
        fifo.write("go\n")
    ended = daemon.event("exited").fields
    assert text_of(tmp_path / "log").endswith(b"\n100000\n")
    assert ended["log"] == [1, (tmp_path / "log/1.log").stat().st_size]
    assert daemon.ask("watch", {"key": "c"}).fields["log"] == ended["log"]


def test_the_end_does_not_wait_for_others_who_hold_the_streams(daemon: Daemon, tmp_path: Path) -> None:
    script = "setsid sh -c 'while sleep 0.01; do echo still here || exit; done' & echo $!; exit 6"
    daemon.launch("c", ["sh", "-c", script], tmp_path / "log")
    assert daemon.event("exited").fields["status"] == 6
    os.kill(int(text_of(tmp_path / "log").split()[0]), signal.SIGKILL)


def test_a_flood_starves_nobody(daemon: Daemon, tmp_path: Path) -> None:
    limits = {"max_size": 1 << 20, "max_files": 2}
    flood = daemon.launch("flood", ["yes"], tmp_path / "flood", limits=limits)
    for number in range(10):
        daemon.launch(f"c{number}", ["echo", "quick"], tmp_path / f"log{number}")
        daemon.event("exited", f"c{number}")
    signal.pidfd_send_signal(flood.fds[0], signal.SIGKILL)
    assert daemon.event("exited", "flood").fields["signal"] == signal.SIGKILL
    assert len(os.listdir(tmp_path / "flood")) == 2


def test_a_daemon_that_reads_nothing_blocks_nobody(keeper: RunningKeeper, daemon: Daemon, tmp_path: Path) -> None:
    daemon.launch("c", ["sh", "-c", "read x; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"],
                  tmp_path / "log", stdin=True)  # fmt: skip
    daemon.ask("watch", {"key": "c"})
    with (tmp_path / "containers/c/stdin").open("w") as fifo:
        fifo.write("go\n")
    exit_file = tmp_path / "containers/c/exit.json"
    deadline = time.monotonic() + 30
    while not exit_file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)  # reading nothing meanwhile
    assert text_of(tmp_path / "log").endswith(b"\n19999\n")
    assert daemon.event("exited").fields["status"] == 0


def test_fifty_at_once(daemon: Daemon, tmp_path: Path) -> None:
    pids = set()
    for number in range(50):
        answer = daemon.launch(f"c{number}", ["sh", "-c", f"echo {number}; exit {number}"], tmp_path / f"log{number}")
        pids.add(answer.fields["pid"])
        os.close(answer.fds[0])
    assert len(pids) == 50
    for number in range(50):
        assert daemon.event("exited", f"c{number}").fields["status"] == number
        assert text_of(tmp_path / f"log{number}") == b"%d\n" % number


@pytest.mark.slow
def test_a_long_list_of_processes_is_told_in_pages(keeper: RunningKeeper, daemon: Daemon, tmp_path: Path) -> None:
    for number in range(150):
        os.close(daemon.launch(f"c{number}", ["true"], tmp_path / "log").fds[0])
    again = Daemon(keeper.exec_root)
    assert again.greeting is not None
    assert {row["key"] for row in again.greeting.fields["processes"]} == {f"c{number}" for number in range(150)}
    again.close()


def test_a_process_is_forgotten_only_when_it_has_ended(daemon: Daemon, tmp_path: Path) -> None:
    pidfd = daemon.launch("c", ["sleep", "100"], tmp_path / "log").fds[0]
    assert daemon.ask("forget", {"key": "c"}).fields["error"]["kind"] == "conflict"
    assert daemon.launch("c", ["true"], tmp_path / "log").fields["error"]["kind"] == "conflict"
    assert daemon.ask("shutdown").fields["error"]["kind"] == "conflict"
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    daemon.event("exited")
    assert {"exit.json", "process.json"} <= set(os.listdir(tmp_path / "containers/c"))
    assert daemon.ask("forget", {"key": "c"}).fields.keys() == {"re"}
    assert os.listdir(tmp_path / "containers/c") == []
    assert daemon.ask("forget", {"key": "c"}).fields["error"]["kind"] == "not-found"
    os.close(pidfd)


@pytest.mark.parametrize("op", ["watch", "unwatch", "close-stdin", "forget"])
def test_what_is_unknown_is_said_to_be(daemon: Daemon, op: str) -> None:
    error = daemon.ask(op, {"key": "nobody"}).fields["error"]
    assert error["kind"] == "not-found"
    assert "'nobody'" in error["text"]


@pytest.mark.parametrize("message", [b"{", b"[]", b'{"op":"dance","seq":9}', b'{"seq":9}', b"\xff\xfe", b"x" * 70_000])
def test_nonsense_is_answered_and_survived(daemon: Daemon, message: bytes) -> None:
    sock = daemon.client._sock
    sock.send(message)
    select.select([sock], [], [], 10)
    assert b'"error"' in sock.recv(4096)
    daemon.client._side._seq = 10
    assert "error" not in daemon.ask("shutdown").fields


def test_descriptors_of_refused_requests_are_closed(keeper: RunningKeeper, daemon: Daemon) -> None:
    assert keeper.process is not None
    fds = f"/proc/{keeper.process.pid}/fd"
    daemon.ask("watch", {"key": "x"})
    before = len(os.listdir(fds))
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(20):
        socket.send_fds(daemon.client._sock, [b'{"op":"watch","seq":%d,"key":"x"}' % (100 + number)], [null] * 3)
        select.select([daemon.client], [], [], 10)
        assert b"descriptors" in daemon.client._sock.recv(4096)
    daemon.client._side._seq = 200
    daemon.ask("watch", {"key": "x"})
    assert len(os.listdir(fds)) == before
    os.close(null)


def test_nothing_stays_open_for_a_process_that_has_ended(keeper: RunningKeeper, daemon: Daemon, tmp_path: Path) -> None:
    assert keeper.process is not None
    fds = f"/proc/{keeper.process.pid}/fd"
    before = len(os.listdir(fds))
    for number in range(5):
        os.close(daemon.launch(f"c{number}", ["echo", "x"], tmp_path / "log", stdin=True).fds[0])
        for fd in daemon.launch(f"t{number}", ["echo", "x"], tmp_path / "log", terminal=True).fds:
            os.close(fd)
        daemon.event("exited", f"c{number}")
        daemon.event("exited", f"t{number}")
    assert len(os.listdir(fds)) == before
    status = Path(f"/proc/{keeper.process.pid}/task/{keeper.process.pid}/children").read_text()
    assert status == "", "no zombies"


def test_a_second_daemon_takes_over(keeper: RunningKeeper, daemon: Daemon, tmp_path: Path) -> None:
    first = daemon.launch("c", ["sleep", "100"], tmp_path / "log")
    terminal = daemon.launch("t", ["sleep", "100"], tmp_path / "log", terminal=True)
    daemon.launch("done", ["false"], tmp_path / "log")
    daemon.event("exited", "done")
    silent = Daemon(keeper.exec_root, hello=False)
    second = Daemon(keeper.exec_root)
    assert second.greeting is not None
    rows = {row["key"]: row for row in second.greeting.fields["processes"]}
    assert rows["c"]["pid"] == first.fields["pid"]
    assert rows["c"]["exited"] is None
    assert rows["done"]["exited"]["status"] == 1
    assert len(second.event("process", "c").fds) == 1
    assert len(second.event("process", "t").fds) == 2
    select.select([daemon.client], [], [], 10)
    daemon.client.receive()
    assert daemon.client.closed, "the first one was let go"
    assert terminal.fields["pid"] == rows["t"]["pid"]
    silent.close()
    second.close()


def test_what_happens_without_a_daemon_is_told_to_the_next(
    keeper: RunningKeeper, daemon: Daemon, tmp_path: Path
) -> None:
    pidfd = daemon.launch("c", ["sh", "-c", "read x; echo alone; exit 7"], tmp_path / "log", stdin=True).fds[0]
    daemon.close()
    with (tmp_path / "containers/c/stdin").open("w") as fifo:
        fifo.write("go\n")
    assert select.select([pidfd], [], [], 10)[0]
    again = Daemon(keeper.exec_root)
    assert again.greeting is not None
    ended = again.greeting.fields["processes"][0]["exited"] or again.event("exited").fields
    assert ended["status"] == 7
    assert text_of(tmp_path / "log") == b"alone\n"
    os.close(pidfd)
    again.close()


def test_shutdown_ends_the_keeper_and_removes_its_files(keeper: RunningKeeper, daemon: Daemon) -> None:
    assert keeper.process is not None
    daemon.ask("shutdown")
    assert keeper.process.wait(10) == 0
    assert {"keeper.sock", "keeper.pid"}.isdisjoint(os.listdir(keeper.exec_root))


@pytest.mark.slow
def test_an_idle_keeper_does_not_wake_up(keeper: RunningKeeper, daemon: Daemon, tmp_path: Path) -> None:
    assert keeper.process is not None

    def switches() -> int:
        text = Path(f"/proc/{keeper.process.pid}/status").read_text()  # type: ignore[union-attr]
        return int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])

    for number in range(20):
        daemon.launch(f"c{number}", ["sleep", "100"], tmp_path / "log", stdin=True)
    daemon.launch("t", ["sh", "-c", "exec </dev/null >/dev/null 2>&1; sleep 100"], tmp_path / "log", terminal=True)
    woken = []
    while len(woken) < 20 and 0 not in woken:  # on a busy machine what was begun takes some time to settle
        before = switches()
        time.sleep(1)  # the one test that measures that *nothing* happens
        woken.append(switches() - before)
    in_time(woken[-1] == 0, f"woken in each second: {woken}")


def test_one_keeper_per_exec_root(keeper: RunningKeeper) -> None:
    other = RunningKeeper(keeper.exec_root)
    other.start()  # finds the first one's socket
    assert other.process is not None
    assert other.process.wait(10) == 1
    assert "has a keeper already" in (keeper.exec_root / "keeper.log").read_text()


def test_a_long_exec_root_is_no_problem(tmp_path: Path) -> None:
    root = tmp_path / ("d" * 120)
    root.mkdir()
    keeper = RunningKeeper(root)
    keeper.start()
    daemon = Daemon(root)
    daemon.ask("shutdown")
    daemon.close()
    assert keeper.process is not None
    assert keeper.process.wait(10) == 0


def test_start_keeper_leaves_a_daemon_behind_that_answers(tmp_path: Path) -> None:
    start_keeper(tmp_path)
    daemon = Daemon(tmp_path)
    assert daemon.greeting is not None
    pid = daemon.greeting.fields["pid"]
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    start_keeper(tmp_path)
    again = Daemon(tmp_path)
    assert again.greeting is not None
    assert again.greeting.fields["pid"] == pid, "there was one already"
    again.ask("shutdown")
    daemon.close()
    again.close()


def test_start_keeper_says_why_it_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemFault, match="did not start"):
        start_keeper(tmp_path / "file")
    with pytest.raises(SystemFault, match="cannot be started"):
        start_keeper(tmp_path, python="/no/python")
    with pytest.raises(FileNotFoundError):
        connect(tmp_path)
