"""Paths are walked with a directory as their root, whatever links say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.build.files.rooted import locate, parts
from wherry.build.files.sources import clean, expand
from wherry.errors import InvalidInput, NotFound
from wherry.linux.fd import Fd


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "usr/lib").mkdir(parents=True)
    (made / "usr/lib/file").write_text("1")
    (made / "lib").symlink_to("usr/lib")
    (made / "absolute").symlink_to("/usr/lib")
    (made / "out").symlink_to("../../../../usr")
    (made / "dangling").symlink_to("/opt/none")
    (made / "loop").symlink_to("loop")
    (tmp_path / "usr").mkdir()
    return made


@pytest.fixture
def fd(root: Path) -> Iterator[int]:
    with Fd(os.open(root, os.O_PATH)) as opened:
        yield opened.fileno()


def where(fd: int, path: str, *, follow: bool = True) -> tuple[str, bool]:
    with locate(fd, path.encode(), follow=follow) as place:
        return place.path.decode(), place.status is not None


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", ("", True)),
        ("/", ("", True)),
        ("usr/lib/file", ("usr/lib/file", True)),
        ("//usr/./lib//file/", ("usr/lib/file", True)),
        ("lib/file", ("usr/lib/file", True)),
        ("absolute/file", ("usr/lib/file", True)),
        ("out/lib/file", ("usr/lib/file", True)),
        ("out/../../../lib/../lib/file", ("usr/lib/file", True)),
        ("../../../usr/lib/none", ("usr/lib/none", False)),
        ("lib/..", ("usr", True)),
    ],
)
def test_a_path_leads_where_it_would_after_chroot(fd: int, path: str, found: tuple[str, bool]) -> None:
    assert where(fd, path) == found


def test_the_last_link_is_followed_or_not(fd: int) -> None:
    assert where(fd, "lib") == ("usr/lib", True)
    assert where(fd, "lib", follow=False) == ("lib", True)
    with pytest.raises(NotFound, match="lstat /dangling: no such file or directory"):
        where(fd, "dangling")


def test_what_is_on_the_way_must_be_a_directory(fd: int) -> None:
    with pytest.raises(InvalidInput, match="not a directory"):
        where(fd, "usr/lib/file/x")
    with pytest.raises(NotFound):
        where(fd, "none/x")
    with pytest.raises(InvalidInput, match="symbolic links"):
        where(fd, "loop/x")
    with pytest.raises(InvalidInput, match="too long"):
        where(fd, "a/" * 3000)


def test_missing_directories_are_made_where_links_lead(fd: int, root: Path) -> None:
    made: list[bytes] = []

    def make(directory: int, name: bytes) -> None:
        made.append(name)
        os.mkdir(name, dir_fd=directory)

    with locate(fd, b"dangling/deep/file", make=make) as place:
        assert place.path == b"opt/none/deep/file"
    assert made == [b"opt", b"none", b"deep"]
    assert (root / "opt/none/deep").is_dir()


def test_names_of_a_path() -> None:
    assert parts(b"/a/./b//../c/") == [b"a", b"c"]
    assert clean("../../x") == b"x"
    with pytest.raises(InvalidInput):
        clean("a\0b")
    with pytest.raises(InvalidInput):
        clean("\ud800")


def test_wildcards_do_not_cross_slashes_nor_follow_links_on_their_way(fd: int) -> None:
    def found(source: str, *, wildcards: bool = True) -> list[bytes]:
        return expand(fd, source, wildcards=wildcards, follow=True)

    assert found("/u*") == [b"usr"]
    assert found("/*/lib") == [b"usr/lib"]
    assert found("/*/*/file") == [b"usr/lib/file"]
    assert found("/lib/f*") == [b"usr/lib/file"]
    assert found("/l*") == [b"lib", b"loop"]
    assert found("/usr/lib/file/*") == []
    assert found("/none") == [b"none"]
    assert found("/u*", wildcards=False) == [b"u*"]
    with pytest.raises(NotFound, match="lstat /none"):
        found("/none/*")
    with pytest.raises(InvalidInput):
        found("/[")
