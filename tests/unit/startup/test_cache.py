"""Where startup snapshots are, who executes them, and when one is made."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.needs import need
from wherry.startup import cache

ROOT = Path(__file__).resolve().parents[3]
#: Script to its package.
SCRIPTS = {"wherry": "cli", "wherry-oci": "ociruntime"}
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
each = pytest.mark.parametrize("script", SCRIPTS)


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho {says} "$@"\n')
    path.chmod(0o700)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone that has been set up, whose interpreter and snapshots say who they are."""
    for name in SCRIPTS:
        shutil.copy(ROOT / name, tmp_path)
        program(place(tmp_path, name), "snapshot")
    (tmp_path / "pyproject.toml").touch()
    os.utime(tmp_path / "pyproject.toml", (1, 1))
    program(tmp_path / ".venv/bin/python", "ordinary")
    (tmp_path / ".venv/.wherry").touch()
    return tmp_path


def place(clone: Path, script: str, boot: str = BOOT) -> Path:
    return clone / f"src/wherry/{SCRIPTS[script]}/__pycache__/{script}.{boot}"


def said(clone: Path, script: str) -> list[str]:
    done = subprocess.run([clone / script, "list", "a b"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@each
def test_the_script_executes_the_snapshot_of_this_boot(clone: Path, script: str) -> None:
    assert said(clone, script) == ["snapshot", "list", "a", "b"]


@each
def test_without_one_of_this_boot_that_can_be_executed_it_executes_the_interpreter(clone: Path, script: str) -> None:
    place(clone, script).rename(place(clone, script, "another-boot"))
    assert said(clone, script)[0] == "ordinary"
    place(clone, script).touch(0o600)
    assert said(clone, script)[0] == "ordinary"


@each
@need("root")
def test_a_snapshot_that_another_user_has_put_there_is_not_executed(clone: Path, script: str) -> None:
    os.chown(place(clone, script), 1234, 1234)
    place(clone, script).chmod(0o755)
    assert said(clone, script)[0] == "ordinary"


# ------------------------------------------------------------------------------------------------- when one is made


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been executed to make one: that it makes one is tested with the kernel."""
    found: list[list[str]] = []
    monkeypatch.setattr(cache, "_run", found.append)
    return found


def offer(directory: Path, *, stale: bool = False) -> None:
    cache.offer(str(directory), "one", lambda place: ["make", place], stale=stale)


def test_one_is_made_by_the_second_call_of_a_boot_and_again_when_it_is_out_of_date(
    tmp_path: Path, runs: list[list[str]]
) -> None:
    place = tmp_path / f"one.{BOOT}"
    (tmp_path / "one.another-boot").touch()
    (tmp_path / "other.another-boot").touch()
    offer(tmp_path)
    assert (runs, place.stat().st_mode & 0o777) == ([], 0o600)
    assert sorted(tmp_path.iterdir()) == [place, tmp_path / "other.another-boot"]
    offer(tmp_path)
    offer(tmp_path)  # the attempt has failed, or goes on
    assert runs == [["make", str(place)]]
    place.write_bytes(b"a program")
    offer(tmp_path)
    assert len(runs) == 1
    offer(tmp_path, stale=True)
    assert len(runs) == 2
    os.utime(place, (1, 1))  # a disk may have been full, and no longer be
    offer(tmp_path)
    offer(tmp_path)
    assert len(runs) == 3
    assert place.stat().st_mode & 0o777 == 0o600


def test_of_a_program_that_is_seldom_called_one_is_made_at_once_and_each_of_its_names_has_one(
    tmp_path: Path, runs: list[list[str]]
) -> None:
    def offered(name: str, *, stale: bool = False) -> None:
        cache.offer(str(tmp_path), name, lambda place: ["make", place], stale=stale, family="one")

    for other in ("one.a.another-boot", "one.b.another-boot", f"one.a.{BOOT}.123", "other.another-boot"):
        (tmp_path / other).touch()
    offered("one.a")
    offered("one.b", stale=True)
    assert runs == [["make", str(tmp_path / f"one.{name}.{BOOT}")] for name in "ab"]
    assert {one.name for one in tmp_path.iterdir()} == {f"one.a.{BOOT}", f"one.b.{BOOT}", "other.another-boot"}
    offered("one.a")
    assert len(runs) == 2


def test_none_is_made_where_somebody_else_could_put_another_one(tmp_path: Path, runs: list[list[str]]) -> None:
    for mode in (0o775, 0o757):
        tmp_path.chmod(mode)
        offer(tmp_path)
    tmp_path.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(tmp_path, 1234, 0)
        offer(tmp_path)
        os.chown(tmp_path, 0, 0)
    offer(tmp_path / "nothing")
    assert (runs, list(tmp_path.iterdir())) == ([], [])


def test_a_failure_and_an_interrupt_are_not_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(command: list[str]) -> None:
        raise KeyboardInterrupt

    offer(tmp_path)
    monkeypatch.setattr(cache, "_run", interrupted)
    offer(tmp_path)
