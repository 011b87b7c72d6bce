"""Mounting, as root, each test in a mount namespace of its own."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from support.children import in_child, need, need_root
from wherry.errors import SystemCallError
from wherry.linux import files, mount, namespaces, process
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import AT, MNT_DETACH, MOUNT_ATTR, MOVE_MOUNT, MS, OPEN_TREE
from wherry.linux.process import CLONE

T = TypeVar("T")


@pytest.fixture(autouse=True)
def root() -> None:
    need_root()


def apart(function: Callable[[], T], flags: int = 0) -> T:
    """Run in a child with a mount namespace of its own that tells the host nothing."""

    def work() -> T:
        mount.mount(None, "/", None, MS.REC | MS.PRIVATE)
        return function()

    return in_child(work, fork=lambda: process.clone(CLONE.NEWNS | flags)[0])


def tmpfs(options: dict[str, str], attrs: int = 0) -> Fd:
    with mount.fsopen("tmpfs") as context:
        for key, value in options.items():
            mount.fsconfig_string(context, key, value)
        mount.fsconfig_create(context)
        return mount.fsmount(context, attrs)


def options_of(target: Path) -> set[str]:
    """The options of the mount at a path, as /proc/self/mountinfo has them."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        fields = line.split()
        if fields[4] == str(target):
            return {*fields[5].split(","), *fields[6 : fields.index("-")], *fields[-1].split(",")}
    return set()


def test_a_detached_mount_is_attached_by_descriptor(tmp_path: Path) -> None:
    def work() -> tuple[set[str], bool]:
        with tmpfs({"size": "1m", "mode": "0700"}, MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV) as made:
            mount.move_mount(made, "", AT_FDCWD, tmp_path, MOVE_MOUNT.F_EMPTY_PATH)
        found = options_of(tmp_path)
        mount.umount2(tmp_path, MNT_DETACH)
        return found, bool(options_of(tmp_path))

    found, still = apart(work)
    assert {"nosuid", "nodev", "size=1024k", "mode=700"} <= found
    assert not still


def test_the_old_call_binds_and_remounts(tmp_path: Path) -> None:
    def work() -> set[str]:
        mount.mount("/proc", tmp_path, None, MS.BIND)
        mount.mount(None, tmp_path, None, MS.REMOUNT | MS.BIND | MS.RDONLY | MS.NOEXEC)
        return options_of(tmp_path)

    assert {"ro", "noexec"} <= apart(work)


def test_a_tree_is_made_read_only_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    def work() -> tuple[str, str]:
        mount.mount("one", tmp_path / "a", "tmpfs")
        (tmp_path / "a/b").mkdir()
        mount.mount("two", tmp_path / "a/b", "tmpfs")
        with mount.open_tree(AT_FDCWD, tmp_path / "a", OPEN_TREE.CLONE | AT.RECURSIVE) as tree:
            mount.mount_setattr(tree, "", AT.EMPTY_PATH | AT.RECURSIVE, MOUNT_ATTR.RDONLY, propagation=MS.PRIVATE)
            outcome = []
            for name in ("x", "b/x"):
                try:
                    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=tree.fileno()))
                    outcome.append("written")
                except OSError as error:
                    outcome.append(errno.errorcode[error.errno or 0])
        (tmp_path / "a/b/y").touch()  # the original is as it was
        return outcome[0], outcome[1]

    assert apart(work) == ("EROFS", "EROFS")


def test_an_overlay_of_many_layers_is_made_layer_by_layer(tmp_path: Path) -> None:
    need(mount.has_overlay_lowerdir_append(), "overlay with lowerdir+ (Linux 6.7)")
    layers = []
    for number in range(130):
        layers.append(tmp_path / f"layer-with-a-long-name-{number}")
        layers[-1].mkdir()
        (layers[-1] / f"f{number}").touch()
    (tmp_path / "root").mkdir()

    def work() -> tuple[int, set[str]]:
        mount.mount("changes", tmp_path / "root", "tmpfs")  # an upper layer may not be on another overlay
        for name in ("upper", "work", "merged"):
            (tmp_path / "root" / name).mkdir()
        with mount.fsopen("overlay") as context:
            for layer in layers:
                mount.fsconfig_string(context, "lowerdir+", os.fspath(layer))
            mount.fsconfig_string(context, "upperdir", os.fspath(tmp_path / "root/upper"))
            mount.fsconfig_string(context, "workdir", os.fspath(tmp_path / "root/work"))
            mount.fsconfig_create(context)
            with mount.fsmount(context) as made:
                os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=made.fileno()))
                with Fd(os.open(".", os.O_RDONLY, dir_fd=made.fileno())) as listed:
                    names = os.listdir(listed.fileno())
        return len(names), set(os.listdir(tmp_path / "root/upper"))

    assert apart(work) == (131, {"new"})


