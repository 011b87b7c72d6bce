"""A reserve of bytes and inodes for a full disk: removing files writes to the database first."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from wherry.errors import WherryError
from wherry.linux.fd import AT_FDCWD
from wherry.linux.files import RENAME, renameat2

__all__ = ["Reserve"]

#: Bytes: what the database's log grows to, what SQLite needs to open it, and a little for the content store's index.
_SIZE: Final = 1536 << 10
#: Files that are there for nothing but their inodes: a disk may run out of those first.
_INODES: Final = 8


class Reserve:
    """A directory of files that are deleted when their room is needed. Thread-safe.

    :param path: on the file system where room may be short; made by `renew`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._whole = False

    def renew(self) -> None:
        """Fill the reserve as far as there is room."""
        with self._lock, suppress(OSError):
            if self._whole:
                return
            if self._path.is_file():  # an earlier version's reserve was one file
                self._path.unlink()
            self._path.mkdir(mode=0o700, exist_ok=True)
            for number in range(_INODES):
                (self._path / f"inode-{number}").touch(mode=0o600)
            self._fill(self._path / "bytes")
            self._whole = True

    @staticmethod
    def _fill(path: Path) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _SIZE)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def lend(self, *paths: Path) -> None:
        """Make empty files of the reserve's, where there are none of these names.

        A renamed file needs no new inode, so that nobody who fills the disk is faster than this.

        :param paths: on the same file system; fewer than the reserve has files.
        """
        with self._lock:
            self._whole = False
            for number, path in enumerate(paths):
                with suppress(WherryError):  # it is there, or has been spent
                    renameat2(AT_FDCWD, self._path / f"inode-{number}", AT_FDCWD, path, RENAME.NOREPLACE)

    def spend(self) -> bool:
        """Delete the reserve. Use the room at once: another process may be filling the disk.

        :returns: whether there was something.
        """
        given = False
        with self._lock, suppress(OSError):
            self._whole = False
            for entry in [*os.scandir(self._path)]:
                os.unlink(entry.path)
                given = True
        return given

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Where room is short, there is a little more inside the ``with`` block."""
        found = os.statvfs(self._path.parent)
        if found.f_bavail * found.f_frsize < _SIZE or (found.f_files > 0 and found.f_favail < _INODES):
            self.spend()
        try:
            yield
        finally:
            self.renew()
