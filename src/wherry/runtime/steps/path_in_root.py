"""Open or create a path inside a root directory without ever leaving it (as runc's securejoin and pathrs do).

An image is hostile: any component of a path may be a symbolic link, and a process of another container that shares a
volume may exchange components while we look at them (CVE-2021-30465). So every lookup is one openat2(2) in the root,
and what follows happens by descriptor, never again by name.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

from wherry.errors import InvalidInput, SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2, openat2_if_there

__all__ = ["Target", "directory", "existing", "file", "ordinary_directory", "split"]

# Plain numbers: to combine members of an enumeration takes as long as a system call.
_IN_ROOT: Final = int(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
_NO_LINKS: Final = int(RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS)
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY
_ORDINARY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_MAXIMUM_LINKS: Final = 40  # as many as the kernel follows


class Target(NamedTuple):
    """A place in the root, and whether it had to be made."""

    fd: Fd
    made: bool


def existing(root: Fd, path: str, flags: int = os.O_PATH) -> Fd | None:
    """Open what is at a path inside the root, or return None if nothing is there."""
    return openat2_if_there(root, path, flags, _IN_ROOT)


def directory(root: Fd, path: str, mode: int = 0o755) -> Target:
    """Open a directory inside the root; make it, and those above it, where missing.

    :raises InvalidInput: something else is there.
    """
    found = existing(root, path, _DIRECTORY)
    if found is not None:
        return Target(found, made=False)
    made = _make_last(root, path, mode)
    if made is not None:
        return Target(made, made=True)
    found = existing(root, path)
    if found is None:
        return Target(_Maker(root, path).make(mode, leaf_is_file=False), made=True)
    if not stat.S_ISDIR(os.fstat(found.fileno()).st_mode):
        raise InvalidInput(f"{path!r} is not a directory in the container")
    return Target(found, made=False)


def file(root: Fd, path: str) -> Target:
    """Open a file (or whatever is there but a directory) inside the root; make an empty one where nothing is.

    :raises InvalidInput: a directory is there.
    """
    found = existing(root, path)
    if found is None:
        made = _make_last(root, path, 0o755, as_file=True)
        return Target(made or _Maker(root, path).make(0o755, leaf_is_file=True), made=True)
    if stat.S_ISDIR(os.fstat(found.fileno()).st_mode):
        raise InvalidInput(f"{path!r} is a directory in the container, where a file is needed")
    return Target(found, made=False)


def ordinary_directory(root: Fd, path: str) -> Target:
    """Open a directory that no symbolic link leads to; make it where missing.

    What is mounted there decides about security, and an image could point it anywhere (CVE-2019-16884).

    :raises InvalidInput: a component of the path is a symbolic link, or something else than a directory.
    """
    try:
        found = openat2_if_there(root, path, _ORDINARY, _NO_LINKS)
        if found is not None:
            return Target(found, made=False)
        made = _make_last(root, path, 0o755, resolve=_NO_LINKS)
        if made is None:
            _Maker(root, path).make(0o755, leaf_is_file=False)
            made = openat2(root, path, _ORDINARY, resolve=_NO_LINKS)
    except SystemCallError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise InvalidInput(
            f"{path!r} must be an ordinary directory in the container",
            cause="the image has a symbolic link or another kind of file there",
        ) from error
    return Target(made, made=True)


def split(path: str) -> tuple[str, str]:
    """Divide a path into its directory and its last name."""
    head, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise InvalidInput(f"{path!r} names no file")
    return head or "/", name


def _make_last(root: Fd, path: str, mode: int, *, as_file: bool = False, resolve: int = _IN_ROOT) -> Fd | None:
    """Make the last component of a path where only that is missing, and open it; None if it is not as simple as that.

    Nothing is followed: where anything is, a dangling link for one, making it fails. The name belongs to a directory
    that is held by descriptor and is in the root.
    """
    head, _, name = path.rstrip("/").rpartition("/")
    parent = openat2_if_there(root, head or ".", _DIRECTORY, resolve)
    if parent is None or name in ("", ".", ".."):
        return None
    with parent:
        try:
            if as_file:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                return Fd(os.open(name, flags, mode, dir_fd=parent.fileno()))
            os.mkdir(name, mode, dir_fd=parent.fileno())
        except FileExistsError:
            return None
        return openat2(parent, name, _ORDINARY, resolve=_NO_LINKS)


class _Maker:
    """Walks a path that does not exist completely, making what is missing.

    Symbolic links are followed by hand, because a dangling one (/etc/resolv.conf of many images) says where the file
    is to be made. What has been walked is kept as a path without links and is opened with NO_SYMLINKS: who exchanges a
    component meanwhile gets us an error and not a way out.
    """

    def __init__(self, root: Fd, path: str) -> None:
        self._root = root
        self._path = path
        self._done: list[str] = []
        self._todo = _components(path)
        self._links = 0

    def make(self, mode: int, *, leaf_is_file: bool) -> Fd:
        while self._todo:
            name = self._todo.pop(0)
            if name == "..":
                del self._done[-1:]
                continue
            self._step(name, mode, as_file=leaf_is_file and not self._todo)
        return self._open("/".join(self._done) or ".")

    def _step(self, name: str, mode: int, *, as_file: bool) -> None:
        path = "/".join([*self._done, name])
        try:
            fd = self._open(path)
        except SystemCallError as error:
            if error.errno != errno.ENOENT:
                raise
            fd = self._create(path, name, mode, as_file=as_file)
        with fd:
            if stat.S_ISLNK(os.fstat(fd.fileno()).st_mode):
                self._follow(fd)
            else:
                self._done.append(name)

    def _open(self, path: str) -> Fd:
        # O_PATH with O_NOFOLLOW opens a link itself, which NO_SYMLINKS allows for the last component.
        return openat2(self._root, path, os.O_PATH | os.O_NOFOLLOW, resolve=_NO_LINKS)

    def _create(self, path: str, name: str, mode: int, *, as_file: bool) -> Fd:
        with self._open("/".join(self._done) or ".") as parent:
            try:
                if as_file:
                    os.close(
                        os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=parent.fileno())
                    )
                else:
                    os.mkdir(name, mode, dir_fd=parent.fileno())
            except FileExistsError:
                pass  # somebody else made it; what it is, is seen when it is opened
        return self._open(path)

    def _follow(self, link: Fd) -> None:
        self._links += 1
        if self._links > _MAXIMUM_LINKS:
            raise InvalidInput(f"too many symbolic links on the way to {self._path!r} in the container")
        goal = os.readlink("", dir_fd=link.fileno())
        if goal.startswith("/"):
            self._done = []
        self._todo = _components(goal) + self._todo


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]
