"""Device nodes, the links beside them, and the console."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final, NamedTuple

from wherry.errors import InvalidInput, SystemCallError
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import AT, OPEN_TREE, open_tree
from wherry.runtime.steps import path_in_root
from wherry.runtime.steps.mounts import attach
from wherry.runtime.steps.step import Context

__all__ = ["BindConsole", "DeviceLinks", "DeviceNode", "Devices"]

#: What programs expect in /dev beside devices (config-linux.md, "Default Devices" and proc(5)).
_LINKS: Final = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"))
_MORE_LINKS: Final = (("stderr", "/proc/self/fd/2"),)


class DeviceNode(NamedTuple):
    """A node: ``kind`` is the file type of ``st_mode``, ``device`` the number, ``mode`` the permissions."""

    path: str
    kind: int
    device: int
    mode: int
    uid: int
    gid: int


class Devices(NamedTuple):
    """Make device nodes; where that is forbidden, as in a user namespace, bind the host's of the same number."""

    nodes: tuple[DeviceNode, ...]

    def describe(self) -> str:
        return "make the devices " + ", ".join(node[0] for node in self.nodes)

    def apply(self, context: Context) -> None:
        opened: dict[str, Fd] = {}  # nearly all are in /dev
        for packed in self.nodes:
            node = DeviceNode(*packed)
            if context.user_namespace or not _made(context.root, node, opened):
                _bind_from_host(context.root, node)


def _made(root: Fd, node: DeviceNode, opened: dict[str, Fd]) -> bool:
    """Make a node; return False when this process lacks the right."""
    head, name = path_in_root.split(node.path)
    directory = opened.get(head)
    if directory is None:
        directory = opened[head] = path_in_root.directory(root, head).fd
    try:
        os.mknod(name, node.kind | node.mode, node.device, dir_fd=directory.fileno())
    except FileExistsError:
        _check_same(directory, node, name)
        return True
    except PermissionError:
        return False
    if node.uid or node.gid:
        os.chown(name, node.uid, node.gid, dir_fd=directory.fileno(), follow_symlinks=False)
    return True


def _check_same(directory: Fd, node: DeviceNode, name: str) -> None:
    """Accept what an earlier mount put there only if it is the same device."""
    status = os.stat(name, dir_fd=directory.fileno(), follow_symlinks=False)
    if stat.S_IFMT(status.st_mode) != node.kind or status.st_rdev != node.device:
        raise InvalidInput(
            f"{node.path!r} exists in the container and is another kind of file than the device asked for"
        )


def _bind_from_host(root: Fd, node: DeviceNode) -> None:
    try:
        tree = open_tree(AT_FDCWD, node.path, OPEN_TREE.CLONE)
    except SystemCallError as error:
        if error.errno != errno.ENOENT:
            raise
        raise InvalidInput(
            f"the device {node.path!r} cannot be made here, and the host has none of this name to be used instead"
        ) from error
    with tree:
        status = os.fstat(tree.fileno())
        if stat.S_IFMT(status.st_mode) != node.kind or status.st_rdev != node.device:
            raise InvalidInput(f"the host's {node.path!r} is not the device asked for")
        with path_in_root.file(root, node.path).fd as target:
            attach(tree, target)


class DeviceLinks(NamedTuple):
    """Make /dev/fd, /dev/stdin and so on, and /dev/ptmx, which must be the container's own."""

    def describe(self) -> str:
        return "make the links in /dev"

    def apply(self, context: Context) -> None:
        with path_in_root.directory(context.root, "/dev").fd as directory:
            for name, goal in (*_LINKS, *_MORE_LINKS):
                _link(directory, name, goal)
            if os.path.exists("/proc/kcore"):
                _link(directory, "core", "/proc/kcore")
            _replace_by_link(directory, "ptmx", "pts/ptmx")


def _link(directory: Fd, name: str, goal: str) -> None:
    with contextlib.suppress(FileExistsError):  # an image may have its own
        os.symlink(goal, name, dir_fd=directory.fileno())


def _replace_by_link(directory: Fd, name: str, goal: str) -> None:
    try:
        os.symlink(goal, name, dir_fd=directory.fileno())
    except FileExistsError:
        if stat.S_ISLNK(os.stat(name, dir_fd=directory.fileno(), follow_symlinks=False).st_mode):
            return
        os.unlink(name, dir_fd=directory.fileno())
        os.symlink(goal, name, dir_fd=directory.fileno())


class BindConsole(NamedTuple):
    """Make the terminal appear as /dev/console."""

    def describe(self) -> str:
        return "bind the terminal on /dev/console"

    def apply(self, context: Context) -> None:
        if context.terminal is None:
            return
        with (
            open_tree(context.terminal, "", OPEN_TREE.CLONE | AT.EMPTY_PATH) as tree,
            path_in_root.file(context.root, "/dev/console").fd as target,
        ):
            attach(tree, target)
