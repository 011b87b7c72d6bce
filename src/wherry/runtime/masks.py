"""Hiding parts of /proc and /sys, making parts read-only, and writing kernel settings.

These decide what a container can learn and change of the host, so what they act on is verified by descriptor: that it
is on the file system it should be on, and that what hides it is what it should be (CVE-2025-31133, CVE-2025-52881).
"""

from __future__ import annotations

import os
import stat
from typing import Final, NamedTuple

from wherry.errors import InvalidInput, SystemFault
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.mount import AT, MOUNT_ATTR, OPEN_TREE, mount_setattr, open_tree, statfs
from wherry.runtime import targets
from wherry.runtime.context import Context
from wherry.runtime.mounts import attach, new_file_system

__all__ = ["PROC_SUPER_MAGIC", "MaskPaths", "ReadOnlyPaths", "Sysctl"]

#: linux/magic.h
PROC_SUPER_MAGIC: Final = 0x9FA0
_NULL_DEVICE: Final = os.makedev(1, 3)
_HIDDEN: Final = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC
#: Not NODEV: the null device has to work.
_NULL_ATTRIBUTES: Final = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC


class MaskPaths(NamedTuple):
    """Hide files behind the null device, and directories behind an empty one; what does not exist needs no hiding.

    :param paths: each with whether it must lie on procfs.
    """

    paths: tuple[tuple[str, bool], ...]

    def describe(self) -> str:
        return "mask " + ", ".join(path for path, _ in self.paths)

    def apply(self, context: Context) -> None:
        empty: Fd | None = None
        for path, on_proc in self.paths:
            target = _opened(context.root, path, on_proc)
            if target is None:
                continue
            with target:
                if stat.S_ISDIR(os.fstat(target.fileno()).st_mode):
                    empty = _hide_directory(target, empty)
                else:
                    _hide_file(target)


def _opened(root: Fd, path: str, on_proc: bool) -> Fd | None:
    fd = targets.existing(root, path)
    if fd is not None and on_proc and statfs(fd).f_type != PROC_SUPER_MAGIC:
        raise SystemFault(f"{path!r} in the container is not on procfs, although nothing was to be mounted there")
    return fd


def _hide_directory(target: Fd, empty: Fd | None) -> Fd:
    """Put an empty directory there; one is made and the others are copies of its mount."""
    if empty is None:
        options = (("mode", "0555"), ("nr_blocks", "1"), ("nr_inodes", "1"))
        tree = new_file_system("tmpfs", "tmpfs", options, _HIDDEN)
    else:
        tree = open_tree(empty, "", OPEN_TREE.CLONE | AT.EMPTY_PATH)
    attach(tree, target)
    return tree


def _hide_file(target: Fd) -> None:
    """Put the host's null device there.

    The container's own could have been exchanged by whoever shares its /dev. A read-only mount of it lets nobody change
    the mode of the host's node, while writing to the device works.
    """
    with open_tree(AT_FDCWD, "/dev/null", OPEN_TREE.CLONE) as null:
        status = os.fstat(null.fileno())
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL_DEVICE:
            raise SystemFault("the host's /dev/null is not the null device")
        mount_setattr(null, "", AT.EMPTY_PATH, _NULL_ATTRIBUTES)
        attach(null, target)


class ReadOnlyPaths(NamedTuple):
    """Make trees read-only; ``paths`` as in :class:`MaskPaths`."""

    paths: tuple[tuple[str, bool], ...]

    def describe(self) -> str:
        return "make read-only " + ", ".join(path for path, _ in self.paths)

    def apply(self, context: Context) -> None:
        for path, on_proc in self.paths:
            target = _opened(context.root, path, on_proc)
            if target is None:
                continue
            with target, open_tree(target, "", OPEN_TREE.CLONE | AT.EMPTY_PATH | AT.RECURSIVE) as tree:
                mount_setattr(tree, "", AT.EMPTY_PATH, MOUNT_ATTR.RDONLY)
                attach(tree, target)


class Sysctl(NamedTuple):
    """Write kernel settings; ``settings`` are pairs of the path below /proc/sys and the value."""

    settings: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        return "set " + ", ".join(f"{path.replace('/', '.')}={value}" for path, value in self.settings)

    def apply(self, context: Context) -> None:
        proc = context.proc or Fd(os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        if statfs(proc).f_type != PROC_SUPER_MAGIC:
            raise SystemFault("/proc is not procfs")
        for path, value in self.settings:
            _write_setting(proc, path, value)


def _write_setting(proc: Fd, path: str, value: str) -> None:
    # Neither a link nor another mount may lie on the way: the value must reach the setting that was checked.
    resolve = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_XDEV
    with openat2(proc, f"sys/{path}", os.O_WRONLY, resolve=resolve) as fd:
        try:
            os.write(fd.fileno(), value.encode())
        except OSError as error:
            name = path.replace("/", ".")
            raise InvalidInput(f"the kernel refused sysctl {name}={value!r}", cause=error.strerror) from error
