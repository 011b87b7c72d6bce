"""``wherry`` and ``wherry-oci`` say the same, whether they begin in the ordinary way or by their startup snapshots."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.needs import ROOT
from wherry.linux._libc import ARCHITECTURE
from wherry.startup.machine_code import LISTINGS

pytestmark = pytest.mark.skipif(
    ARCHITECTURE not in LISTINGS or sys.version_info >= (3, 14), reason="there are no snapshots here"
)

NOBODY = "unix:///nobody.sock"
LINES = {
    "cli": [
        ["--version"],
        ["nonsense"],
        ["ps", "--help"],
        ["-H", NOBODY, "ps"],
        ["-H", NOBODY, "run", "-e", "A", "image", "program"],
        ["-H", "ssh://", "ps"],
        ["completion", "bash"],
    ],
    "ociruntime": [
        ["--version"],
        ["nonsense"],
        ["features"],
        ["state", "nobody"],
        ["run"],
        ["exec", "nobody", "true"],
        ["--systemd-cgroup", "delete", "nobody"],
        ["--log", "/dev/full", "--log-format", "json", "start", "nobody"],
    ],
}


@pytest.fixture(scope="module", params=LINES)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str], Path]:
    """A program's package, what executes it in the ordinary way, and its snapshot."""
    package = str(request.param)
    entry = [sys.executable, "-I", "-S", str(ROOT / f"src/wherry/{package}/entry.py")]
    place = tmp_path_factory.mktemp(package) / "snapshot"
    making = [*entry[:-1], "-X", f"snapshot={place}", entry[-1]]
    subprocess.run(making, check=True, stdin=subprocess.DEVNULL, timeout=120)
    return package, entry, place


def said(command: Sequence[str | Path], directory: Path, tail: str = "") -> tuple[int, str, str]:
    line = ["/bin/sh", "-c", f'"$@" {tail}', "sh", *command]
    done = subprocess.run(line, cwd=directory, capture_output=True, text=True, check=False, timeout=120)
    messages = [line for line in done.stderr.splitlines() if not line.startswith("time=")]
    return done.returncode, done.stdout, "\n".join(messages)


def test_each_line_ends_the_same_way(program: tuple[str, list[str], Path], tmp_path: Path) -> None:
    package, ordinary, snapshot = program
    for line in LINES[package]:
        assert said([snapshot, *line], tmp_path) == said([*ordinary, *line], tmp_path), line


@pytest.mark.parametrize("tail", [">/dev/full", ">&-", "2>&-", "<&-", "| true"])
def test_with_odd_streams_it_ends_the_same_way(program: tuple[str, list[str], Path], tmp_path: Path, tail: str) -> None:
    package, ordinary, snapshot = program
    line = LINES[package][0]
    assert said([snapshot, *line], tmp_path, tail) == said([*ordinary, *line], tmp_path, tail)
