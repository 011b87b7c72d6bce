"""The first command on a machine starts the daemon; the last one leaves nothing.

Everything happens in a mount namespace with its own /run and /var/lib, so that the default socket and data root
are the test's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.needs import ROOT

pytestmark = [pytest.mark.need("root"), pytest.mark.need("namespaces")]

UNSHARE = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
PREPARE = 'mount -t tmpfs t /run && mount -t tmpfs t /var/lib; wherry() { "$PYTHON" -I -S "$LAUNCH" "$@"; }\n'
FINISH = "\nwherry system shutdown --kill >&2 || exit 99\nls -A /run/wherry 2>/dev/null | sed 's/^/left: /'\n"


def in_a_world_of_its_own(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "LAUNCH": str(ROOT / "src/wherry/cli/entry.py")}
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
import wherry.cli.commands.container.ls, wherry.cli.errors, wherry.cli.daemon.start
import wherry.client.client, wherry.client.containers
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


# --- a clone that is somebody else's


@pytest.fixture
def clone() -> Iterator[Path]:
    """What of a clone the launcher needs, where anybody may read it."""
    with TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        shutil.copy(ROOT / "wherry", directory)
        shutil.copy(ROOT / "pyproject.toml", directory)
        (directory / "packaging").mkdir()
        shutil.copy(ROOT / "packaging/choose-python", directory / "packaging")
        (directory / "src/wherry/cli").mkdir(parents=True)
        (directory / "src/wherry/cli/entry.py").write_text("print('launched')")
        yield directory


def made(clone: Path, python: str) -> None:
    """As if its owner had used it."""
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").symlink_to(python)
    (clone / ".venv/pyvenv.cfg").write_text(f"home = {Path(python).parent}\n")
    known = subprocess.run(["cksum"], input=(clone / "pyproject.toml").read_bytes(), capture_output=True, check=True)
    (clone / ".venv/.wherry").write_bytes(known.stdout)


def as_somebody_else(clone: Path) -> subprocess.CompletedProcess[str]:
    anybody = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "env",
        "-i",
        f"PATH={os.environ['PATH']}",
    ]
    return subprocess.run([*anybody, clone / "wherry", "ps"], capture_output=True, text=True, check=False, cwd="/")


def test_a_clone_of_somebody_elses_that_nobody_used_yet_says_who_has_to(clone: Path) -> None:
    done = as_somebody_else(clone)
    assert done.returncode == 125
    assert done.stderr == (
        f"wherry: the first use makes {clone}/.venv, but {clone} is not writable for you: let root run {clone}/wherry "
        "once, or clone wherry for yourself\n"
    )


def test_a_clone_of_somebody_elses_is_used_as_it_is(clone: Path) -> None:
    made(clone, "/usr/bin/python3")
    assert as_somebody_else(clone).stdout == "launched\n"
    os.utime(clone / "pyproject.toml")  # as `git pull` may do
    done = as_somebody_else(clone)
    assert (done.returncode, done.stdout, done.stderr) == (0, "launched\n", "")


def test_a_clone_of_somebody_elses_that_needs_more_than_it_has_says_so(clone: Path) -> None:
    made(clone, "/usr/bin/python3")
    with (clone / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    done = as_somebody_else(clone)
    assert done.returncode == 125
    assert done.stderr.startswith(f"wherry: what wherry needs has changed since {clone}/.venv was made")


def test_a_clone_of_somebody_elses_with_a_python_of_his_own_says_so(clone: Path) -> None:
    with TemporaryDirectory(dir="/tmp") as private:
        shutil.copy("/bin/true", f"{private}/python3")
        made(clone, f"{private}/python3")
        done = as_somebody_else(clone)
    assert done.returncode == 125
    assert done.stderr.startswith(
        f"wherry: {clone}/.venv was made with the Python in {private}, which you may not execute"
    )


def test_a_clone_that_nobody_else_may_read_says_so(clone: Path) -> None:
    (clone / "pyproject.toml").chmod(0o600)
    clone.chmod(0o711)
    assert as_somebody_else(clone).stderr == f"wherry: {clone} is not readable for you\n"


@pytest.mark.parametrize("faster", ["python3", "python7.7"])
def test_of_two_builds_of_one_version_the_first_use_takes_the_faster_one(clone: Path, faster: str) -> None:
    programs = clone / "programs"
    programs.mkdir()
    for name in ("python3", "python7.7"):
        took = 1000 if name == faster else 2000
        (programs / name).write_text(
            f"#!/bin/sh\ncase $* in *perf_counter*) echo {took};; *%d.%d*) echo 7.7;;"
            f" *' venv '*) echo {name} >&2; exit 1;; esac"
        )
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run([clone / "wherry", "ps"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert done.stderr.splitlines()[1:] == [
        faster, f"wherry: could not make a virtual environment in {clone}/.venv",
    ]  # fmt: skip
