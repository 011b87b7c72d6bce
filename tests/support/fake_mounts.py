"""The kernel's mount calls, in memory: what steps do is written down, and shown as a table of mounts, as any user.

It takes the place of the raw system calls below `wherry.linux.mount`, so that everything above them is what runs in a
container. The root is an ordinary directory, in which places are found and made by the real openat2(2); a mount is an
entry of a table, and a directory or file of its own that stands for what is mounted. What the table says is compared
with the kernel's own (`support.mount_conformance`).

Not imitated: what lies under a mount stays reachable by name, a copy of a tree has no mounts below, and an overlay's
content is that of one directory.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from wherry.linux import mount as module
from wherry.linux.mount import AT, DEVPTS_SUPER_MAGIC, MOUNT_ATTR, MS, OPEN_TREE, PROC_SUPER_MAGIC, TMPFS_MAGIC

MAGICS = {"proc": PROC_SUPER_MAGIC, "tmpfs": TMPFS_MAGIC, "devpts": DEVPTS_SUPER_MAGIC}
PROPAGATION = int(MS.SHARED | MS.PRIVATE | MS.SLAVE | MS.UNBINDABLE)
#: Attributes with the same meaning in both interfaces.
SAME = ((MOUNT_ATTR.RDONLY, MS.RDONLY), (MOUNT_ATTR.NOSUID, MS.NOSUID), (MOUNT_ATTR.NODEV, MS.NODEV),
        (MOUNT_ATTR.NOEXEC, MS.NOEXEC), (MOUNT_ATTR.NOATIME, MS.NOATIME))  # fmt: skip
CALLS = ("mount", "umount2", "pivot_root", "fsopen", "fspick", "fsconfig", "fsmount", "open_tree", "move_mount",
         "mount_setattr", "statfs", "fstatfs")  # fmt: skip


@dataclass
class Tree:
    """A mount: detached, as long as it is nowhere."""

    kind: str
    content: Path
    attributes: int = 0
    propagation: int = int(MS.PRIVATE)
    where: str = ""
    options: list[str] = field(default_factory=list)


@dataclass(frozen=True, order=True)
class Seen:
    """A mount as the kernel's table shows it, too.

    :ivar kind: the file system's type, or ``host`` for what is the host's.
    :ivar attributes: ``ro``, ``nosuid`` ... in the kernel's order, separated by commas.
    """

    where: str
    kind: str
    attributes: str = ""
    propagation: str = "private"


def attribute_words(attributes: int) -> str:
    """Attributes in the words of /proc/self/mountinfo."""
    words = (("ro", MOUNT_ATTR.RDONLY), ("nosuid", MOUNT_ATTR.NOSUID), ("nodev", MOUNT_ATTR.NODEV),
             ("noexec", MOUNT_ATTR.NOEXEC), ("noatime", MOUNT_ATTR.NOATIME))  # fmt: skip
    return ",".join(word for word, flag in words if attributes & flag)


class FakeMounts:
    """Takes the place of the calls.

    :param base: an empty directory for what stands for file systems.
    :param image: a directory that is the content of every overlay.
    :ivar calls: what was called, in order, in words: ``"fsconfig mode=755"``.
    :ivar trees: what is attached, in order.
    :ivar refused: names of calls to the error number that they fail with.
    """

    def __init__(self, base: Path, image: Path) -> None:
        self.calls: list[str] = []
        self.trees: list[Tree] = []
        self.refused: dict[str, int] = {}
        self._base = base
        self._image = image
        self._root: Path | None = None
        self._opened: dict[int, tuple[tuple[int, int], Tree]] = {}
        self._contexts: dict[int, Tree] = {}
        self._fstatfs: Callable[..., int] = module._fstatfs

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of every call of `wherry.linux.mount`, and of what only root may do with nodes."""
        for name in CALLS:
            monkeypatch.setattr(module, f"_{name}", self._answering(name))
        monkeypatch.setattr(os, "mknod", self._mknod)
        monkeypatch.setattr(os, "chown", self._chown)

    def table(self) -> list[Seen]:
        """What is mounted, sorted."""
        return sorted(
            Seen(tree.where, tree.kind, attribute_words(tree.attributes), MS(tree.propagation).name.lower())  # type: ignore[union-attr]
            for tree in self.trees
        )

    def _answering(self, name: str) -> Callable[..., int]:
        answer: Callable[..., int] = getattr(self, name)

        def call(*arguments: Any) -> int:
            if name in self.refused:
                self.calls.append(f"{name} refused")
                ctypes.set_errno(self.refused[name])
                return -1
            return answer(*arguments)

        return call

    # --- what descriptors and paths stand for

    def _give(self, tree: Tree) -> int:
        fd = os.open(tree.content, os.O_PATH | os.O_CLOEXEC)
        status = os.fstat(fd)
        self._opened[fd] = (status.st_dev, status.st_ino), tree
        return fd

    def _of(self, fd: int) -> Tree | None:
        """The mount that a descriptor is the root of."""
        if fd in self._opened:
            identity, tree = self._opened[fd]
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == identity:
                return tree
        where = self._where(os.readlink(f"/proc/self/fd/{fd}"))
        return next((tree for tree in reversed(self.trees) if tree.where == where), None)

    def _where(self, path: str) -> str:
        """A path as the container sees it; the host's path for what is not in the container."""
        if path.startswith("/proc/self/fd/"):
            fd = int(path.rpartition("/")[2])
            if fd in self._opened and (tree := self._of(fd)) is not None and tree.where:
                return tree.where
            path = os.readlink(path)
        absolute = Path(path) if path.startswith("/") else Path(os.getcwd(), path)
        for tree in reversed(self.trees):
            is_own = tree.content != self._root and self._base in tree.content.parents
            if is_own and absolute.is_relative_to(tree.content):
                return os.path.normpath(f"{tree.where}/{absolute.relative_to(tree.content)}")
        if self._root is not None and absolute.is_relative_to(self._root):
            return os.path.normpath(f"/{absolute.relative_to(self._root)}")
        return str(absolute)

    def _covering(self, where: str) -> Tree | None:
        """The mount that a place is in."""
        found = [tree for tree in self.trees if where == tree.where or where.startswith(tree.where.rstrip("/") + "/")]
        return max(reversed(found), key=lambda tree: len(tree.where), default=None)

    def _new(self, kind: str, options: list[str]) -> Tree:
        content = self._image if kind == "overlay" else Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=self._base))
        return Tree(kind, content, options=options)

    def _attach(self, tree: Tree, where: str) -> None:
        if self._root is None:
            self._root, where = tree.content, "/"
        tree.where = where
        self.trees.append(tree)

    # --- the calls

    def mount(self, source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None) -> int:
        where = self._where(os.fsdecode(target))
        words = [word for word in (os.fsdecode(source or b""), os.fsdecode(kind or b"")) if word]
        words += [MS(flags).name or str(flags)] * bool(flags) + [os.fsdecode(data or b"")] * bool(data)
        self.calls.append(" ".join(["mount", where, *words]))
        if kind is not None:
            tree = self._new(os.fsdecode(kind), os.fsdecode(data or b"").split(","))
            tree.attributes = sum(int(attribute) for attribute, flag in SAME if flags & flag)
            self._attach(tree, where)
        elif flags & MS.BIND:
            self._attach(Tree("host", Path(os.fsdecode(source or b""))), where)
        else:
            self._change(where, flags & MS.REC, propagation=flags & PROPAGATION)
        return 0

    def umount2(self, target: bytes, flags: int) -> int:
        self.calls.append(f"umount2 {os.fsdecode(target)} {module.MNT(flags).name}")
        return 0

    def pivot_root(self, new: bytes, old: bytes) -> int:
        self.calls.append(f"pivot_root {self._where(os.fsdecode(new))} {os.fsdecode(old)}")
        return 0

    def fsopen(self, kind: bytes, _flags: int) -> int:
        self.calls.append(f"fsopen {os.fsdecode(kind)}")
        fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._contexts[fd] = self._new(os.fsdecode(kind), [])
        return fd

    def fspick(self, *_: Any) -> int:
        raise NotImplementedError("no step uses fspick(2)")

    def fsconfig(self, fd: int, command: int, key: bytes | None, value: bytes | None, _number: int) -> int:
        if key is None:
            self.calls.append(f"fsconfig {'create' if command == module._CREATE else 'reconfigure'}")
            return 0
        text = os.fsdecode(key) + ("" if value is None else f"={os.fsdecode(value)}")
        self.calls.append(f"fsconfig {text}")
        self._contexts[fd].options.append(text)
        return 0

    def fsmount(self, fd: int, _flags: int, attributes: int) -> int:
        tree = self._contexts.pop(fd)
        tree.attributes = attributes
        self.calls.append(f"fsmount {tree.kind} {attribute_words(attributes)}".rstrip())
        return self._give(tree)

    def open_tree(self, fd: int, path: bytes, flags: int) -> int:
        assert flags & OPEN_TREE.CLONE, "steps only copy mounts"
        recursive = " recursive" if flags & AT.RECURSIVE else ""
        if path:
            source = os.fsdecode(path)
            tree = Tree("host", Path(source))
            if not tree.content.exists():
                ctypes.set_errno(2)
                return -1
        else:
            source = self._where(f"/proc/self/fd/{fd}")
            origin = self._of(fd) or self._covering(source)
            tree = Tree("host", Path(os.readlink(f"/proc/self/fd/{fd}")))
            if origin is not None:
                tree.kind, tree.attributes = origin.kind, origin.attributes
        self.calls.append(f"open_tree {source}{recursive}")
        return self._give(tree)

    def move_mount(self, from_fd: int, from_path: bytes, to_fd: int, to_path: bytes, _flags: int) -> int:
        assert not from_path
        tree = self._of(from_fd)
        assert tree is not None, "a descriptor that no mount call has returned"
        where = self._where(os.fsdecode(to_path) or f"/proc/self/fd/{to_fd}")
        self._attach(tree, where)
        self.calls.append(f"move_mount {tree.kind} {tree.where}")
        return 0

    def mount_setattr(self, fd: int, path: bytes, flags: int, packed: bytes, _size: int) -> int:
        assert not path
        tree = self._of(fd)
        assert tree is not None, "a descriptor that is not the root of a mount"
        on, off, propagation, _ = module._MOUNT_ATTR.unpack(packed)
        changes = [f"+{attribute_words(on)}"] * bool(on) + [f"-{attribute_words(off)}"] * bool(off)
        changes += [MS(propagation).name or ""] * bool(propagation) + ["recursive"] * bool(flags & AT.RECURSIVE)
        self.calls.append(" ".join(["mount_setattr", tree.where or f"detached {tree.kind}", *changes]))
        if flags & AT.RECURSIVE and tree.where:
            self._change(tree.where, True, on, off, propagation)
        else:
            _set(tree, on, off, propagation)
        return 0

    def statfs(self, path: bytes, _words: Any) -> int:
        raise NotImplementedError(f"steps ask by descriptor, not by the name {path!r}")

    def fstatfs(self, fd: int, words: Any) -> int:
        tree = self._of(fd) or self._covering(self._where(f"/proc/self/fd/{fd}"))
        if tree is None or tree.kind not in MAGICS:
            return self._fstatfs(fd, words)
        words._obj[0] = MAGICS[tree.kind]
        return 0

    def _change(self, where: str, below: int, on: int = 0, off: int = 0, propagation: int = 0) -> None:
        for tree in self.trees:
            if tree.where == where or (below and tree.where.startswith(where.rstrip("/") + "/")):
                _set(tree, on, off, propagation)

    # --- what only root may do

    def _mknod(self, name: str, mode: int, device: int, *, dir_fd: int) -> None:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=dir_fd))  # the node's place
        where = self._where(f"/proc/self/fd/{dir_fd}")
        self.calls.append(f"mknod {where}/{name} {mode:o} {os.major(device)}:{os.minor(device)}")

    def _chown(self, name: str, uid: int, gid: int, *, dir_fd: int, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        self.calls.append(f"chown {self._where(f'/proc/self/fd/{dir_fd}')}/{name} {uid}:{gid}")


def _set(tree: Tree, on: int, off: int, propagation: int) -> None:
    tree.attributes = tree.attributes & ~off | on
    tree.propagation = propagation or tree.propagation
