"""What only root can copy, and what file systems can share."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from machine import search_path
from support.needs import need
from wherry.errors import OutOfSpace
from wherry.layers.overlay_view import MergedTree
from wherry.layers.whiteouts import make_opaque, make_whiteout
from wherry.linux.fd import Fd
from wherry.linux.trees import DIRECTORY
from wherry.volumes.tree_copy import Copied, DirectorySource, LayersSource, Source, copy_tree

pytestmark = need("root")

CAPABILITY = b"\x01\x00\x00\x02" + b"\x00\x20" + bytes(14)
#: Version 2; user::rwx, user:7:r-x, group::r-x, mask::rwx, other::---.
ACL = bytes.fromhex("0200000001000700ffffffff020005000700000004000500ffffffff10000700ffffffff20000000ffffffff")


def copy(source: Source, target: Path) -> Copied:
    links = target.with_name(target.name + "-links")
    target.mkdir()
    links.mkdir()
    with Fd(os.open(target, DIRECTORY)) as into, Fd(os.open(links, DIRECTORY)) as beside:
        return copy_tree(source, into.fileno(), beside.fileno())


def test_owners_attributes_and_devices_are_the_same(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "directory").mkdir(parents=True)
    os.setxattr(source / "directory", "system.posix_acl_default", ACL)
    (source / "directory" / "program").write_text("x")
    program = source / "directory" / "program"
    os.chown(program, 1000, 2000)
    program.chmod(0o6755)
    os.setxattr(program, "security.capability", CAPABILITY)
    os.setxattr(program, "trusted.overlay.opaque", b"y")  # of a container that runs containers
    (source / "plain").touch()
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(source / "whiteout", stat.S_IFCHR | 0o600, 0)
    (source / "link").symlink_to("plain")
    os.chown(source / "link", 5, 6, follow_symlinks=False)
    os.chown(source, 7, 8)
    with DirectorySource.open_path(source) as come_from:
        copy(come_from, target)
    for name in (".", "directory", "directory/program", "plain", "null", "whiteout", "link"):
        before, after = os.lstat(source / name), os.lstat(target / name)
        for what in ("st_mode", "st_uid", "st_gid", "st_rdev", "st_mtime_ns"):
            assert getattr(before, what) == getattr(after, what), (name, what)
        assert attributes(source / name) == attributes(target / name), name


def attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def test_what_is_mounted_below_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "mounted").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", source / "mounted"], check=True)
    try:
        (source / "mounted" / "file").touch()
        with DirectorySource.open_path(source) as come_from:
            copy(come_from, tmp_path / "without")
        with DirectorySource(Fd(os.open(source, DIRECTORY)), other_mounts=True) as come_from:
            copy(come_from, tmp_path / "with")
    finally:
        subprocess.run(["umount", source / "mounted"], check=True)
    assert os.listdir(tmp_path / "without/mounted") == []
    assert os.listdir(tmp_path / "with/mounted") == ["file"]


def test_an_images_directory_is_copied_as_its_layers_make_it(tmp_path: Path) -> None:
    base, middle, top = (tmp_path / name for name in ("base", "middle", "top"))
    for layer in (base, middle, top):
        (layer / "data/below").mkdir(parents=True)
    (base / "data/deleted").touch()
    (base / "data/below/hidden").touch()
    (base / "data/kept").write_text("base")
    (middle / "data/kept").write_text("middle")
    (middle / "data/other").hardlink_to(middle / "data/kept")
    for layer, run in (
        (middle, lambda fd: make_whiteout(fd, b"deleted")),
        (top, lambda fd: os.chown(".", 33, 33, dir_fd=fd)),
    ):
        with Fd(os.open(layer / "data", DIRECTORY)) as directory:
            run(directory.fileno())
    with Fd(os.open(top / "data/below", DIRECTORY)) as directory:
        make_opaque(directory.fileno())
    with MergedTree.open([top, middle, base]) as tree:
        assert tree.enter(b"data")
        copied = copy(LayersSource(tree), tmp_path / "target")
    assert copied == Copied(entries=3, size=6)
    target = tmp_path / "target"
    assert sorted(os.listdir(target)) == ["below", "kept", "other"]
    assert os.listdir(target / "below") == []
    assert (target / "kept").read_text() == "middle"
    assert os.stat(target / "kept").st_ino == os.stat(target / "other").st_ino
    assert os.stat(target).st_uid == 33
    assert "trusted.overlay.opaque" not in os.listxattr(target / "below")


@pytest.fixture
def cleaning() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_contents_are_shared_where_the_file_system_can(kind: str, tmp_path: Path, cleaning: ExitStack) -> None:
    place = small_disk(tmp_path, kind, cleaning, 512)
    (place / "source").mkdir()
    with open(place / "source/file", "wb") as file:
        for _ in range(200):
            file.write(os.urandom(1 << 20))
    os.sync()
    before = os.statvfs(place).f_bfree
    with DirectorySource.open_path(place / "source") as come_from:
        copy(come_from, place / "target")
    os.sync()
    found = os.statvfs(place)
    assert (before - found.f_bfree) * found.f_frsize < 20 << 20
    assert (place / "target/file").stat().st_size == 200 << 20


def test_a_full_disk_is_told(tmp_path: Path, cleaning: ExitStack) -> None:
    place = small_disk(tmp_path, "ext4", cleaning, 16)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_bytes(bytes(1) * (32 << 20))
    with DirectorySource.open_path(tmp_path / "source") as come_from, pytest.raises(OutOfSpace):
        copy(come_from, place / "target")


def small_disk(tmp_path: Path, kind: str, cleaning: ExitStack, size: int) -> Path:
    make = shutil.which(f"mkfs.{kind}", path=search_path())
    if make is None or kind not in Path("/proc/filesystems").read_text():
        pytest.skip(f"needs {kind} and its mkfs")
    image, place = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(size << 20)
    subprocess.run([make, "-q", image], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    cleaning.callback(subprocess.run, ["umount", place], check=True)
    return place
