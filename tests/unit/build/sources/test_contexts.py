"""Contexts that come as archives: how long they stay, and what the next one takes of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wherry.build.sources import contexts
from wherry.build.sources.contexts import ContextInUse, Spare, context_directory
from wherry.errors import SystemFault


def made(tmp_path: Path, files: int = 1) -> Path:
    """A context."""
    root = context_directory(tmp_path)
    for number in range(files):
        (root / str(number)).write_bytes(b"12345")
    return root


def test_a_context_stays_until_the_last_one_has_let_go_of_it(tmp_path: Path) -> None:
    ends: list[int] = []
    context = ContextInUse(tmp_path, lambda: ends.append(1))
    first, second = context.use(), context.use()
    assert first.places == (tmp_path,)
    first.release()
    first.release()
    context.let_go()
    assert ends == []
    second.release()
    assert ends == [1]


def kept(spare: Spare, root: Path) -> Path:
    """Keep a context; where it is then."""
    where = spare.put(root)
    assert where is not None
    assert not root.exists()
    assert where.is_dir()
    return where


def test_the_last_context_is_kept_once_and_for_one(tmp_path: Path) -> None:
    spare = Spare()
    assert spare.take() is None
    first = kept(spare, made(tmp_path))
    second = kept(spare, made(tmp_path))
    assert not first.exists()
    spare.drop(first)
    assert spare.take() == second
    assert spare.take() is None
    spare.drop(second)
    assert second.exists()
    third = kept(spare, second)
    spare.drop(third)
    assert not third.exists()
    assert not third.parent.exists()


@pytest.mark.parametrize(("limit", "value"), [("_MOST_FILES", 2), ("_MOST_BYTES", 14)])
def test_a_large_context_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(contexts, limit, value)
    spare, large = Spare(), made(tmp_path, 3)
    small = kept(spare, made(tmp_path, 2))
    assert spare.put(large) is None
    assert not large.exists()
    assert spare.take() == small


def test_a_context_that_cannot_be_kept_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    spare, root = Spare(), made(tmp_path)
    monkeypatch.setattr(Path, "rename", broken)
    assert spare.put(root) is None
    assert not root.exists()
    assert spare.take() is None


def test_a_place_that_goes_while_it_is_looked_for_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, told = os.mkdir, list[Path]()

    def mkdir(path: Path, mode: int = 0o777) -> None:
        if Path(path).name == "contexts" and not told:
            told.append(path)
            raise FileExistsError(errno.EEXIST, "it was there a moment ago")
        really(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert context_directory(tmp_path).is_dir()
    assert told


def test_a_file_in_the_place_of_contexts_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "contexts").write_text("")
    with pytest.raises(SystemFault, match="not a directory"):
        context_directory(tmp_path)
