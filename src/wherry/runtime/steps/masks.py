"""Mask paths of /proc and /sys, and make paths read-only.

These decide what a container can learn and change of the host, so what they act on is verified by descriptor: that it
is on the file system it should be on, and that what hides it is what it should be (CVE-2025-31133, CVE-2025-52881).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final, NamedTuple

from wherry.errors import SystemFault
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import AT, MOUNT_ATTR, OPEN_TREE, PROC_SUPER_MAGIC, mount_setattr, open_tree, statfs
from wherry.runtime.steps import path_in_root
from wherry.runtime.steps.mounts import attach, new_file_system
from wherry.runtime.steps.step import Context

__all__ = ["MaskPaths", "ReadOnlyPaths", "null_device"]

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
                    null = _put(null, target, null_device)


def _opened(root: Fd, path: str, on_proc: bool) -> Fd | None:
    fd = path_in_root.existing(root, path)
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


def null_device() -> Fd:
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
