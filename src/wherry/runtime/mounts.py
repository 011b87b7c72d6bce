"""What is mounted inside the root: file systems, and files and directories of the host.

Everything is made as a detached mount first, gets its properties while nobody can reach it, and is then attached to a
descriptor (:mod:`wherry.runtime.targets`).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

from wherry.errors import InvalidInput, SystemCallError
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import (
    AT,
    MOUNT_ATTR,
    MOVE_MOUNT,
    MS,
    OPEN_TREE,
    fsconfig_create,
    fsconfig_flag,
    fsconfig_string,
    fsmount,
    fsopen,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
)
from wherry.runtime import copyup, targets
from wherry.runtime.context import Context

__all__ = ["ORDINARY", "Bind", "FileSystem", "attach", "new_file_system", "propagate"]

#: File systems that decide about security: what they are mounted on may not be a symbolic link.
ORDINARY: Final = frozenset({"proc", "sysfs"})
#: Nothing is done to these once they are mounted.
_IN_ONE_CALL: Final = frozenset({"tmpfs", "devpts", "mqueue"})
#: Attributes of a mount and the flags that mean nothing else to mount(2). RDONLY, there, is the file system's as well.
_MOUNT_FLAGS: Final = tuple(
    (int(attribute), int(flag))
    for attribute, flag in (
        (MOUNT_ATTR.NOSUID, MS.NOSUID),
        (MOUNT_ATTR.NODEV, MS.NODEV),
        (MOUNT_ATTR.NOEXEC, MS.NOEXEC),
        (MOUNT_ATTR.STRICTATIME, MS.STRICTATIME),
        (MOUNT_ATTR.NODIRATIME, MS.NODIRATIME),
        (MOUNT_ATTR.NOSYMFOLLOW, MS.NOSYMFOLLOW),
    )
)
_SAME_MEANING: Final = sum(attribute for attribute, _ in _MOUNT_FLAGS)
_LONGEST_DATA: Final = 4000  # mount(2) takes less than a page
_ONTO: Final = int(MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH)
_COPY: Final = int(OPEN_TREE.CLONE)
_COPY_ALL: Final = int(OPEN_TREE.CLONE) | int(AT.RECURSIVE)
_EMPTY_PATH: Final = int(AT.EMPTY_PATH)
_AND_BELOW: Final = int(AT.EMPTY_PATH | AT.RECURSIVE)
_REC: Final = int(MS.REC)

Options = tuple[tuple[str, str | None], ...]


class FileSystem(NamedTuple):
    """Mount a new file system.

    :param kind: its type: ``proc``, ``tmpfs`` ...
    :param options: the file system's own options as ``(name, value or None)``.
    :param attributes: of :class:`MOUNT_ATTR`.
    :param propagation: flags of :class:`MS` to be applied one after the other.
    :param copy_up: a tmpfs begins with what the image has at this place.
    """

    kind: str
    source: str
    destination: str
    options: Options
    attributes: int
    propagation: tuple[int, ...]
    copy_up: bool

    def describe(self) -> str:
        return f"mount {self.kind} on {self.destination}"

    def apply(self, context: Context) -> None:
        find = targets.ordinary_directory if self.kind in ORDINARY else targets.directory
        target = find(context.root, self.destination)
        options = self._options(target)
        if self._mounted_in_one_call(target.fd, options):
            return
        fd = new_file_system(self.kind, self.source, options, self.attributes)
        if self.copy_up and not target.made:
            copyup.copy(target.fd, fd)
        attach(fd, target.fd)
        propagate(fd, self.propagation)
        if self.kind == "proc":
            context.proc = fd

    def _mounted_in_one_call(self, target: Fd, options: Options) -> bool:
        """Use mount(2), where it means the same as the seven calls that take its place; whether that was done.

        The target's name under the host's /proc stands for the descriptor. What fails is done again in the other way,
        because that tells the reason.
        """
        if self.kind not in _IN_ONE_CALL or self.attributes & ~_SAME_MEANING or self.propagation or self.copy_up:
            return False
        data = ",".join(key if value is None else f"{key}={value}" for key, value in options)
        if data.count(",") >= len(options) > 0 or len(data) > _LONGEST_DATA:
            return False  # a comma within a value would divide it
        flags = sum(flag for attribute, flag in _MOUNT_FLAGS if self.attributes & attribute)
        try:
            mount(self.source, f"/proc/self/fd/{target.fileno()}", self.kind, flags, data)
        except SystemCallError:
            return False
        return True

    def _options(self, target: targets.Target) -> Options:
        """A tmpfs on a directory of the image takes over its mode, unless it is told another, as with runc."""
        if self.kind != "tmpfs" or target.made or any(key == "mode" for key, _ in self.options):
            return self.options
        mode = stat.S_IMODE(os.fstat(target.fd.fileno()).st_mode)
        return (*self.options, ("mode", f"{mode:o}"))


class Bind(NamedTuple):
    """Make a file or directory of the host appear in the container.

    :param recursive: with what is mounted below it.
    :param set: and ``clear``: attributes of :class:`MOUNT_ATTR` of the mount itself.
    :param set_below: and ``clear_below``: attributes of it and all that is mounted below.
    :param propagation: flags of :class:`MS` to be applied one after the other.
    :param id_map: user and group ranges for an id-mapped mount, see :mod:`wherry.runtime.prepare`; or None.
    :param map_below: whether what is mounted below is id-mapped, too.
    """

    source: str
    destination: str
    recursive: bool
    set: int
    clear: int
    set_below: int
    clear_below: int
    propagation: tuple[int, ...]
    id_map: tuple[str, str] | None
    map_below: bool

    def describe(self) -> str:
        return f"bind {self.source} on {self.destination}"

    def apply(self, context: Context) -> None:
        tree = context.prepared.pop(context.index, None)
        self.attach_to(context.root, tree or self.detached())

    def detached(self) -> Fd:
        """Copy the mount that the source is, and give the copy its properties.

        :raises InvalidInput: the source does not exist.
        """
        try:
            tree = open_tree(AT_FDCWD, self.source, _COPY_ALL if self.recursive else _COPY)
        except SystemCallError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise InvalidInput(f"bind source path does not exist: {self.source}") from error
            raise
        if self.set_below or self.clear_below:
            mount_setattr(tree, "", _AND_BELOW, self.set_below, self.clear_below)
        if self.set or self.clear:
            mount_setattr(tree, "", _EMPTY_PATH, self.set, self.clear)
        return tree

    def attach_to(self, root: Fd, tree: Fd) -> None:
        """Put the copy at its place; a place that does not exist is made to fit."""
        is_directory = stat.S_ISDIR(os.fstat(tree.fileno()).st_mode)
        find = targets.directory if is_directory else targets.file
        attach(tree, find(root, self.destination).fd)
        propagate(tree, self.propagation)


def new_file_system(kind: str, source: str, options: Options, attributes: int) -> Fd:
    """Make a file system and return a detached mount of it."""
    with fsopen(kind) as context:
        if source:
            fsconfig_string(context, "source", source)
        for key, value in options:
            if value is None:
                fsconfig_flag(context, key)
            else:
                fsconfig_string(context, key, value)
        fsconfig_create(context)
        return fsmount(context, attributes)


def attach(tree: Fd, target: Fd) -> None:
    """Attach a detached mount to what a descriptor stands for."""
    move_mount(tree, "", target, "", _ONTO)


def propagate(mounted: Fd, changes: tuple[int, ...]) -> None:
    """Change how an attached mount shares what is mounted on it; ``MS_REC`` goes for all mounts below, too."""
    for flags in changes:
        mount_setattr(mounted, "", _AND_BELOW if flags & _REC else _EMPTY_PATH, propagation=flags & ~_REC)
