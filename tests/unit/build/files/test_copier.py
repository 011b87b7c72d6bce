"""Trees are copied, in directories of the test's own: no mount, no root."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from wherry.build.files.copying import copy
from wherry.build.files.roots import PlainRoot
from wherry.build.model.graph import Copy
from wherry.errors import InvalidInput, Unavailable
from wherry.layers import file_content
from wherry.linux.fd import Fd


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    made = tmp_path / "target"
    made.mkdir()
    return made


def run(source: Path, target: Path, action: Copy, check: object = None) -> None:
    with Fd(os.open(source, os.O_PATH)) as one, Fd(os.open(target, os.O_PATH)) as other:
        copy(one.fileno(), PlainRoot(other.fileno()), action, None, check if callable(check) else lambda: None)


def names(path: Path) -> list[str]:
    return sorted(str(one.relative_to(path)) for one in path.rglob("*"))


def write(path: Path, *files: str) -> None:
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)


def chosen(source: Path, target: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[str]:
    run(source, target, Copy("/", "/", contents_only=True, include=tuple(include), exclude=tuple(exclude)))
    return names(target)


def test_a_directory_comes_with_what_is_included_in_it_only(source: Path, target: Path) -> None:
    write(source, "a/b/c.txt", "a/b/d.md", "a/e.txt", "f/g.md")
    assert chosen(source, target, ["a/*/*.txt"]) == ["a", "a/b", "a/b/c.txt"]


def test_what_is_excluded_may_be_taken_back(source: Path, target: Path) -> None:
    write(source, "a/one", "a/two", "b/one")
    assert chosen(source, target, exclude=["a", "!a/two"]) == ["a", "a/two", "b", "b/one"]


def test_directories_made_for_what_is_in_them_look_like_the_sources(source: Path, target: Path) -> None:
    write(source, "a/b/c.txt")
    (source / "a").chmod(0o711)
    os.utime(source / "a", ns=(5, 5))
    chosen(source, target, ["**/*.txt"])
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o711
    assert (target / "a").stat().st_mtime_ns == 5


def test_a_directory_that_was_there_takes_over_the_looks_except_the_topmost(source: Path, target: Path) -> None:
    write(source, "d/x")
    (source / "d").chmod(0o700)
    source.chmod(0o711)
    (target / "d").mkdir(mode=0o755)
    target.chmod(0o750)
    chosen(source, target)
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o700
    assert stat.S_IMODE(target.stat().st_mode) == 0o750


def test_hard_links_stay_hard_links(source: Path, target: Path) -> None:
    write(source, "a/one", "alone")
    os.link(source / "a/one", source / "b")
    os.link(source / "a/one", source / "a/three")
    chosen(source, target)
    assert len({(target / name).stat().st_ino for name in ("a/one", "b", "a/three")}) == 1
    assert (target / "b").stat().st_nlink == 3


def test_a_link_in_the_place_of_a_directory_is_not_followed(source: Path, target: Path, tmp_path: Path) -> None:
    write(source, "d/x")
    (tmp_path / "elsewhere").mkdir()
    (target / "d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="cannot copy to non-directory: /d"):
        chosen(source, target)
    assert not os.listdir(tmp_path / "elsewhere")


def test_a_copy_stops_when_it_is_not_wanted_any_more(source: Path, target: Path) -> None:
    write(source, *(f"f{number}" for number in range(20)))
    left = 10

    def check() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unavailable("the build was cancelled")

    with pytest.raises(Unavailable):
        run(source, target, Copy("/", "/", contents_only=True), check)
    assert len(os.listdir(target)) < 12


def test_content_is_the_same_whatever_way_of_copying_the_kernel_knows(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "large").write_bytes(os.urandom(300_000))
    with (source / "sparse").open("wb") as file:
        file.truncate(5 << 20)
        file.seek(2 << 20)
        file.write(os.urandom(200_000))

    def cannot(*_: object, **__: object) -> int:
        raise OSError(errno.EXDEV, "no")

    for number in range(2):
        run(source, target, Copy("/", f"/{number}", contents_only=True))
        for name in ("large", "sparse"):
            assert (target / str(number) / name).read_bytes() == (source / name).read_bytes()
        monkeypatch.setattr(file_content.os, "copy_file_range", cannot)


def test_a_full_disk_is_an_error_of_ours(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "large").write_bytes(bytes(300_000))

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_content.os, "copy_file_range", full)
    monkeypatch.setattr(file_content.fcntl, "ioctl", full)
    with pytest.raises(OSError, match="No space left"):
        run(source, target, Copy("/large", "/x"))
