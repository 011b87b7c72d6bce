"""The stock docker command runs containers on wherry: what each flag promises is seen from inside."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from support.daemons import Daemon, docker_environment
from support.needs import need, program

pytestmark = [need("root", "busybox", "docker"), pytest.mark.usefixtures("clean", "busybox")]

NONE = ("--network", "none")


def run(daemon: Daemon, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return daemon.docker("run", "--rm", *NONE, *words, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "script", "output"),
    [
        ("", "echo hello", "hello"),
        ("-e A=1 -e B=two", "echo $A $B", "1 two"),
        ("-w /tmp", "pwd", "/tmp"),
        ("-w /made/for/it", "pwd", "/made/for/it"),
        ("-u 1000", "id -u; id -g", "1000\n1000"),
        ("-u guest", "id -un; id -G; echo $HOME", "guest\n1000 100\n/home/guest"),
        ("-u 5:6", "id -u; id -g", "5\n6"),
        ("--group-add 77", "id -G", "0 77"),
        ("-h box --domainname example.org", "hostname; cat /proc/sys/kernel/domainname", "box\nexample.org"),
        ("--read-only", "touch /x 2>&1 | grep -o 'Read-only.*'", "Read-only file system"),
        ("--read-only --tmpfs /t", "touch /t/x && ls /t", "x"),
        ("--tmpfs /t:size=1m,mode=700", "grep ' /t ' /proc/mounts | grep -o 'size=1024k'", "size=1024k"),
        ("--mount type=tmpfs,dst=/t,tmpfs-size=2m", "grep ' /t ' /proc/mounts | grep -o 'size=2048k'", "size=2048k"),
        ("--shm-size 32m", "grep ' /dev/shm ' /proc/mounts | grep -o 'size=32768k'", "size=32768k"),
        ("--ulimit nofile=100:200", "ulimit -Sn; ulimit -Hn", "100\n200"),
        (
            "--pids-limit 5",
            "sh -c 'sleep 1 & sleep 1 & sleep 1 & sleep 1 &' 2>/said; grep -o \"can't fork\" /said",
            "can't fork",
        ),
        ("--cap-drop ALL", "grep CapEff /proc/self/status | cut -f2", "0000000000000000"),
        ("--cap-drop ALL --cap-add CHOWN", "grep CapEff /proc/self/status | cut -f2", "0000000000000001"),
        ("--security-opt no-new-privileges", "grep NoNewPrivs /proc/self/status | cut -f2", "1"),
        ("", "grep ^Seccomp: /proc/self/status | cut -f2", "2"),
        ("--security-opt seccomp=unconfined", "grep ^Seccomp: /proc/self/status | cut -f2", "0"),
        ("--sysctl kernel.shmmax=12345", "cat /proc/sys/kernel/shmmax", "12345"),
        ("--oom-score-adj 321", "cat /proc/self/oom_score_adj", "321"),
        ("--init", "cat /proc/1/comm > /dev/null; echo $$ | grep -vx 1 > /dev/null && echo second", "second"),
        (
            "--privileged",
            "mount -t tmpfs none /mnt 2>/dev/null || mkdir /mnt && mount -t tmpfs none /mnt && echo done",
            "done",
        ),
        ("--device /dev/null:/dev/mine", "test -c /dev/mine && echo there", "there"),
        ("--entrypoint /bin/echo", None, "-c"),
    ],
)
def test_a_flag_does_what_it_promises(daemon: Daemon, flags: str, script: str | None, output: str) -> None:
    entry = ["sh"] if script is not None else []
    done = run(daemon, *flags.split(), "busybox", *entry, "-c", *([script] if script is not None else []))
    assert (done.stdout.strip(), done.stderr, done.returncode) == (output, "", 0)


HOST_NAMESPACES = {"pid": "--pid", "ipc": "--ipc", "uts": "--uts", "net": "--network", "cgroup": "--cgroupns"}


@pytest.mark.parametrize(("kind", "flag"), HOST_NAMESPACES.items())
def test_a_namespace_of_the_hosts_is_shared(daemon: Daemon, kind: str, flag: str) -> None:
    done = daemon.docker("run", "--rm", flag, "host", "busybox", "readlink", f"/proc/self/ns/{kind}")
    assert done.stdout.strip() == os.readlink(f"/proc/self/ns/{kind}")
    done = daemon.docker("run", "--rm", *NONE, "busybox", "readlink", f"/proc/self/ns/{kind}")
    assert done.stdout.strip() != os.readlink(f"/proc/self/ns/{kind}")


def test_a_namespace_of_another_containers_is_shared(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "first", *NONE, "busybox", "sleep", "600", check=True)
    done = run(daemon, "--pid", "container:first", "busybox", "ps")
    assert "sleep 600" in done.stdout


@pytest.mark.parametrize(("options", "writable"), [("", True), (":ro", False), (":rw", True), (",readonly", False)])
def test_a_directory_of_the_hosts_is_mounted(daemon: Daemon, tmp_path: Path, options: str, writable: bool) -> None:
    (tmp_path / "seen").write_text("from the host\n")
    if options.startswith(","):
        mount = ["--mount", f"type=bind,src={tmp_path},dst=/mnt{options}"]
    else:
        mount = ["-v", f"{tmp_path}:/mnt{options}"]
    done = run(daemon, *mount, "busybox", "sh", "-c", "cat /mnt/seen; echo in > /mnt/made")
    assert done.stdout == "from the host\n"
    assert (tmp_path / "made").exists() is writable
    assert (done.returncode == 0) is writable


def test_an_environment_file_is_read(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# comment\nONE=1\nTWO=second word\n")
    assert (
        run(daemon, "--env-file", str(tmp_path / "env"), "busybox", "sh", "-c", "echo $ONE $TWO").stdout
        == "1 second word\n"
    )


def test_limits_are_in_force(daemon: Daemon) -> None:
    limits = [
        "--memory",
        "64m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
    ]
    daemon.docker("run", "-d", "--name", "limited", *NONE, *limits, "busybox", "sleep", "600", check=True)
    (told,) = json.loads(daemon.docker("inspect", "limited").stdout)
    host = told["HostConfig"]
    assert (host["Memory"], host["MemoryReservation"], host["NanoCpus"]) == (64 << 20, 32 << 20, 500_000_000)
    assert (host["CpuShares"], host["CpusetCpus"]) == (512, "0")
    assert Path(f"/proc/{told['State']['Pid']}/status").read_text().split("Cpus_allowed_list:\t")[1].split()[0] == "0"
    stats = daemon.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "limited").stdout
    assert stats.strip().endswith("/ 64MiB")


def test_who_uses_too_much_memory_is_killed_and_it_is_said(daemon: Daemon) -> None:
    hog = "x=a; while :; do x=$x$x; done"
    done = daemon.docker(
        "run", "--name", "hog", *NONE, "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", hog
    )
    assert done.returncode == 137
    assert daemon.docker("inspect", "-f", "{{.State.OOMKilled}}", "hog").stdout.strip() == "true"


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["busybox", "sh", "-c", "exit 42"], 42, ""),
        (["busybox", "nosuch"], 127, 'exec: "nosuch": executable file not found in $PATH'),
        (["busybox", "/etc/passwd"], 126, "permission denied"),
        (["--init", "busybox", "sh", "-c", "kill -9 $$"], 137, ""),
        (
            ["-u", "nobody-here", "busybox", "true"],
            125,
            "unable to find user nobody-here: no matching entries in passwd file",
        ),
        (["missing-image", "true"], 125, "Unable to find image 'missing-image:latest' locally"),
        (["--cap-add", "NONSENSE", "busybox", "true"], 125, "NONSENSE"),
        (["--memory", "1k", "busybox", "true"], 125, "emory"),
        (["-w", "relative", "busybox", "true"], 125, "relative"),
        (["--name", "no/slash", "busybox", "true"], 125, "Invalid container name"),
        (["-v", "/no-such-directory-here/x:relative", "busybox", "true"], 125, "relative"),
        (["--sysctl", "kernel.panic=1", "busybox", "true"], 125, "kernel.panic"),
    ],
)
def test_exit_codes_and_errors_are_dockers(daemon: Daemon, words: list[str], code: int, error: str) -> None:
    done = run(daemon, *words)
    assert done.returncode == code, done.stderr
    assert error in done.stderr
    assert daemon.docker("ps", "-aq").stdout == ""


def test_an_unknown_network_is_said_in_dockers_words(daemon: Daemon) -> None:
    done = daemon.docker("run", "--rm", "--network", "nowhere", "busybox", "true")
    assert (done.returncode, "network nowhere not found" in done.stderr) == (125, True)


def test_input_goes_in_and_ends(daemon: Daemon) -> None:
    given = "".join(f"line {number}\n" for number in range(20_000))
    assert run(daemon, "-i", "busybox", "cat", input=given).stdout == given


def test_the_id_is_written_to_a_file(daemon: Daemon, tmp_path: Path) -> None:
    run(daemon, "--cidfile", str(tmp_path / "cid"), "busybox", "true")
    assert len((tmp_path / "cid").read_text()) == 64


def test_a_container_that_removes_itself_is_gone(daemon: Daemon) -> None:
    run(daemon, "--name", "gone", "busybox", "true")
    assert "No such" in daemon.docker("inspect", "gone").stderr


def test_a_restarting_container_is_restarted(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "again", *NONE, "--restart", "on-failure:2", "busybox", "false", check=True)
    daemon.docker("wait", "again")
    deadline = time.monotonic() + 30
    while daemon.docker("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "again").stdout.strip() != "2 exited":
        assert time.monotonic() < deadline


class Terminal:
    """The docker command at a pseudo-terminal."""

    def __init__(self, daemon: Daemon, *words: str) -> None:
        self._master, slave = pty.openpty()
        environment = {**docker_environment(daemon.host, daemon.root), "TERM": "xterm"}
        command = [program("docker") or "docker", *words]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, text: str) -> str:
        seen = ""
        while text not in seen:
            ready, _, _ = select.select([self._master], [], [], 20)
            assert ready, f"{text!r} did not come: {seen!r}"
            try:
                seen += os.read(self._master, 4096).decode()
            except OSError:
                raise AssertionError(f"the terminal was closed before {text!r}: {seen!r}") from None
        return seen

    def close(self) -> int:
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            os.close(self._master)


def test_a_person_at_a_terminal_types_and_leaves(daemon: Daemon) -> None:
    terminal = Terminal(daemon, "run", "-it", *NONE, "--name", "shell", "busybox", "sh")
    terminal.read_until("# ")
    terminal.type("echo $((6*7))\n")
    terminal.read_until("42")
    terminal.type("exit 11\n")
    assert terminal.close() == 11


def test_the_detach_keys_leave_a_container_running(daemon: Daemon) -> None:
    terminal = Terminal(daemon, "run", "-it", *NONE, "--name", "left", "--detach-keys", "ctrl-e,q", "busybox", "sh")
    terminal.read_until("# ")
    terminal.type("\x05q")
    terminal.close()
    assert daemon.docker("inspect", "-f", "{{.State.Running}}", "left").stdout.strip() == "true"
    again = Terminal(daemon, "attach", "left")
    again.type("exit 5\n")
    assert again.close() == 5


def test_an_exec_has_a_terminal_too(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "host", *NONE, "busybox", "sleep", "600", check=True)
    terminal = Terminal(daemon, "exec", "-it", "host", "sh")
    terminal.read_until("# ")
    terminal.type("tty; exit 3\n")
    terminal.read_until("/dev/pts/")
    assert terminal.close() == 3
