"""The change into a container's root: a bound or read-only one, pivot_root(2), propagation."""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from wherry.errors import InvalidInput, SystemCallError
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.mount import (
    AT,
    MNT_DETACH,
    MOUNT_ATTR,
    MOVE_MOUNT,
    MS,
    OPEN_TREE,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    umount2,
)
from wherry.runtime import channel
from wherry.runtime.steps.overlay import attach_root
from wherry.runtime.steps.step import Context

__all__ = [
    "BindRoot",
    "EnterRoot",
    "HandOverRoot",
    "MoveRoot",
    "PivotRoot",
    "ReadOnlyRoot",
    "RootPropagation",
    "SeparateHost",
]

_SLAVE_ALL: Final = int(MS.SLAVE | MS.REC)


class SeparateHost(NamedTuple):
    """Stop mounts of this namespace from reaching the host.

    :param flags: ``MS_SLAVE|MS_REC`` lets what the host mounts later still come in; ``MS_SHARED|MS_REC`` is for
        containers that mount for the host, then only the mount that the root lies on is cut off.
    :param path: where the root is going to be mounted.
    """

    flags: int
    path: str

    def describe(self) -> str:
        return "separate the mounts from the host's"

    def apply(self, context: Context) -> None:
        mount(None, "/", None, self.flags)
        if self.flags & MS.SHARED:
            _make_private(self.path)


def _make_private(path: str) -> None:
    """Make the mount that a path lies on private, as pivot_root(2) demands; only a mount's own root can be named."""
    while True:
        try:
            mount(None, path, None, MS.PRIVATE)
        except SystemCallError as error:
            if error.errno != errno.EINVAL or path == "/":
                raise
            path = os.path.dirname(path)
        else:
            return


class BindRoot(NamedTuple):
    """Use a directory of the host as the root; ``attributes`` of :class:`MOUNT_ATTR`."""

    source: str
    path: str
    attributes: int

    def describe(self) -> str:
        return f"bind the root {self.source}"

    def apply(self, context: Context) -> None:
        tree = context.prepared.pop(context.index, None)
        if tree is None:
            tree = open_tree(AT_FDCWD, self.source, OPEN_TREE.CLONE | AT.RECURSIVE)
            if self.attributes:
                mount_setattr(tree, "", AT.EMPTY_PATH, attr_set=self.attributes)
        attach_root(context, tree, self.path)


class ReadOnlyRoot(NamedTuple):
    """Make the root read-only, once all else that needs a mount point in it is there."""

    def describe(self) -> str:
        return "make the root read-only"

    def apply(self, context: Context) -> None:
        mount_setattr(context.root, "", AT.EMPTY_PATH, attr_set=MOUNT_ATTR.RDONLY)


class PivotRoot(NamedTuple):
    """Make the container's root the process's root, and unmount the host's tree."""

    def describe(self) -> str:
        return "make the container's root the process's root"

    def apply(self, context: Context) -> None:
        try:
            self._pivot(context.root)
        except SystemCallError as error:
            if error.call != "pivot_root" or error.errno != errno.EINVAL:
                raise
            # Machines that run from their initramfs: its root has no mount below it that could be exchanged.
            _put_a_mount_below_the_root()
            self._pivot(context.root)

    @staticmethod
    def _pivot(root: Fd) -> None:
        with Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as host:
            os.fchdir(root.fileno())
            pivot_root(".", ".")
            # The old root now lies on top of the new one. Its unmounting must not reach the host's.
            os.fchdir(host.fileno())
        mount(None, ".", None, _SLAVE_ALL)
        umount2(".", MNT_DETACH)
        os.chdir("/")


class EnterRoot(NamedTuple):
    """Make a directory of a joined mount namespace the process's root.

    What is there is its inhabitants' affair, who can also leave the root by chroot(2); it is their namespace.
    """

    path: str

    def describe(self) -> str:
        return f"enter the root {self.path}"

    def apply(self, context: Context) -> None:
        try:
            root = openat2(AT_FDCWD, self.path, os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE.NO_MAGICLINKS)
        except SystemCallError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            raise InvalidInput(f"the mount namespace has no directory {self.path!r}") from error
        os.fchdir(root.fileno())
        os.chroot(".")
        context.root = root


class MoveRoot(NamedTuple):
    """Make the container's root the process's root without pivot_root(2), where the host's root is an initramfs.

    The host's tree stays below, unreachable as long as nobody may call chroot(2) and mount(2): what it has of procfs
    and sysfs is unmounted first, as these would be a way out.
    """

    def describe(self) -> str:
        return "move the container's root over the process's root"

    def apply(self, context: Context) -> None:
        _unmount_kernel_file_systems(context.root)
        os.fchdir(context.root.fileno())
        mount(".", "/", None, MS.MOVE)
        os.chroot(".")
        os.chdir("/")


def _unmount_kernel_file_systems(root: Fd) -> None:
    """Take the host's procfs and sysfs away, or cover them where they are in use."""
    own = os.readlink(f"/proc/self/fd/{root.fileno()}")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split() for line in file]
    places = [fields[4] for fields in lines if fields[fields.index("-") + 1] in ("proc", "sysfs")]
    for place in places:
        if place == own or place.startswith(f"{own}/"):
            continue
        mount(None, place, None, MS.SLAVE | MS.REC)
        try:
            umount2(place, MNT_DETACH)
        except SystemCallError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            mount("tmpfs", place, "tmpfs", 0)


class HandOverRoot(NamedTuple):
    """Give the parent the mount of the root, so that the union file system outlives the container's last process."""

    def describe(self) -> str:
        return "hand the root's mount to the parent"

    def apply(self, context: Context) -> None:
        channel.send_root(context.channel, context.root)


def _put_a_mount_below_the_root() -> None:
    """Cover the root with a copy of its tree and live in that."""
    tree = open_tree(AT_FDCWD, "/", OPEN_TREE.CLONE | AT.RECURSIVE)
    move_mount(tree, "", AT_FDCWD, "/", MOVE_MOUNT.F_EMPTY_PATH)
    os.fchdir(tree.fileno())
    os.chroot(".")


class RootPropagation(NamedTuple):
    """Give the container's root the propagation that the specification asks for, after the pivot."""

    flags: int

    def describe(self) -> str:
        return "set the propagation of the root"

    def apply(self, context: Context) -> None:
        mount(None, "/", None, self.flags)
