"""The witness: detects a database that has lost committed changes.

What lies on the disk and is unknown to the database is what a crash left, and goes: as long as the database can be
believed. One that was put back from a copy, that lost its log, or was made anew does not know what people have, and
does not know that. So each change gets a number, which is written in the database, and then beside it. Where the one
beside is higher, changes were lost.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["Witness"]

_BYTES: Final = 8
#: Higher than any change's: the database was found to have lost some, and nobody has looked at it yet.
_LOST: Final = 1 << 62


class Witness:
    """The number beside the database. It is written in place, so that a full disk takes it, too.

    :param path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def contradicts(self, number: int) -> bool:
        """Whether there were later changes than the last one that the database knows.

        Where there is no file, a database without any change is not believed either: it may be a new one.
        """
        try:
            with self._path.open("rb") as file:
                known = int.from_bytes(file.read(_BYTES), "big")
        except OSError:
            return number == 0
        return known > number

    def write(self, number: int) -> None:
        """Note the last change."""
        with suppress(OSError):  # then a loss of later changes goes unnoticed
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, number.to_bytes(_BYTES, "big"), 0)
            finally:
                os.close(fd)

    def remember_loss(self) -> None:
        """See to it that no later change hides the loss."""
        self.write(_LOST)
