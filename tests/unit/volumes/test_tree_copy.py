"""A tree is copied as it is, whatever it is like, and whatever happens to it meanwhile."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.linux import trees
from wherry.linux.fd import Fd
from wherry.linux.trees import DIRECTORY, Files
from wherry.volumes.size import size_of_tree
from wherry.volumes.tree_copy import Copied, DirectorySource, copy_tree

DEEP = 1100  # more than Python recurses


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "source"
    path.mkdir()
    yield path
    trees.remove(path)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "target"
    trees.remove(tmp_path / "target")


def copy(source: Path, target: Path, *, specials: bool = True, check: Callable[[], object] = lambda: None) -> Copied:
    links = target.with_name("links")
    target.mkdir()
    links.mkdir()
    with (
        DirectorySource.open_path(source) as come_from,
        Fd(os.open(target, DIRECTORY)) as into,
        Fd(os.open(links, DIRECTORY)) as beside,
    ):
        return copy_tree(come_from, into.fileno(), beside.fileno(), specials=specials, check=check)


def test_kinds_modes_and_times_are_the_same(source: Path, target: Path) -> None:
    (source / "directory").mkdir(mode=0o711)
    (source / "directory" / "file").write_text("content")
    (source / "directory" / "file").chmod(0o640)
    os.mkfifo(source / "fifo", 0o604)
    os.mknod(source / "socket", stat.S_IFSOCK | 0o600)
    (source / "link").symlink_to("../../nowhere")
    for name, time in (("directory/file", 1), ("fifo", 2), ("socket", 3), ("link", 4), ("directory", 5), (".", 6)):
        os.utime(source / name, ns=(time * 10**9 + 7, time * 10**9), follow_symlinks=False)
    source.chmod(0o750)
    copied = copy(source, target)
    assert (copied.entries, copied.size, copied.left_out) == (5, 20, 0)
    assert copied.size == size_of_tree(str(source))
    assert (target / "directory/file").read_text() == "content"
    assert (target / "link").readlink() == Path("../../nowhere")
    for name in ("directory/file", "directory", "fifo", "socket", "link", "."):
        before, after = os.lstat(source / name), os.lstat(target / name)
        assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns), name


def test_names_of_one_file_stay_names_of_one_file(source: Path, target: Path) -> None:
    (source / "one").write_text("1")
    (source / "below").mkdir()
    (source / "below" / "two").hardlink_to(source / "one")
    (source / "three").hardlink_to(source / "one")
    os.mkfifo(source / "fifo")
    (source / "another").hardlink_to(source / "fifo")
    copy(source, target)
    assert len({os.stat(target / name).st_ino for name in ("one", "below/two", "three")}) == 1
    assert os.stat(target / "fifo").st_ino == os.stat(target / "another").st_ino
    trees.remove(target.with_name("links"))
    assert os.stat(target / "one").st_nlink == 3


def test_holes_stay_holes(source: Path, target: Path) -> None:
    with open(source / "sparse", "wb") as file:
        file.truncate(1 << 32)
        file.seek(1 << 31)
        file.write(b"in the middle")
    copy(source, target)
    status = os.stat(target / "sparse")
    assert status.st_size == 1 << 32
    assert status.st_blocks * 512 < 1 << 20
    with open(target / "sparse", "rb") as file:
        file.seek(1 << 31)
        assert file.read(13) == b"in the middle"


@pytest.mark.usefixtures("few_descriptors")
def test_depth_and_width_do_not_matter(source: Path, target: Path) -> None:
    (source / "wide").mkdir()
    for number in range(300):  # several pieces of a directory, with directories between
        (source / "wide" / f"{number:0200}").mkdir()
    here = Fd(os.open(source, DIRECTORY))
    for depth in range(DEEP):
        with here:
            os.mkdir("deep", dir_fd=here.fileno())
            if depth % 50 == 0:
                os.mkdir("another", dir_fd=here.fileno())
            here = Fd(os.open("deep", DIRECTORY, dir_fd=here.fileno()))
    here.close()
    copied = copy(source, target)
    assert copied.entries == 1 + 300 + DEEP + DEEP // 50 == sum(1 for _ in Files(target))


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    former = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, former)


def test_what_is_special_can_be_left_out(source: Path, target: Path) -> None:
    os.mkfifo(source / "fifo")
    (source / "file").touch()
    assert copy(source, target, specials=False) == Copied(entries=1, size=0, left_out=1)
    assert os.listdir(target) == ["file"]


def test_what_is_exchanged_for_a_link_or_a_fifo_meanwhile_is_not_followed(source: Path, target: Path) -> None:
    secret = source.with_name("secret")
    secret.mkdir()
    (secret / "key").write_text("secret")
    for name in ("directory", "file", "pipe", "gone"):
        (source / name).mkdir() if name == "directory" else (source / name).touch()

    with DirectorySource.open_path(source) as come_from:  # has read the names
        (source / "directory").rmdir()
        (source / "directory").symlink_to(secret)
        (source / "file").unlink()
        (source / "file").symlink_to(secret / "key")
        (source / "pipe").unlink()
        os.mkfifo(source / "pipe")
        (source / "gone").unlink()
        target.mkdir()
        target.with_name("links").mkdir()
        with Fd(os.open(target, DIRECTORY)) as into, Fd(os.open(target.with_name("links"), DIRECTORY)) as beside:
            copy_tree(come_from, into.fileno(), beside.fileno())
    assert os.listdir(target) == ["directory"]
    assert (target / "directory").readlink() == secret


def test_a_check_ends_it(source: Path, target: Path) -> None:
    (source / "file").touch()

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(Exception, match="cannot copy"):
        copy(source, target, check=stop)
