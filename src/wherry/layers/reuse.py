"""Files of a tree that nobody needs any more become files of one that is being unpacked.

To make an inode and to free another one costs ext4 many times what it costs to write a kilobyte, and the more so the
more were freed a short while ago: it takes none of these again for some minutes, and looks past them one by one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import Final

from wherry.errors import SystemCallError
from wherry.layers.tree import STAY_BENEATH, split
from wherry.linux.fd import Fd
from wherry.linux.files import RENAME, openat2, renameat2

__all__ = ["Reuse", "rewrite"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Reuse:
    """A tree whose files are taken, each for one of the same path. Use it in a ``with`` block.

    :param root: a descriptor of the tree, on the same file system; nobody else uses it.
    """

    def __init__(self, root: Fd) -> None:
        self._root = root
        self._path = b""
        self._here: Fd | None = Fd(os.dup(root.fileno()))

    def take(self, path: bytes, there: int, name: bytes) -> int | None:
        """Move the file of a path to where one is wanted, unless something is there.

        :param path: clean.
        :param there: a descriptor of the directory that it goes to, as `name`.
        :return: a descriptor to read and write; it has some content, some owner and some mode, and no extended
            attributes. None: there is no such file, or it has other names as well.
        """
        directory, base = split(path)
        here = self._directory(directory)
        if here is None:
            return None
        try:
            fd = os.open(base, _FILE, dir_fd=here.fileno())
        except OSError:
            return None
        try:
            if self._move(fd, here, base, there, name):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    @staticmethod
    def _move(fd: int, here: Fd, base: bytes, there: int, name: bytes) -> bool:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            return False
        for attribute in os.listxattr(fd):
            os.removexattr(fd, attribute)
        try:
            renameat2(here, base, there, name, RENAME.NOREPLACE)
        except SystemCallError as error:
            if error.errno in (errno.EEXIST, errno.ENOENT, errno.EINVAL):
                return False
            raise
        return True

    def _directory(self, path: bytes) -> Fd | None:
        """A directory of the tree; files of one directory come one after the other."""
        if path != self._path:
            self._close()
            self._path = path
            try:
                self._here = openat2(self._root, path or b".", _DIRECTORY, resolve=STAY_BENEATH)
            except SystemCallError:
                self._here = None
        return self._here

    def _close(self) -> None:
        if self._here is not None:
            self._here.close()
            self._here = None

    def __enter__(self) -> Reuse:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()
        self._root.close()


def rewrite(fd: int, pieces: Iterable[memoryview]) -> None:
    """Give a file another content; what is the same already is not written."""
    position = 0
    for piece in pieces:
        rest = piece[:0] if os.pread(fd, len(piece), position) == piece else piece
        while rest:
            rest = rest[os.pwrite(fd, rest, position + len(piece) - len(rest)) :]
        position += len(piece)
    if os.fstat(fd).st_size != position:
        os.ftruncate(fd, position)
