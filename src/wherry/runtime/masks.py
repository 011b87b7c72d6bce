"""Hiding parts of /proc and /sys, making parts read-only, and writing kernel settings.

These decide what a container can learn and change of the host, so what they act on is verified by descriptor: that it
is on the file system it should be on, and that what hides it is what it should be (CVE-2025-31133, CVE-2025-52881).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
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
_RDONLY: Final = int(MOUNT_ATTR.RDONLY)
_HIDDEN: Final = int(MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC)
#: Not NODEV: the null device has to work.
_NULL_ATTRIBUTES: Final = int(MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC)
_EMPTY_PATH: Final = int(AT.EMPTY_PATH)
_COPY: Final = int(OPEN_TREE.CLONE) | _EMPTY_PATH
_COPY_ALL: Final = _COPY | int(AT.RECURSIVE)


class MaskPaths(NamedTuple):
    """Hide files behind the null device, and directories behind an empty one; what does not exist needs no hiding.

    :param paths: each with whether it must lie on procfs.
    """

    paths: tuple[tuple[str, bool], ...]

    def describe(self) -> str:
        return "mask " + ", ".join(path for path, _ in self.paths)

    def apply(self, context: Context) -> None:
        empty: Fd | None = None
        null: Fd | None = None
        for path, on_proc in self.paths:
            target = _opened(context.root, path, on_proc)
            if target is None:
                continue
            with target:
                if stat.S_ISDIR(os.fstat(target.fileno()).st_mode):
                    empty = _put(empty, target, _empty_directory)
                else:
                    null = _put(null, target, _null_device)


def _opened(root: Fd, path: str, on_proc: bool) -> Fd | None:
    fd = targets.existing(root, path)
    if fd is not None and on_proc and statfs(fd).f_type != PROC_SUPER_MAGIC:
        raise SystemFault(f"{path!r} in the container is not on procfs, although nothing was to be mounted there")
    return fd


def _put(first: Fd | None, target: Fd, make: Callable[[], Fd]) -> Fd:
    """Put what hides there: one is made, and the others are copies of its mount."""
    if first is None:
        first = make()
        attach(first, target)
        return first
    with open_tree(first, "", _COPY) as copy:
        attach(copy, target)
    return first


def _empty_directory() -> Fd:
    options = (("mode", "0555"), ("nr_blocks", "1"), ("nr_inodes", "1"))
    return new_file_system("tmpfs", "tmpfs", options, _HIDDEN)


def _null_device() -> Fd:
    """Return a mount of the host's null device.

    The container's own could have been exchanged by whoever shares its /dev. A read-only mount of it lets nobody change
    the mode of the host's node, while writing to the device works.
    """
    null = open_tree(AT_FDCWD, "/dev/null", OPEN_TREE.CLONE)
    status = os.fstat(null.fileno())
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL_DEVICE:
        raise SystemFault("the host's /dev/null is not the null device")
    mount_setattr(null, "", _EMPTY_PATH, _NULL_ATTRIBUTES)
    return null


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
            with target, open_tree(target, "", _COPY_ALL) as tree:
                mount_setattr(tree, "", _EMPTY_PATH, _RDONLY)
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
