"""What a script that pip has made becomes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[3] / "src"
BEGIN = """
import sys
sys.path.insert(0, {sources!r})
{before}
from wherry.startup.script import begin
begin({package!r}, "program", lambda: print("here", *sys.argv[1:]))
"""
ENTRY = "import sys\nprint('entry', sys.flags.isolated, sys.flags.no_site, *sys.argv[1:])\n"


def begun(package: Path, before: str = "") -> str:
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "entry.py").write_text(ENTRY)
    code = BEGIN.format(sources=str(SOURCES), package=str(package), before=before)
    command = [sys.executable, "-I", "-c", code, "a", "-b"]
    return subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout


def snapshot(package: Path, mode: int) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (package / "__pycache__").mkdir()
    path = package / f"__pycache__/program.{boot}"
    path.write_text('#!/bin/sh\necho snapshot "$@"\n')
    path.chmod(mode)


def test_it_becomes_the_snapshot_of_this_boot(tmp_path: Path) -> None:
    snapshot(tmp_path, 0o700)
    assert begun(tmp_path) == "snapshot a -b\n"


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="these tests do not run in a virtual environment")
def test_without_one_it_becomes_the_program_without_site(tmp_path: Path) -> None:
    assert begun(tmp_path) == "entry 1 1 a -b\n"


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="these tests do not run in a virtual environment")
def test_a_file_that_stands_for_an_attempt_is_no_snapshot(tmp_path: Path) -> None:
    snapshot(tmp_path, 0o600)
    assert begun(tmp_path) == "entry 1 1 a -b\n"


def test_outside_of_a_virtual_environment_it_is_the_program_itself(tmp_path: Path) -> None:
    assert begun(tmp_path, "sys.prefix = sys.base_prefix") == "here a -b\n"


def test_the_snapshot_of_somebody_else_is_not_executed(tmp_path: Path) -> None:
    snapshot(tmp_path, 0o700)
    another = "import os; os.geteuid = lambda: 4711; sys.prefix = sys.base_prefix"
    assert begun(tmp_path, another) == "here a -b\n"
