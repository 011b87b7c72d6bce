"""Where the startup snapshot of ``wherry-oci`` is, who executes it, and when one is made."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wherry.ociruntime import snapshot

ROOT = Path(__file__).resolve().parents[3]
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho {says} "$@"\n')
    path.chmod(0o700)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone that has been set up, whose interpreter and snapshot say who they are."""
    shutil.copy(ROOT / "wherry-oci", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    os.utime(tmp_path / "pyproject.toml", (1, 1))
    program(tmp_path / ".venv/bin/python", "ordinary")
    (tmp_path / ".venv/.wherry").touch()
    program(place(tmp_path), "snapshot")
    return tmp_path


def place(clone: Path, boot: str = BOOT) -> Path:
    return clone / f"src/wherry/ociruntime/__pycache__/wherry-oci.{boot}"


def said(clone: Path) -> list[str]:
    done = subprocess.run([clone / "wherry-oci", "list", "a b"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_script_executes_the_snapshot_of_this_boot(clone: Path) -> None:
    assert said(clone) == ["snapshot", "list", "a", "b"]


def test_without_one_of_this_boot_that_can_be_executed_it_executes_the_interpreter(clone: Path) -> None:
    place(clone).rename(place(clone, "another-boot"))
    assert said(clone)[0] == "ordinary"
    place(clone).touch(0o600)
    assert said(clone)[0] == "ordinary"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_snapshot_that_another_user_has_put_there_is_not_executed(clone: Path) -> None:
    os.chown(place(clone), 1234, 1234)
    place(clone).chmod(0o755)
    assert said(clone)[0] == "ordinary"


# ------------------------------------------------------------------------------------------------- when one is made


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been executed to make one: that it makes one is tested with the kernel."""
    found: list[list[str]] = []
    monkeypatch.setattr(snapshot, "_run", found.append)
    return found


def test_one_is_made_once_in_each_boot_and_again_when_it_is_out_of_date(clone: Path, runs: list[list[str]]) -> None:
    source = str(clone / "src")
    place(clone).rename(place(clone, "another-boot"))
    snapshot.offer(source, stale=False)
    snapshot.offer(source, stale=False)
    assert [command[4] for command in runs] == [f"snapshot={place(clone)}"]
    assert place(clone).stat().st_mode & 0o777 == 0o600
    assert list(place(clone).parent.iterdir()) == [place(clone)]
    snapshot.offer(source, stale=True)
    assert len(runs) == 2


def test_none_is_made_where_somebody_else_could_put_another_one(clone: Path, runs: list[list[str]]) -> None:
    place(clone).unlink()
    directory = place(clone).parent
    directory.chmod(0o775)
    snapshot.offer(str(clone / "src"), stale=False)
    directory.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(directory, 1234, 0)
        snapshot.offer(str(clone / "src"), stale=False)
    snapshot.offer(str(clone / "nothing"), stale=False)
    assert runs == []
    assert not place(clone).exists()
