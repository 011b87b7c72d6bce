"""Directories of a layer that is being unpacked, held by descriptors.

An archive may say ``a -> /etc`` and then ``a/passwd``. Links in the parents of a name are followed as they will be in
a container, that is with the layer's root as ``/``; so is a link that only a layer below has. The kernel makes sure
of it: openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS opens what has no link in it, everything else is walked
name by name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from wherry.errors import InvalidInput, SystemCallError
from wherry.layers.overlay_view import lookup
from wherry.layers.tar.entry import MAX_NAME, shown
from wherry.layers.whiteouts import is_whiteout, make_opaque
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.trees import Descent

__all__ = ["STAY_BENEATH", "Tree", "split"]

STAY_BENEATH: Final = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS | RESOLVE.NO_XDEV

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_AT_ONCE: Final = 64
# The kernel's own limit on links in one path (path_resolution(7)).
_MAX_LINKS: Final = 40


def split(path: bytes) -> tuple[bytes, bytes]:
    """A clean path as its directory's path and its name."""
    parent, _, name = path.rpartition(b"/")
    return parent, name


class Tree:
    """The directory tree that an archive is unpacked into.

    :param root: a descriptor of its root; the caller keeps it open.
    :param below: directories of the layers underneath, top first.
    """

    def __init__(self, root: int, below: Sequence[str] = ()) -> None:
        self._root = root
        self._below = below
        self._open: OrderedDict[bytes, Fd] = OrderedDict()

    def directory(self, path: bytes, *, create: bool = True) -> int:
        """A descriptor of a directory, good until the next but sixty calls.

        :param path: clean (`clean_name`); its links are followed.
        :param create: whether to make what is missing, as the layers below have it, else 0755 and root's.
        :raises InvalidInput: something on the way is no directory.
        """
        if not path:
            return self._root
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known.fileno()
        fd = self._open_plain(path) or self._walk(path, create=create)
        self._open[path] = fd
        if len(self._open) > _OPEN_AT_ONCE:
            self._open.popitem(last=False)[1].close()
        return fd.fileno()

    def forget(self) -> None:
        """Close all directories; needed whenever one of them, or a link to one, is removed."""
        while self._open:
            self._open.popitem()[1].close()

    def _open_plain(self, path: bytes) -> Fd | None:
        """Open a directory whose path has no link in it; None when there is one, or nothing."""
        try:
            return openat2(self._root, path, _DIRECTORY, resolve=STAY_BENEATH)
        except SystemCallError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
                return None
            if error.errno == errno.ENAMETOOLONG:
                raise InvalidInput(f"the archive has too long a name: {shown(path)}") from error
            raise

    def _walk(self, path: bytes, *, create: bool) -> Fd:
        """Go name by name from the root, following links, making what is missing."""
        todo, done, links = path.split(b"/")[::-1], list[bytes](), 0
        way = self._top()
        try:
            while todo:
                name = todo.pop()
                if name == b"..":
                    if done:
                        done.pop()
                        way.leave()
                elif name not in (b"", b"."):
                    link = self._enter(way, done, name, create=create)
                    if link is None:
                        continue
                    links += 1
                    if links > _MAX_LINKS:
                        raise InvalidInput(f"the archive has too many links in {shown(path)}")
                    if link.startswith(b"/"):
                        way.close()
                        way, done = self._top(), []
                    todo += link.split(b"/")[::-1]
            return Fd(os.dup(way.fileno()))
        finally:
            way.close()

    def _top(self) -> Descent:
        return Descent(Fd(os.dup(self._root)))

    def _enter(self, way: Descent, done: list[bytes], name: bytes, *, create: bool) -> bytes | None:
        """Go into `name`, made when it is missing; or return where it points to when it is a link.

        :param done: the names of the way so far.
        """
        here = way.fileno()
        try:
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            path = _checked([*done, name])
            link = self._supply(here, path, name) if create else _missing(path)
            if link is not None:
                return link
        else:
            if stat.S_ISLNK(status.st_mode):
                return os.readlink(name, dir_fd=here)
            if not stat.S_ISDIR(status.st_mode):
                if not (create and is_whiteout(status)):
                    raise InvalidInput(f"the archive uses a file as a directory: {shown(_checked([*done, name]))}")
                os.unlink(name, dir_fd=here)
                _make_directory(here, name, make_opaque)
        way.enter(name)
        done.append(name)
        return None

    def _supply(self, here: int, path: bytes, name: bytes) -> bytes | None:
        """Make a directory that the archive has no entry for: it looks as it does in the layers below."""
        found = lookup(self._below, path)
        if found is not None:
            with found as below:
                status = os.fstat(below.fileno())
                if stat.S_ISLNK(status.st_mode):
                    return os.readlink(b"", dir_fd=below.fileno())
                if stat.S_ISDIR(status.st_mode):
                    _make_directory(here, name, lambda fd: _copy_attributes(below.fileno(), status, fd))
                    return None
        _make_directory(here, name, lambda fd: os.fchmod(fd, 0o755))
        return None


def _make_directory(parent: int, name: bytes, dress: Callable[[int], None]) -> None:
    os.mkdir(name, 0o755, dir_fd=parent)
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        dress(fd)
    finally:
        os.close(fd)


def _copy_attributes(model: int, status: os.stat_result, fd: int) -> None:
    os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))


def _missing(path: bytes) -> bytes:
    raise InvalidInput(f"hard link target {shown(path)} is not in the archive")


def _checked(names: list[bytes]) -> bytes:
    """Names as a path, which links may have made longer than any entry's name is."""
    path = b"/".join(names)
    if len(path) > MAX_NAME:
        raise InvalidInput(f"the archive has too long a name: {shown(path)}")
    return path
