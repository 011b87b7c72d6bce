"""Local archives of ADD: recognised by their content, and unpacked inside of a mount."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import BinaryIO, Final

from wherry.build.files.owners import Ids
from wherry.build.files.rooted import Place
from wherry.content.durable import disk_errors
from wherry.errors import WherryError
from wherry.layers.limits import Limits
from wherry.layers.source import Source
from wherry.layers.tar.entry import Entry
from wherry.layers.tar.reader import TarReader
from wherry.layers.unpack import unpack_files

__all__ = ["is_archive", "unpack_into"]

_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: What an archive may expand to while its first header is looked for.
_FIRST: Final = Limits(max_bytes=64 << 20)


def is_archive(source: Place, limits: Limits) -> bool:
    """Whether a file is an archive, compressed or not: whether its first header can be read."""
    if source.status is None or not stat.S_ISREG(source.status.st_mode):
        return False
    with _open(source) as file:
        try:
            with Source(file, _FIRST, hashed=False) as stream:
                return next(iter(TarReader(stream, limits)), None) is not None
        except WherryError:
            return False


def unpack_into(source: Place, target: Place, limits: Limits, owner: Ids | None, check: Callable[[], object]) -> None:
    """Unpack an archive into a directory, whose root it takes for ``/``; names of whiteouts are names like others.

    :param owner: of everything in it; None: as the archive has it.
    :raises CorruptData: the archive is damaged.
    :raises InvalidInput: it wants something that no honest archive wants.
    :raises TooLarge: it goes beyond the limits.
    """

    def prepare(entry: Entry) -> None:
        check()
        if owner is not None:
            entry.uid, entry.gid = owner

    with _open(source) as file, target.open_directory() as directory:
        unpack_files(_Checked(file, check), directory.fileno(), limits, prepare)


class _Checked:
    """A file whose reading ends where it is not wanted any more."""

    def __init__(self, file: BinaryIO, check: Callable[[], object]) -> None:
        self._file = file
        self._check = check

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        self._check()
        return self._file.read(size)


def _open(source: Place) -> BinaryIO:
    with disk_errors("read an archive"):
        fd = os.open(source.name, _OPEN, dir_fd=source.directory.fileno())
        return open(fd, "rb", buffering=0)