def refusal(fstype: str, *options: tuple[str, str]) -> str:
    """What a file system with these options answers."""

    def work() -> str:
        with mount.fsopen(fstype) as context:
            try:
                for key, value in options:
                    mount.fsconfig_string(context, key, value)
                mount.fsconfig_create(context)
            except SystemCallError as error:
                return str(error)
        return ""

    return apart(work)


def test_a_refused_option_is_explained_in_the_file_systems_own_words() -> None:
    assert "Unknown parameter" in refusal("tmpfs", ("nosuchoption", "1"))


def test_a_refusal_without_words_points_at_the_kernel_log(tmp_path: Path) -> None:
    assert "kernel log" in refusal("overlay", ("lowerdir", os.fspath(tmp_path)), ("upperdir", os.fspath(tmp_path)))


def test_an_unknown_file_system_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemCallError, match="does not have this file system"):
        mount.fsopen("nosuchfs")
    with pytest.raises(SystemCallError, match="type nosuchfs"):
        mount.mount("none", tmp_path, "nosuchfs")


def test_pivot_root_onto_itself_leaves_the_old_root_behind(tmp_path: Path) -> None:
    def work() -> list[str]:
        mount.mount("new", tmp_path, "tmpfs")
        (tmp_path / "only").touch()
        os.chdir(tmp_path)
        mount.pivot_root(".", ".")
        mount.umount2(".", MNT_DETACH)
        os.chdir("/")
        return os.listdir("/")

    assert apart(work) == ["only"]


def test_an_id_mapped_mount_shows_other_owners(tmp_path: Path) -> None:
    need(mount.has_mount_setattr(), "mount_setattr (Linux 5.12)")
    (tmp_path / "file").touch()

    def work() -> int:
        reader, writer = os.pipe()
        pid, pidfd = process.clone(CLONE.NEWUSER)
        if pid == 0:
            os.read(reader, 1)
            os._exit(0)
        Path(f"/proc/{pid}/uid_map").write_text("0 100000 65536")
        Path(f"/proc/{pid}/gid_map").write_text("0 100000 65536")
        with namespaces.open_namespace(pid, "user") as users:
            os.write(writer, b"x")
            assert pidfd is not None
            process.waitid_pidfd(pidfd)
            with mount.open_tree(AT_FDCWD, tmp_path, OPEN_TREE.CLONE) as tree:
                mount.mount_setattr(tree, "", AT.EMPTY_PATH, MOUNT_ATTR.IDMAP, userns_fd=users)
                return os.stat("file", dir_fd=tree.fileno()).st_uid

    assert apart(work) == 100000


def test_a_mounted_file_system_is_reconfigured(tmp_path: Path) -> None:
    def work() -> set[str]:
        mount.mount("x", tmp_path, "tmpfs", 0, "size=1m")
        with mount.fspick(AT_FDCWD, tmp_path) as context:
            mount.fsconfig_string(context, "size", "2m")
            mount.fsconfig_reconfigure(context)
        return options_of(tmp_path)

    assert "size=2048k" in apart(work)


def test_what_is_busy_stays_with_a_hint(tmp_path: Path) -> None:
    def work() -> str:
        mount.mount("x", tmp_path, "tmpfs")
        with Fd(os.open(tmp_path, os.O_RDONLY)):
            try:
                mount.umount2(tmp_path)
            except SystemCallError as error:
                return str(error)
        return ""

    assert "still uses it" in apart(work)


def test_openat2_does_not_cross_into_another_mount_when_told_so() -> None:
    with Fd(os.open("/", os.O_PATH)) as top, pytest.raises(SystemCallError, match="RESOLVE_NO_XDEV"):
        files.openat2(top, "proc/self", os.O_PATH, resolve=files.RESOLVE.NO_XDEV)
