"""Trees of any depth are walked and removed without recursion, with few descriptors, by no path."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from wherry.linux import trees
from wherry.linux.trees import Descent, Files, unrolled

DEEP = 2500  # 5,000 bytes, more than a path may have; and more than Python recurses


def dig(path: Path, depth: int, name: str = "d") -> None:
    """Make directories one in another, with a file at the bottom."""
    fd = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    former = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, former)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    return path


@pytest.mark.usefixtures("few_descriptors")
def test_a_tree_is_removed_however_deep_it_is(tree: Path) -> None:
    dig(tree, DEEP)
    dig(tree, 40, "another")
    trees.remove(tree)
    assert not tree.exists()


def test_links_are_removed_and_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tree / "link").symlink_to(tmp_path / "kept")
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    (tmp_path / "to-tree").symlink_to(tree)
    trees.remove(tmp_path / "to-tree")
    assert tree.exists()
    trees.remove(tree)
    trees.remove(tree)  # a missing one is no error
    assert {path.name for path in tmp_path.rglob("*")} == {"kept", "file"}


def test_more_names_than_are_read_at_once_are_removed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "_BATCH", 7)
    for number in range(40):
        (tree / f"file{number}").touch()
        (tree / f"folder{number}").mkdir()
    trees.remove(tree)
    assert not tree.exists()


def test_what_can_be_removed_goes_though_something_cannot(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tree / name / "inner").mkdir(parents=True)
        (tree / name / "file").touch()
    (tree / "b" / "stuck").touch()
    really = os.unlink

    def unlink(name: Any, *, dir_fd: int | None = None) -> None:
        if name == "stuck":
            raise OSError(16, "busy")
        really(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(OSError, match="busy"):
        trees.remove(tree)
    assert {str(path.relative_to(tree)) for path in tree.rglob("*")} == {"b", "b/stuck"}


@pytest.mark.usefixtures("few_descriptors")
def test_all_files_are_found_with_their_place(tree: Path) -> None:
    dig(tree, DEEP)
    (tree / "d" / "side").mkdir()
    (tree / "d" / "side" / "file").write_text("12345")
    files = Files(tree)
    found = {name: (files.path(name), status) for name, status in files}
    assert found["bottom"][0] == "d/" * DEEP + "bottom"
    assert found["file"][0] == "d/side/file"
    assert found["file"][1].st_size == 5
    trees.remove(tree)


def test_what_is_missing_has_no_files(tmp_path: Path) -> None:
    assert list(Files(tmp_path / "nothing")) == []
    (tmp_path / "file").touch()
    assert list(Files(tmp_path / "file")) == []


def test_a_directory_that_was_moved_ends_the_walk_instead_of_leading_elsewhere(tree: Path) -> None:
    (tree / "a/b/c/d").mkdir(parents=True)
    (tree / "elsewhere").mkdir()
    with Descent.open(tree, held=2) as descent:
        for name in ("a", "b", "c", "d"):
            descent.enter(name)
        descent.leave()
        (tree / "a/b/c").rename(tree / "elsewhere/c")
        with pytest.raises(OSError, match="moved"):
            descent.leave()


def test_a_recursive_generator_runs_without_recursion() -> None:
    def count(depth: int) -> Generator[Any, None, None]:
        yield depth
        if depth:
            yield count(depth - 1)
        yield -depth

    assert list(unrolled(count(DEEP))) == [*range(DEEP, -1, -1), *range(0, -DEEP - 1, -1)]


def test_a_status_is_that_of_a_link_itself(tree: Path) -> None:
    (tree / "link").symlink_to("/")
    [(_, status)] = Files(tree)
    assert stat.S_ISLNK(status.st_mode)
