"""Which startup snapshot a daemon executes: one that only root can have put there, and that is made of the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from support.needs import need
from wherry.daemon import snapshot


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file that may be executed."""
    tmp_path.chmod(0o755)
    place = tmp_path / f"wherryd.key.{snapshot._boot()}"
    place.touch()
    place.chmod(0o700)
    return place


def found(place: Path) -> str:
    return snapshot._found(str(place.parent), "key")


@need("root")
def test_this_boots_comes_before_anothers(place: Path) -> None:
    other = place.with_name("wherryd.key.another-boot")
    other.touch()
    other.chmod(0o700)
    place.with_name(f"{place.name}.123").touch()
    assert found(place) == str(place)
    place.unlink()
    assert found(place) == str(other)
    other.rename(place.with_name("wherryd.other.another-boot"))
    assert found(place) == ""


@need("root")
@pytest.mark.parametrize("mode", [0o600, 0o755, 0o701, 0o4700, 0o720])
def test_one_that_others_may_read_or_write_or_nobody_execute_is_not_executed(place: Path, mode: int) -> None:
    place.chmod(mode)
    assert found(place) == ""


@need("root")
def test_one_of_another_users_a_link_and_one_that_has_two_names_are_not_executed(place: Path) -> None:
    kept = place.rename(place.with_name("kept"))
    place.symlink_to(kept)
    assert found(place) == ""
    place.unlink()
    place.hardlink_to(kept)
    assert found(place) == ""
    kept.unlink()
    assert found(place) == str(place)
    os.chown(place, 1234, 0)
    place.chmod(0o700)
    assert found(place) == ""


@need("root")
def test_none_is_executed_from_a_directory_that_others_may_write_to(place: Path) -> None:
    for mode in (0o775, 0o757, 0o1777):
        place.parent.chmod(mode)
        assert found(place) == ""
    place.parent.chmod(0o755)
    os.chown(place.parent, 1234, 0)
    assert found(place) == ""


def test_the_key_is_of_where_modules_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    key = snapshot._key("/source")
    monkeypatch.setattr(sys, "path", ["/wherever/it/was/called", *sys.path[1:], "/source", sys.path[1]])
    assert snapshot._key("/source") == key
    monkeypatch.setattr(sys, "path", [*sys.path, "/more"])
    assert snapshot._key("/source") != key


def test_the_key_is_of_the_kernel_and_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {snapshot._key("/source")}
    monkeypatch.setattr(sys, "executable", "/another/python")
    keys.add(snapshot._key("/source"))
    other = os.uname_result(("Linux", "host", "5.10.0", "#1 SMP", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: other)
    keys.add(snapshot._key("/source"))
    assert len(keys) == 3
