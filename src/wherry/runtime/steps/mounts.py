"""Mounts inside the root: new file systems, and binds of the host's files and directories.

Everything is made as a detached mount first, gets its properties while nobody can reach it, and is then attached to a
descriptor (:mod:`wherry.runtime.steps.path_in_root`).
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
    PROC_SUPER_MAGIC,
    fsconfig_create,
    fsconfig_flag,
    fsconfig_string,
    fsmount,
    fsopen,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    statfs,
)
from wherry.runtime.steps import path_in_root, tmpcopyup
from wherry.runtime.steps.procfs import procfs_of
from wherry.runtime.steps.step import Context

__all__ = ["ORDINARY", "Bind", "FileSystem", "OwnDirectory", "ReadOnlyMount", "attach", "new_file_system", "propagate"]

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
        find = path_in_root.ordinary_directory if self.kind in ORDINARY else path_in_root.directory
        target = find(context.root, self.destination)
        options = self._options(target)
        if self._mounted_in_one_call(target.fd, options):
            return
        fd = self._made(context, options)
        if self.copy_up and not target.made:
            tmpcopyup.copy(target.fd, fd)
        attach(fd, target.fd)
        propagate(fd, self.propagation)
        if self.kind == "proc":
            context.proc = fd

    def _made(self, context: Context, options: Options) -> Fd:
        if self.kind == "proc" and context.pid_namespace is not None:
            return procfs_of(*context.pid_namespace, self.attributes)
        return new_file_system(self.kind, self.source, options, self.attributes)

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

    def _options(self, target: path_in_root.Target) -> Options:
        """A tmpfs on a directory of the image takes over its mode unless one is given, as with runc."""
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
    :param id_map: user and group ranges for an id-mapped mount (:mod:`wherry.runtime.launch.idmapped_mounts`), or None.
    :param map_below: whether what is mounted below is id-mapped, too.
    :param is_detached: the source, ``/proc/<pid>/fd/<n>``, is a detached mount, to be attached itself and not a copy.
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
    is_detached: bool = False

    def describe(self) -> str:
        return f"bind {self.source} on {self.destination}"

    def apply(self, context: Context) -> None:
        tree = context.prepared.pop(context.index, None)
        self.attach_to(context.root, tree or self.detached())

    def detached(self) -> Fd:
        """Copy the mount that the source is, and give the copy its properties.

        :raises InvalidInput: the source does not exist.
        """
        if self.is_detached:  # kernels before 6.15 copy only what is in the caller's namespace
            return Fd(os.open(self.source, os.O_PATH | os.O_CLOEXEC))
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
        """Put the copy at its place; a place that does not exist is made to fit.

        :raises InvalidInput: it is to be /proc, and is something else.
        """
        if self.destination == "/proc" and statfs(tree).f_type != PROC_SUPER_MAGIC:
            raise InvalidInput(f"{self.source!r} cannot be mounted on /proc because it is not procfs")
        is_directory = stat.S_ISDIR(os.fstat(tree.fileno()).st_mode)
        find = path_in_root.directory if is_directory else path_in_root.file
        attach(tree, find(root, self.destination).fd)
        propagate(tree, self.propagation)


class OwnDirectory(NamedTuple):
    """Mount a directory of the container's own root on itself, so that it stays writable when the root does not.

    A missing one is made. Its content, owner and mode are the image's.
    """

    destination: str

    def describe(self) -> str:
        return f"keep {self.destination} writable"

    def apply(self, context: Context) -> None:
        found = path_in_root.existing(context.root, self.destination)
        if found is not None and not stat.S_ISDIR(os.fstat(found.fileno()).st_mode):
            raise InvalidInput(f"cannot mount volume over existing file, file exists {self.destination}")
        with path_in_root.directory(context.root, self.destination).fd as place:
            attach(open_tree(place, "", _COPY | _EMPTY_PATH), place)


class ReadOnlyMount(NamedTuple):
    """Make what is mounted somewhere read-only, once all else that needs a place in it has one."""

    destination: str

    def describe(self) -> str:
        return f"make {self.destination} read-only"

    def apply(self, context: Context) -> None:
        with path_in_root.directory(context.root, self.destination).fd as mounted:
            mount_setattr(mounted, "", _EMPTY_PATH, attr_set=MOUNT_ATTR.RDONLY)


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
    """Change the propagation of an attached mount; with ``MS_REC`` also of all mounts below."""
    for flags in changes:
        mount_setattr(mounted, "", _AND_BELOW if flags & _REC else _EMPTY_PATH, propagation=flags & ~_REC)
