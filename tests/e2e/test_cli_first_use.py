"""The first command on a machine starts the daemon; the last one leaves nothing.

Everything happens in a mount namespace with its own /run and /var/lib, so that the default socket and data root
are the test's own.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from needs import ROOT

pytestmark = [pytest.mark.need("root"), pytest.mark.need("namespaces")]

UNSHARE = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
PREPARE = 'mount -t tmpfs t /run && mount -t tmpfs t /var/lib; wherry() { "$PYTHON" -I -S "$LAUNCH" "$@"; }\n'
FINISH = "\nwherry system shutdown --kill >&2 || exit 99\nls -A /run/wherry 2>/dev/null | sed 's/^/left: /'\n"


def in_a_world_of_its_own(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "LAUNCH": str(ROOT / "src/wherry/cli/launch.py")}
    environment.pop("WHERRY_HOST", None)
    command = [*UNSHARE, PREPARE + script + FINISH]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_command_starts_the_daemon_and_shutdown_ends_it() -> None:
    done = in_a_world_of_its_own("wherry info --format '{{.Driver}}'; wherry ps -q; ls /run/wherry/wherry.sock")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["overlay2", "/run/wherry/wherry.sock"], done.stderr


def test_two_first_commands_at_once_find_one_daemon() -> None:
    done = in_a_world_of_its_own("wherry info --format '{{.ID}}' & wherry info --format '{{.ID}}' & wait")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert len(set(lines)) == 1


def test_a_container_of_the_host_s_files_runs_at_once() -> None:
    done = in_a_world_of_its_own("wherry run --rm --network none host echo hello")
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


def test_why_the_daemon_did_not_start_is_told() -> None:
    done = in_a_world_of_its_own("mkdir /var/lib/wherry; mount -t tmpfs -o ro t /var/lib/wherry; wherry ps; echo $?")
    assert done.stdout.startswith("1\n")
    assert done.stderr.startswith("the wherry daemon could not be started: ")
    assert "read-only file system" in done.stderr.lower()


def test_shutting_down_what_does_not_run_starts_nothing() -> None:
    done = in_a_world_of_its_own("wherry system shutdown; echo $?; ls -d /run/wherry")
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stdout


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
import wherry.cli.commands.ps, wherry.cli.report, wherry.cli.spawn, wherry.client.client, wherry.client.containers
from wherry.cli.main import run
os.setuid(65534)  # only now: the interpreter may be where only root can read it
sys.exit(run(["ps"]))
"""


def test_without_root_the_way_out_is_told() -> None:
    command = [sys.executable, "-I", "-S", "-c", AS_NOBODY, str(ROOT / "src")]
    environment = {name: value for name, value in os.environ.items() if name != "WHERRY_HOST"}
    done = subprocess.run(
        [*UNSHARE, 'mount -t tmpfs t /run; exec "$@"', "sh", *command],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "only root can start one (run this command with sudo" in done.stderr
