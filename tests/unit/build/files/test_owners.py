"""Owners are numbers, or names that a file inside knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.build.files.owners import Ids, ids_of
from wherry.build.model.graph import Chown, Owner
from wherry.errors import InvalidInput
from wherry.linux.fd import Fd


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


@pytest.fixture
def root(etc: Path) -> Iterator[Callable[[int], Fd]]:
    with Fd(os.open(etc.parent, os.O_PATH)) as fd:
        yield lambda number: fd


def test_names_are_looked_up_and_a_user_brings_its_group(etc: Path, root: Callable[[int], Fd]) -> None:
    (etc / "passwd").write_text("# x\nroot:x:0:0::/:\nodd\napp:x:100:200::/:\napp:x:7:7::/:\nbad:x:y:z::/:\n")
    (etc / "group").write_text("staff:x:50:a,b\n")
    assert ids_of(Chown(Owner(name="app")), root) == Ids(100, 200)
    assert ids_of(Chown(Owner(name="app"), Owner(name="staff")), root) == Ids(100, 50)
    assert ids_of(Chown(Owner(name="app"), Owner(id=3)), root) == Ids(100, 3)
    assert ids_of(Chown(None, Owner(name="staff")), root) == Ids(0, 50)
    assert ids_of(Chown(Owner(name="bad")), root) == Ids(0, 0)
    assert ids_of(Chown(Owner(name="none")), root) == Ids(0, 0)


def test_a_number_is_its_own_group(root: Callable[[int], Fd]) -> None:
    assert ids_of(Chown(Owner(id=1000)), root) == Ids(1000, 1000)
    assert ids_of(Chown(Owner(id=1000), Owner(id=5)), root) == Ids(1000, 5)
    assert ids_of(None, root) is None
    assert ids_of(Chown(), root) is None
    with pytest.raises(InvalidInput):
        ids_of(Chown(Owner(id=1 << 32)), root)


def test_without_the_files_nobody_is_known(root: Callable[[int], Fd]) -> None:
    assert ids_of(Chown(Owner(name="app"), Owner(name="app")), root) == Ids(0, 0)


def test_a_file_of_names_that_is_none_is_refused(etc: Path, root: Callable[[int], Fd]) -> None:
    (etc / "passwd").mkdir()
    with pytest.raises(InvalidInput, match="not a regular file"):
        ids_of(Chown(Owner(name="app")), root)
