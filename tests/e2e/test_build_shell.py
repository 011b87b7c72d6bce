"""`wherry build --on-failure shell`: a person in a step that has failed, at a terminal and through pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need
from support.terminal import Person

pytestmark = need("root", "busybox", "overlay", "namespaces")

PATIENCE = 120.0  # seconds


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """One for all of these."""
    with busybox_daemon(busybox_archive) as one:
        yield one


def context(root: Path, dockerfile: str) -> str:
    """A directory with a Dockerfile."""
    root.mkdir(exist_ok=True)
    (root / "Dockerfile").write_text(f"FROM busybox:latest\n{dockerfile}")
    return str(root)


def command(daemon: Daemon, *words: str) -> list[str]:
    return [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, "build", "--progress", "plain", *words]


def nothing_runs(daemon: Daemon, mark: str) -> None:
    """Wait until no process has a mark in its arguments."""
    deadline = time.monotonic() + PATIENCE
    while _running(mark):
        assert time.monotonic() < deadline, f"{mark} still runs"
        time.sleep(0.05)


def _running(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if f"sleep\0{mark}".encode() in words:
            found.append(path.parent.name)
    return found


def test_a_shell_has_what_the_failed_command_left(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    dockerfile = (
        "RUN mkdir /work && chown 1234 /work\nUSER 1234\nWORKDIR /work\nENV A=from-the-image\n"
        "ARG B=an-argument\n"
        "RUN --mount=type=secret,id=token,mode=0444 --mount=type=secret,id=token,env=T"
        " --mount=type=cache,target=/cache,uid=1234 --network=none echo left > left; echo kept > /cache/kept; exit 7\n"
    )
    script = (
        "pwd; id -u; cat left; echo $A $B $T; cat /run/secrets/token; cat /cache/kept; ls /sys/class/net\n"
        "readlink /proc/self/exe; echo oops >&2; echo more > more; exit 3\n"
    )
    words = ["--on-failure", "shell", "--secret", f"id=token,src={tmp_path}/token", "-t", "failed:1"]
    done = daemon.cli("build", *words, context(tmp_path / "context", dockerfile), input=script)
    assert done.returncode == 1, done.stderr
    shown = done.stdout.splitlines()
    assert shown[:6] == ["/work", "1234", "left", "from-the-image an-argument t0ken", "t0ken", "kept"]
    assert "lo" in shown
    assert "eth0" not in shown
    assert "oops\n" in done.stderr
    assert "A shell in the failed step" in done.stderr
    assert done.stderr.rstrip().endswith("exit code: 7")
    assert ">>> RUN --mount" in done.stderr
    assert daemon.cli("inspect", "failed:1").returncode != 0
    again = daemon.cli("build", *words, context(tmp_path / "context", dockerfile), input="ls; ls /cache\n")
    assert (again.returncode, again.stdout) == (1, "left\nkept\n"), again.stderr


def test_a_person_at_a_terminal_gets_a_terminal(daemon: Daemon, tmp_path: Path) -> None:
    words = ["--on-failure", "shell", context(tmp_path / "context", "RUN echo begun > /begun && false\n")]
    person = Person(command(daemon, *words), daemon.environment)
    person.makes_it(24, 80)
    person.sees(b"A shell in the failed step")
    person.sees(b"# ")
    assert person.is_raw()
    person.types(b"cat /begun; tty; echo $TERM; stty size\r")
    for text in (b"begun\r\n", b"/dev/pts/0\r\n", b"xterm\r\n", b"24 80\r\n"):
        person.sees(text)
    person.sees(b"# ")
    person.makes_it(33, 99)
    person.types(b"while [ \"$(stty size)\" != '33 99' ]; do sleep 0.1; done; echo gr''own\r")
    person.sees(b"grown\r\n")
    person.types(b"sh -c 'echo sle\"\"eps; exec sleep 1000'\r")
    person.sees(b"sleeps\r\n")
    person.types(b"\x03")  # is the shell's, and ends no build
    person.sees(b"# ")
    person.types(b"exit 5\r")
    person.sees(b"ERROR: failed to build")
    assert person.leaves() == 1


def test_a_table_of_steps_makes_room_for_the_shell(daemon: Daemon, tmp_path: Path) -> None:
    words = ["--on-failure", "shell", context(tmp_path / "context", "RUN echo table; exit 9\n")]
    person = Person(
        [word for word in command(daemon, *words) if word not in ("--progress", "plain")], daemon.environment
    )
    person.makes_it(24, 80)
    person.sees(b"A shell in the failed step")
    person.sees(b"# ")
    person.types(b"echo in''side; exit\r")
    person.sees(b"inside")
    person.sees(b"FINISHED")
    person.sees(b"exit code: 9")
    assert person.leaves() == 1


def test_another_command_may_be_the_shell(daemon: Daemon, tmp_path: Path) -> None:
    place = context(tmp_path / "context", "RUN false\n")
    done = daemon.cli("build", "--on-failure", "shell=cat -n", place, input="a\nb\n")
    assert (done.returncode, [line.split() for line in done.stdout.splitlines()]) == (1, [["1", "a"], ["2", "b"]])
    done = daemon.cli("build", "--on-failure", "shell=/no/such", place, input="")
    assert done.returncode == 1
    assert "/no/such" in done.stderr
    assert done.stderr.rstrip().endswith("exit code: 1")
    done = daemon.cli(
        "build",
        "--on-failure",
        "shell",
        context(tmp_path / "context", 'RUN ["/no/such/program"]\n'),
        input="echo here\n",
    )
    assert (done.returncode, done.stdout) == (1, "here\n")


def test_a_build_that_succeeds_opens_no_shell(daemon: Daemon, tmp_path: Path) -> None:
    done = daemon.cli("build", "-q", "--on-failure", "shell", context(tmp_path / "context", "RUN true\n"), input="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sha256:")


def test_of_two_steps_that_fail_side_by_side_one_gets_a_shell(daemon: Daemon, tmp_path: Path) -> None:
    stages = (
        "RUN false # one\nFROM busybox:latest AS two\nRUN false # two\nFROM busybox:latest\n"
        "COPY --from=0 /bin /a\nCOPY --from=two /bin /b\n"
    )
    done = daemon.cli("build", "--on-failure", "shell", context(tmp_path / "context", stages), input="echo shell\n")
    assert (done.returncode, done.stdout) == (1, "shell\n"), done.stderr
    assert done.stderr.count("A shell in the failed step") == 1
    assert done.stderr.count("ERROR: failed to build") == 1


@pytest.mark.parametrize("way", ["killed", "interrupted"])
def test_a_client_that_goes_ends_the_shell_and_all_in_it(daemon: Daemon, tmp_path: Path, way: str) -> None:
    mark = f"98{os.getpid()}{len(way)}"
    place = context(tmp_path / "context", f"RUN false # {mark}\n")
    with subprocess.Popen(
        command(daemon, "--on-failure", "shell", place),
        env=daemon.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"sleep {mark} & (setsid sleep {mark} &) ; echo there; sleep {mark}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "there\n"
        assert _running(mark)
        if way == "killed":
            process.kill()
        else:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert process.returncode != 0
    nothing_runs(daemon, mark)
    quick = daemon.cli("build", "-q", context(tmp_path / "context", "RUN true\n"))
    assert quick.returncode == 0, quick.stderr
