"""Files of a former tree in the place of new ones: the result is what it would be without."""

from __future__ import annotations

import io
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from support.archives import Member, directory, link, member, tar
from wherry.errors import WherryError
from wherry.layers.limits import DEFAULT_LIMITS
from wherry.layers.reuse import Reuse, rewrite
from wherry.layers.tar.entry import Entry
from wherry.layers.unpack import unpack_files
from wherry.linux import trees
from wherry.linux.fd import Fd


def of_this_user(entry: Entry) -> None:
    entry.uid, entry.gid = os.geteuid(), os.getegid()


def unpack(members: list[Member], target: Path, former: Path | None = None) -> None:
    target.mkdir()
    with Fd(os.open(target, trees.DIRECTORY)) as root:
        if former is None:
            unpack_files(io.BytesIO(tar(members)), root.fileno(), DEFAULT_LIMITS, of_this_user)
            return
        with Reuse(Fd(os.open(former, trees.DIRECTORY))) as reuse:
            unpack_files(io.BytesIO(tar(members)), root.fileno(), DEFAULT_LIMITS, of_this_user, reuse)


def looks(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that can be seen of a tree, but who is whose inode."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        attributes = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]
        found[str(path.relative_to(root))] = (
            status.st_mode, *((0, 0) if path.is_dir() else (status.st_mtime_ns, status.st_nlink)), content, attributes,
        )  # fmt: skip
    return found


def inodes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.lstat().st_ino for path in root.rglob("*") if path.is_file()}


FORMER = [
    directory("d"), member("d/same", b"1" * 5000), member("d/longer", b"2" * 5000), member("d/shorter", b"3"),
    member("d/tail", b"4" * 5000), member("gone", b"5"), link("was_link", "/etc/passwd"), member("twice", b"6"),
    link("also_twice", "twice", hard=True), directory("was_directory"), member("was_directory/file", b"7"),
    link("through", "d"), member("file_now_directory", b"8"),
]  # fmt: skip
NOW = [
    directory("d"), member("d/same", b"1" * 5000, mode=0o600, mtime=7), member("d/longer", b"2" * 9),
    member("d/shorter", b"3" * 9000), member("d/tail", b"4" * 4999 + b"!"), member("was_link", b"new"),
    member("twice", b"6"), member("was_directory", b"a file"), member("through/same", b"in a new directory"),
    member("file_now_directory/x", b"9"), member("d/same", b"the second one counts"), member("empty"),
    link("link_of_new", "d/tail", hard=True),
]  # fmt: skip


def test_a_tree_is_the_same_whatever_was_there_before(tmp_path: Path) -> None:
    unpack(FORMER, tmp_path / "former")
    unpack(NOW, tmp_path / "alone")
    before = inodes(tmp_path / "former")
    unpack(NOW, tmp_path / "again", tmp_path / "former")
    assert looks(tmp_path / "again") == looks(tmp_path / "alone")
    after = inodes(tmp_path / "again")
    for name in ("d/longer", "d/shorter", "d/tail"):
        assert after[name] == before[name]


@pytest.mark.slow
def test_trees_of_chance_are_the_same_whatever_was_there_before(tmp_path: Path) -> None:
    chance = random.Random(5)
    names = ["a", "b", "a/x", "a/y", "b/x", "b/x/z", "c"]

    def some() -> list[Member]:
        makers: list[Callable[[str], Member]] = [
            lambda name: member(name, chance.randbytes(chance.choice([0, 3, 600, 70_000]))),
            lambda name: member(name, b"always", mode=chance.choice([0o600, 0o644, 0o400, 0o755])),
            directory,
            lambda name: link(name, chance.choice(names)),
            lambda name: link(name, chance.choice(names), hard=True),
        ]
        return [chance.choice(makers)(chance.choice(names)) for _ in range(chance.randrange(12))]

    worked = 0
    for number in range(300):
        here = tmp_path / str(number)
        here.mkdir()
        former, now = some(), some()
        outcomes = []
        try:
            unpack(former, here / "former")
        except WherryError:
            continue
        for name, given in (("alone", None), ("again", here / "former")):
            try:
                unpack(now, here / name, given)
                outcomes.append("")
            except WherryError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1], now
        assert looks(here / "again") == looks(here / "alone"), (former, now)
        worked += not outcomes[0]
    assert worked > 10


