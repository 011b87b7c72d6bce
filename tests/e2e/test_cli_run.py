"""`wherry run` and its kin against a real daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.terminal import Person

pytestmark = [pytest.mark.need("root"), pytest.mark.usefixtures("clean")]
NONE = ("--network", "none")


def start(daemon: Daemon, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=daemon.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def person(daemon: Daemon, *words: str) -> Person:
    command = [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, *words]
    return Person(command, daemon.environment)


def test_output_errors_and_exit_code_come_back(daemon: Daemon, busybox: str) -> None:
    done = daemon.cli("run", "--rm", *NONE, busybox, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert daemon.cli("ps", "-aq").stdout == ""


@pytest.mark.parametrize(("program", "code"), [("nosuch", 127), ("/no/such", 127), ("/etc", 126)])
def test_a_program_that_cannot_run_is_told_by_the_exit_code(
    daemon: Daemon, busybox: str, program: str, code: int
) -> None:
    done = daemon.cli("run", "--rm", *NONE, busybox, program)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("wherry: Error response from daemon: ")
    assert done.stderr.endswith("See 'wherry run --help'.\n")


def test_death_by_a_signal_is_128_and_its_number(daemon: Daemon, busybox: str) -> None:
    process = start(daemon, "run", "--rm", "--name", "box", *NONE, busybox, "sh", "-c", "echo ready; sleep 60")
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    daemon.cli("kill", "box", check=True)
    process.communicate(timeout=30)
    assert process.returncode == 137


def test_an_image_that_is_not_there_is_looked_for(daemon: Daemon) -> None:
    done = daemon.cli("run", *NONE, "nosuchimage")
    assert done.returncode == 125
    assert done.stderr.startswith(
        "Unable to find image 'nosuchimage:latest' locally\nwherry: Error response from daemon: "
    )
    never = daemon.cli("run", "--pull", "never", *NONE, "nosuchimage")
    assert "No such image: nosuchimage" in never.stderr
    assert "Unable to find" not in never.stderr


def test_input_flows_in_and_its_end_too(daemon: Daemon, busybox: str) -> None:
    data = "".join(f"line {number}\n" for number in range(50_000))
    done = daemon.cli("run", "--rm", "-i", *NONE, busybox, "cat", input=data)
    assert done.returncode == 0, done.stderr
    assert done.stdout == data


def test_input_is_not_passed_on_without_being_asked_for(daemon: Daemon, busybox: str) -> None:
    assert daemon.cli("run", "--rm", *NONE, busybox, "cat", input="secret").stdout == ""


def test_detached_it_prints_the_id_and_writes_the_file(daemon: Daemon, busybox: str, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    done = daemon.cli("run", "-d", "--cidfile", str(file), "--name", "web", *NONE, busybox, "sleep", "60", check=True)
    assert file.read_text() + "\n" == done.stdout
    assert daemon.cli("ps", "--no-trunc", "-q").stdout == done.stdout
    again = daemon.cli("run", "-d", "--cidfile", str(file), *NONE, busybox, "true")
    assert again.returncode == 125
    assert "container ID file found" in again.stderr


def test_signals_go_to_the_container(daemon: Daemon, busybox: str) -> None:
    script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    process = start(daemon, "run", "--rm", *NONE, busybox, "sh", "-c", script)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (9, "got it\n", "")


def test_ctrl_c_goes_to_a_container_that_has_a_terminal_and_no_input(daemon: Daemon, busybox: str) -> None:
    script = "trap 'echo got it; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    with_terminal = person(daemon, "run", "--rm", "-t", *NONE, busybox, "sh", "-c", script)
    with_terminal.sees(b"ready")
    with_terminal.types(b"\x03")
    with_terminal.sees(b"got it")
    assert with_terminal.leaves() == 9


def test_without_sig_proxy_signals_end_the_command_only(daemon: Daemon, busybox: str) -> None:
    process = start(
        daemon, "run", "--sig-proxy=false", "--name", "stays", *NONE, busybox, "sh", "-c", "echo ready; sleep 60"
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert daemon.cli("ps", "--format", "{{.Names}}").stdout == "stays\n"


def test_a_reader_that_goes_away_ends_the_command_quietly(daemon: Daemon, busybox: str) -> None:
    process = start(daemon, "run", "--rm", *NONE, busybox, "yes")
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr
    assert process.stderr.read() == ""
    assert process.stdin
    process.stdin.close()
    process.stderr.close()


def test_many_short_lines_come_whole_and_in_order(daemon: Daemon, busybox: str) -> None:
    done = daemon.cli("run", "--rm", *NONE, busybox, "seq", "300000")
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 300_001))


def test_a_terminal_has_our_size_and_follows_it(daemon: Daemon, busybox: str) -> None:
    someone = person(daemon, "run", "--rm", "-it", *NONE, busybox, "sh")
    someone.sees(b"# ")
    someone.makes_it(31, 97)
    someone.types(b"while ! stty size | grep '31 97'; do sleep 0.05; done; echo $((40+2))\n")
    someone.sees(b"31 97\r\n")
    someone.sees(b"42\r\n")
    assert someone.is_raw()
    someone.types(b"exit 5\n")
    assert someone.leaves() == 5


def test_detaching_leaves_it_running_and_attaching_comes_back(daemon: Daemon, busybox: str) -> None:
    someone = person(daemon, "run", "-it", "--name", "shell", *NONE, busybox, "sh")
    someone.sees(b"# ")
    someone.types(b"\x10\x11")
    assert someone.leaves() == 0
    assert daemon.cli("ps", "--format", "{{.Names}}").stdout == "shell\n"
    back = person(daemon, "attach", "--detach-keys", "ctrl-a,d", "shell")
    back.types(b"echo $((6*7))\n")
    back.sees(b"42\r\n")
    back.types(b"\x01d")
    back.sees(b"read escape sequence")
    assert back.leaves() == 1
    last = person(daemon, "attach", "shell")
    last.types(b"exit 3\n")
    assert last.leaves() == 3


def test_exec_in_a_terminal(daemon: Daemon, busybox: str) -> None:
    daemon.cli("run", "-d", "--name", "host", *NONE, busybox, "sleep", "60", check=True)
    someone = person(daemon, "exec", "-it", "-e", "A=b c", "-w", "/tmp", "host", "sh")
    someone.sees(b"# ")
    someone.types(b"echo $A $PWD; tty\n")
    someone.sees(b"b c /tmp\r\n")
    someone.sees(b"/dev/pts/")
    someone.types(b"exit 4\n")
    assert someone.leaves() == 4


def test_a_terminal_is_required_for_input_to_one(daemon: Daemon, busybox: str) -> None:
    done = daemon.cli("run", "-it", *NONE, busybox, "sh", input="")
    assert (done.returncode, done.stderr) == (1, "the input device is not a TTY\n")
    assert daemon.cli("ps", "-aq").stdout == ""


def test_start_attached(daemon: Daemon, busybox: str) -> None:
    daemon.cli("create", "-i", "--name", "box", *NONE, busybox, "sh", "-c", "cat; exit 6", check=True)
    done = daemon.cli("start", "-ai", "box", input="hello")
    assert (done.returncode, done.stdout) == (6, "hello")


def test_exec_passes_streams_and_exit_code(daemon: Daemon, busybox: str) -> None:
    daemon.cli("run", "-d", "--name", "box", *NONE, busybox, "sleep", "60", check=True)
    done = daemon.cli("exec", "-i", "box", "sh", "-c", "cat; echo err >&2; exit 9", input="in")
    assert (done.returncode, done.stdout, done.stderr) == (9, "in", "err\n")
    assert daemon.cli("exec", "-d", "box", "touch", "/made", check=True).stdout == ""
    assert daemon.cli("exec", "box", "nosuch").returncode == 127


def test_logs_follow_to_the_end(daemon: Daemon, busybox: str) -> None:
    daemon.cli("run", "-d", "--name", "box", *NONE, busybox, "sh", "-c", "echo a; sleep 0.3; echo b >&2", check=True)
    done = daemon.cli("logs", "-f", "box")
    assert (done.stdout, done.stderr) == ("a\n", "b\n")
    assert daemon.cli("logs", "-n", "1", "box").stderr == "b\n"


def test_wait_and_events_tell_of_the_end(daemon: Daemon, busybox: str) -> None:
    seen: list[str] = []
    process = start(daemon, "events", "--filter", "container=box", "--format", "{{.Action}}")

    def read() -> None:
        assert process.stdout
        seen.extend(line.strip() for line in process.stdout)

    reader = threading.Thread(target=read)
    reader.start()
    daemon.cli("run", "-d", "--name", "box", *NONE, busybox, "sh", "-c", "exit 8", check=True)
    assert daemon.cli("wait", "box").stdout == "8\n"
    daemon.cli("rm", "box", check=True)
    past = daemon.cli(
        "events", "--since", "10m", "--until", "0s", "--filter", "container=box", "--format", "{{.Action}}"
    )
    os.kill(process.pid, signal.SIGINT)
    reader.join(30)
    process.communicate()
    assert {"create", "start", "die", "destroy"} <= set(past.stdout.split())


def test_explain_is_readable(daemon: Daemon, busybox: str) -> None:
    daemon.cli(
        "run",
        "-d",
        "--name",
        "box",
        "-m",
        "64m",
        *NONE,
        busybox,
        "sh",
        "-c",
        "echo 12345 > /etc/passwd; sleep 60",
        check=True,
    )
    page = daemon.cli("explain", "box", check=True).stdout
    for words in (
        "box (",
        "is running",
        "WHAT IT SEES",
        "ITS FILES",
        "WHAT IT MAY USE",
        "at most 67.1MB",
        "seccomp",
        "CHOWN",
    ):
        assert words in page
    assert daemon.cli("explain", "-f", "{{.State}} {{.Capabilities.Kept | len}}", "box").stdout == "running 14\n"


def test_an_image_travels_through_save_and_load(daemon: Daemon, busybox: str, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    daemon.cli("tag", busybox, "copy:1", check=True)
    daemon.cli("save", "-o", str(archive), "copy:1", check=True)
    assert archive.stat().st_mode & 0o777 == 0o600  # as Docker has it
    assert "Untagged: copy:1" in daemon.cli("rmi", "copy:1", check=True).stdout
    assert daemon.cli("load", "-i", str(archive), check=True).stdout == "Loaded image: copy:1\n"
    assert daemon.cli("images", "--format", "{{.Repository}}", "copy").stdout == "copy\n"
    daemon.cli("rmi", "copy:1", check=True)


def test_a_container_s_files_travel_through_export_and_import(daemon: Daemon, busybox: str, tmp_path: Path) -> None:
    daemon.cli("run", "--name", "box", *NONE, busybox, "sh", "-c", "echo kept > /kept", check=True)
    assert "A /kept" in daemon.cli("diff", "box", check=True).stdout
    daemon.cli("export", "-o", str(tmp_path / "fs.tar"), "box", check=True)
    daemon.cli("import", "-c", "CMD cat /kept", str(tmp_path / "fs.tar"), "mine:1", check=True)
    assert daemon.cli("run", "--rm", *NONE, "mine:1").stdout == "kept\n"
    daemon.cli("rmi", "mine:1", check=True)


def test_pausing_renaming_updating_and_the_rest(daemon: Daemon, busybox: str) -> None:
    daemon.cli("run", "-d", "--name", "box", *NONE, busybox, "sleep", "60", check=True)
    assert daemon.cli("pause", "box", check=True).stdout == "box\n"
    assert "(Paused)" in daemon.cli("ps").stdout
    daemon.cli("unpause", "box", check=True)
    daemon.cli("rename", "box", "boat", check=True)
    assert daemon.cli("update", "-m", "50m", "--memory-swap", "100m", "boat", check=True).stdout == "boat\n"
    assert daemon.cli("inspect", "-f", "{{.HostConfig.Memory}}", "boat").stdout == f"{50 << 20}\n"
    assert "sleep 60" in daemon.cli("top", "boat", check=True).stdout
    assert "boat" in daemon.cli("stats", "--no-stream", "--format", "{{.Name}}", check=True).stdout
    daemon.cli("restart", "-t", "0", "boat", check=True)
    daemon.cli("stop", "-t", "0", "boat", check=True)
    assert daemon.cli("container", "prune", "-f", check=True).stdout.startswith("Deleted Containers:\n")
    assert daemon.cli("rm", "boat").returncode == 1
    assert daemon.cli("rm", "-f", "boat").returncode == 0


def test_a_container_reaches_the_daemon_and_has_the_callers_credentials(
    daemon: Daemon, busybox: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"auths": {"registry.example": {"auth": "bWU6c2VjcmV0"}}}')
    look = "cat $DOCKER_CONFIG/config.json; stat -c ' %a %F' $DOCKER_CONFIG/config.json /var/run/docker.sock"
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(0o1777)
    options = ("--rm", *NONE, "--use-api-socket", "-v", f"{run}:/run")
    done = daemon.cli("--config", str(tmp_path), "run", *options, busybox, "sh", "-c", look)
    assert done.returncode == 0, done.stderr
    assert '"auth":"bWU6c2VjcmV0"' in done.stdout.replace(" ", "")
    assert " 600 regular file" in done.stdout
    assert done.stdout.endswith("socket\n")
    assert run.stat().st_mode & 0o7777 == 0o1777, "directories that are there stay as they are"
    given = daemon.cli(
        "run", "--rm", *NONE, "--use-api-socket", "-e", "DOCKER_CONFIG=/x", busybox, "ls", "/run/secrets"
    )
    assert given.returncode != 0, "who says where the credentials are has them there"
    none = ("--config", str(tmp_path / "none"), "run", "--rm", *NONE, "--use-api-socket", busybox)
    assert daemon.cli(*none, "sh", "-c", "echo ${DOCKER_CONFIG-unset}", check=True).stdout == "unset\n"
