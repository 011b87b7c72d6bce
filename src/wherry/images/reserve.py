"""Room to remove things on a disk that is full: before files go, the database has to be told, and that takes some."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["Reserve"]

#: Bytes: what the database's log grows to, and a little for the index of the content store.
_SIZE: Final = 384 << 10


class Reserve:
    """A file that is given up when its room is needed.

    :param path: on the file system where room may be short; made by `renew`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def renew(self) -> None:
        """Have the file, if there is room for it."""
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:  # it is there, or there's no room even for its name
            return
        try:
            os.posix_fallocate(fd, 0, _SIZE)
        except OSError:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(fd)

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Where room is short, there is a little more inside the ``with`` block."""
        found = os.statvfs(self._path.parent)
        if found.f_bavail * found.f_frsize < _SIZE:
            self._path.unlink(missing_ok=True)
        try:
            yield
        finally:
            self.renew()