def test_a_file_with_another_name_elsewhere_is_not_touched(tmp_path: Path) -> None:
    unpack([member("a", b"old")], tmp_path / "former")
    os.link(tmp_path / "former/a", tmp_path / "kept")
    unpack([member("a", b"new")], tmp_path / "again", tmp_path / "former")
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert (tmp_path / "again/a").read_bytes() == b"new"


def test_links_and_pipes_of_a_former_tree_are_neither_followed_nor_opened(tmp_path: Path) -> None:
    (tmp_path / "outside/sub").mkdir(parents=True)
    (tmp_path / "outside/a").write_text("outside")
    (tmp_path / "outside/sub/a").write_text("outside")
    former = tmp_path / "former"
    former.mkdir()
    (former / "d").symlink_to(tmp_path / "outside")
    (former / "l").symlink_to(tmp_path / "outside/a")
    os.mkfifo(former / "p")
    unpack(
        [member("d/a", b"1"), member("l", b"2"), member("p", b"3"), member("d/sub/a", b"4")], tmp_path / "again", former
    )
    assert (tmp_path / "outside/a").read_text() == (tmp_path / "outside/sub/a").read_text() == "outside"
    assert {name: entry[3] for name, entry in looks(tmp_path / "again").items() if entry[3]} == {
        "d/a": b"1", "l": b"2", "p": b"3", "d/sub/a": b"4",
    }  # fmt: skip
    assert stat.S_ISFIFO((former / "p").lstat().st_mode)


def test_what_is_in_the_way_is_removed_as_if_there_was_no_former_file(tmp_path: Path) -> None:
    unpack([member("x", b"former")], tmp_path / "former")
    way = [directory("d"), link("x", "d"), member("x/f", b"1"), member("x", b"2")]
    unpack(way, tmp_path / "again", tmp_path / "former")
    assert {name: entry[3] for name, entry in looks(tmp_path / "again").items() if entry[3]} == {"d/f": b"1", "x": b"2"}
    unpack([member("x", b"former")], tmp_path / "former2")
    with pytest.raises(WherryError, match="uses a file as a directory"):
        unpack([*way, member("x/g", b"3")], tmp_path / "other", tmp_path / "former2")
    assert not (tmp_path / "other/d/g").exists()


def test_attributes_of_a_former_file_do_not_stay(tmp_path: Path) -> None:
    unpack([member("a", b"1")], tmp_path / "former")
    try:
        os.setxattr(tmp_path / "former/a", "user.old", b"1")
    except OSError:
        pytest.skip("this file system has no attributes")
    unpack([member("a", b"1")], tmp_path / "again", tmp_path / "former")
    assert [name for name in os.listxattr(tmp_path / "again/a") if name.startswith("user.")] == []
    assert not (tmp_path / "former/a").exists()


@pytest.mark.parametrize("old", [b"", b"a", b"abcdef", b"abcxef", b"abcdefghi", b"x" * 100])
def test_a_file_is_given_another_content_in_any_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes
) -> None:
    really = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: really(fd, bytes(data)[:2], offset))
    for sizes in ((6,), (1, 2, 3), (3, 3), (5, 1)):
        (tmp_path / "file").write_bytes(old)
        pieces, rest = [], memoryview(b"abcdef")
        for size in sizes:
            pieces.append(rest[:size])
            rest = rest[size:]
        with Fd(os.open(tmp_path / "file", os.O_RDWR)) as fd:
            rewrite(fd.fileno(), pieces)
        assert (tmp_path / "file").read_bytes() == b"abcdef"
