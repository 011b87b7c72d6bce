"""Containers of other OCI runtimes: `wherryd --add-runtime`, `run --runtime`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need, program
from support.oci_command import COMMAND
from support.processes import wait_for
from support.terminal import Person

pytestmark = need("root", "busybox", "overlay", "namespaces", "runc")

RUNTIMES = ("runc", "wherry", *(["crun"] if program("crun") else []))
#: crun refuses machines with version 1 of cgroups beside version 2 with controllers, so it does not see the latter.
CRUN = """#!/bin/sh
exec unshare --mount sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"' crun "$@"
"""

INIT = """#!/bin/sh
[ "$1" = -- ] || exit 99
shift
"$@"
exit "$?"
"""


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One that has runc, wherry's own as a command, and crun where that is."""
    programs = tmp_path_factory.mktemp("programs")
    scripts = {
        "wherry": "#!/bin/sh\nexec " + " ".join(map(shlex.quote, COMMAND)) + ' "$@"\n',
        "crun": CRUN,
        "init": INIT,
    }
    for name, script in scripts.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    places = {"runc": program("runc"), "wherry": programs / "wherry", "crun": programs / "crun"}
    added = [f"--add-runtime=other-{name}={places[name]}" for name in RUNTIMES]
    with busybox_daemon(busybox_archive, *added, f"--init-path={programs / 'init'}") as made:
        yield made


def run(daemon: Daemon, runtime: str, *words: str) -> subprocess.CompletedProcess[str]:
    return daemon.cli("run", "--runtime", f"other-{runtime}", "--network", "none", *words)


def left_by(daemon: Daemon, runtime: str) -> list[str]:
    """What a runtime keeps of containers."""
    state = Path(daemon.exec_root, "runtimes", f"other-{runtime}")
    return sorted(path.name for path in state.iterdir()) if state.exists() else []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_container_runs_in_it_and_leaves_nothing(daemon: Daemon, runtime: str) -> None:
    script = "echo out; echo err >&2; id -u; hostname; cat /proc/1/comm; ls /proc/self/fd | wc -l; exit 7"
    done = run(daemon, runtime, "--rm", "--user", "guest", "--hostname", "h", "busybox", "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n1000\nh\nsh\n4\n", "err\n"), done
    wait_for(lambda: not left_by(daemon, runtime))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_its_life_is_that_of_any_container(daemon: Daemon, runtime: str) -> None:
    name = f"life-{runtime}"
    script = "trap 'exit 5' TERM; sleep 100 & wait"
    done = run(daemon, runtime, "-d", "--name", name, "-m", "64m", "busybox", "sh", "-c", script)
    assert done.returncode == 0, done
    assert json.loads(daemon.cli("inspect", name).stdout)[0]["HostConfig"]["Runtime"] == f"other-{runtime}"
    words = ("--user", "guest", "-e", "A=b", name, "sh", "-c", "id -u; echo $A; exit 3")
    executed = daemon.cli("exec", *words)
    assert (executed.returncode, executed.stdout) == (3, "1000\nb\n"), executed
    bundle = next(Path(daemon.exec_root, "containers").glob("*/bundle"))
    assert sorted(path.name for path in bundle.iterdir()) == ["config.json", "log", "pid"]
    daemon.cli("pause", name)
    daemon.cli("unpause", name)
    daemon.cli("stop", name)
    state = json.loads(daemon.cli("inspect", name).stdout)[0]["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 5)
    daemon.cli("start", name)
    daemon.cli("rm", "-f", name)
    wait_for(lambda: not left_by(daemon, runtime))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_limits_health_and_restarts_are_those_of_any_container(daemon: Daemon, runtime: str, tmp_path: Path) -> None:
    name = f"cared-for-{runtime}"
    (tmp_path / "file").write_text("content\n")
    flags = ("--health-cmd", "cat /file", "--health-interval", "100ms", "-v", f"{tmp_path}/file:/file:ro", "-m", "64m")
    done = run(daemon, runtime, "-d", "--name", name, "--restart", "always", *flags, "busybox", "sleep", "1000")
    assert done.returncode == 0, done

    def state() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(daemon.cli("inspect", name).stdout)[0]
        return found

    wait_for(lambda: state()["State"]["Health"]["Status"] == "healthy")
    assert "Read-only file system" in daemon.cli("exec", name, "sh", "-c", "echo x >/file").stderr
    assert daemon.cli("update", "--memory", "100m", "--memory-swap", "100m", name).returncode == 0
    limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max"
    assert daemon.cli("exec", name, "sh", "-c", limit).stdout == f"{100 << 20}\n"
    os.kill(state()["State"]["Pid"], signal.SIGKILL)
    wait_for(lambda: state()["RestartCount"] == 1 and state()["State"]["Running"])
    daemon.cli("rm", "-f", name)
    wait_for(lambda: not left_by(daemon, runtime))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_program_that_is_not_there_is_told_and_leaves_nothing(daemon: Daemon, runtime: str) -> None:
    done = run(daemon, runtime, "--rm", "busybox", "no-such-program")
    assert (done.returncode, "no-such-program" in done.stderr) == (127, True), done
    wait_for(lambda: not left_by(daemon, runtime))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_it_has_a_terminal_and_so_has_an_exec(daemon: Daemon, runtime: str) -> None:
    name = f"terminal-{runtime}"
    words = ("run", "--rm", "-it", "--name", name, "--network", "none", "--runtime", f"other-{runtime}", "busybox")
    person = Person([sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, *words, "sh"], daemon.environment)
    person.types(b"tty; echo a$((1+1))\n")
    person.sees(b"/dev/pts/0")
    person.sees(b"a2")
    second = Person(
        [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, "exec", "-it", name, "tty"], daemon.environment
    )
    second.sees(b"/dev/pts/1")
    assert second.leaves() == 0
    person.types(b"exit 4\n")
    assert person.leaves() == 4
    wait_for(lambda: not left_by(daemon, runtime))


def test_it_outlives_the_daemon_and_its_end_is_noticed(daemon: Daemon) -> None:
    assert run(daemon, "runc", "-d", "--name", "lasting", "busybox", "sleep", "1000").returncode == 0
    daemon.kill9()
    daemon.start()
    assert json.loads(daemon.cli("inspect", "lasting").stdout)[0]["State"]["Running"]
    assert daemon.cli("exec", "lasting", "echo", "in").stdout == "in\n"
    daemon.cli("kill", "lasting")
    assert daemon.cli("wait", "lasting").stdout == "137\n"
    daemon.cli("rm", "lasting")
    wait_for(lambda: not left_by(daemon, "runc"))


def test_a_runtime_that_was_not_added_is_refused_in_dockers_words(daemon: Daemon) -> None:
    done = daemon.cli("run", "--runtime", "kata", "busybox", "true")
    assert "unknown or invalid runtime name: kata" in done.stderr
    shown = daemon.request("GET", "/info").json
    assert {"wherry", *(f"other-{name}" for name in RUNTIMES)} == set(shown["Runtimes"])
    assert shown["DefaultRuntime"] == "wherry"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_init_process_is_the_daemons_program(daemon: Daemon, runtime: str) -> None:
    script = "cat /proc/1/comm; echo x > /sbin/docker-init || exit 7"
    done = run(daemon, runtime, "--rm", "--init", "busybox", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (7, "docker-init\n"), done
    assert "Read-only file system" in done.stderr, done
