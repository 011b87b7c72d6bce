"""A user of the machine who may not use the socket: nothing of the engine is theirs to read, to write or to signal."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay", "namespaces"), pytest.mark.usefixtures("unharmed")]

NOBODY = 65534
LOOK = r"""
import os, socket, sys
for top in sys.argv[1:]:
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            if os.access(path, os.W_OK, follow_symlinks=False) and not os.path.islink(path):
                print("can write", path)
            if name in files and os.access(path, os.R_OK):
                print("can read", path)
            if name.endswith(".sock"):
                try:
                    kind = socket.SOCK_SEQPACKET if "keeper" in name else socket.SOCK_STREAM
                    socket.socket(socket.AF_UNIX, kind).connect(path)
                    print("can connect to", path)
                except PermissionError:
                    pass
"""


@pytest.fixture
def busy(daemon: Daemon, busybox: str) -> Iterator[int]:
    """A container that has a secret in its environment, a volume of its own and some output; its first process."""
    flags = ("--network", "none", "--env", "SECRET=kept", "-i", "--name", "busy", "--hostname", "busy")
    daemon.cli("run", "-d", *flags, busybox, "sh", "-c", "echo secret >/root/x; echo out; exec sleep 1000", check=True)
    yield int(daemon.request("GET", "/containers/busy/json").json["State"]["Pid"])
    daemon.request("DELETE", "/containers/busy", force=True)


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without any group."""
    return subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.usefixtures("busy")
def test_no_file_of_the_engines_is_readable_and_no_socket_answers(daemon: Daemon) -> None:
    daemon.root.chmod(0o755)  # as /var/lib and /run are; the tests' own directory is closed
    try:
        done = as_nobody(python(), "-I", "-c", LOOK, str(daemon.root))
        assert done.returncode == 0, done.stderr
        said = [line for line in done.stdout.splitlines() if not line.endswith(str(daemon.root / "log"))]
        assert said == [], "the log is the tests' own"
    finally:
        daemon.root.chmod(0o700)


def python() -> str:
    """An interpreter that anybody can run."""
    for candidate in ("/usr/bin/python3", sys.executable):
        if os.path.exists(candidate) and as_nobody(candidate, "-c", "").returncode == 0:
            return candidate
    pytest.skip("no Python here that any user can run")


def test_the_directories_are_closed_and_the_socket_is_the_groups(daemon: Daemon) -> None:
    for directory in (daemon.data_root, daemon.exec_root):
        mode = stat.S_IMODE(directory.stat().st_mode)
        assert not mode & 0o022, f"{directory}: {mode:o}"
    assert not stat.S_IMODE((daemon.data_root / "containers").stat().st_mode) & 0o007 or closed(daemon.data_root)
    assert stat.S_IMODE(Path(daemon.socket).stat().st_mode) == 0o660


def closed(directory: Path) -> bool:
    """Whether others may not enter."""
    return not directory.stat().st_mode & 0o001


def test_nothing_of_its_processes_is_shown_or_taken(daemon: Daemon, busy: int) -> None:
    for pid in (daemon.pid, daemon.keeper_pid, busy):
        for name in ("environ", "maps", "fd", "root", "cwd", "exe", "mem", "io", "stack"):
            command = "ls" if name == "fd" else "readlink" if name in ("root", "cwd", "exe") else "cat"
            done = as_nobody(command, f"/proc/{pid}/{name}")
            assert (done.returncode != 0, done.stdout) == (True, ""), (pid, name, done.stdout)
        assert "Operation not permitted" in as_nobody("sh", "-c", f"kill -0 {pid}").stderr


def test_an_abstract_socket_is_none_of_the_engines(daemon: Daemon) -> None:
    """A socket without a file has no mode: whoever is in the network namespace may connect, containers too."""
    own = {os.readlink(path) for pid in (daemon.pid, daemon.keeper_pid) for path in Path(f"/proc/{pid}/fd").iterdir()}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[7].startswith("@"):
            assert f"socket:[{words[6]}]" not in own, line
