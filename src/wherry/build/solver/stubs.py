"""What mounts leave behind in a step's layer: the empty files and directories that they were mounted on.

They are removed again, with the directories that were made for them, where the snapshot below has none of that name
and the step has left them empty. Runs in a thread, when nothing of the step is mounted any more.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.errors import SystemCallError
from wherry.layers.overlay_view import lookup
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2

__all__ = ["remove_stubs"]

_INSIDE: Final = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)


def remove_stubs(upper: Path, lower: Sequence[str], targets: Sequence[str]) -> None:
    """Remove the places that were made for mounts.

    :param upper: the step's writable directory.
    :param lower: the layers below it, top first.
    :param targets: of the mounts; links in them lead nowhere, what they point at is left as it is.
    """
    with Fd(os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        for target in sorted(targets, key=len, reverse=True):
            parts = [part for part in os.fsencode(target).split(b"/") if part not in (b"", b".")]
            if not parts or b".." in parts:
                continue
            with suppress(OSError, SystemCallError):
                _remove(root, lower, parts)


def _remove(root: Fd, lower: Sequence[str], parts: list[bytes]) -> None:
    for count in range(len(parts), 0, -1):
        path = b"/".join(parts[:count])
        below = lookup(lower, path)
        if below is not None:
            below.close()
            return
        if not _remove_one(root, b"/".join(parts[: count - 1]), parts[count - 1]):
            return


def _remove_one(root: Fd, parent: bytes, name: bytes) -> bool:
    """Remove an empty file or directory; its directory keeps its times. Returns whether it is not there any more."""
    try:
        directory = openat2(root, parent or b".", os.O_RDONLY | os.O_DIRECTORY, resolve=_INSIDE)
    except SystemCallError as error:
        return error.errno in _GONE
    with directory:
        times = os.fstat(directory.fileno())
        try:
            found = os.stat(name, dir_fd=directory.fileno(), follow_symlinks=False)
        except FileNotFoundError:
            return True
        if stat.S_ISDIR(found.st_mode):
            os.rmdir(name, dir_fd=directory.fileno())  # fails where something is in it
        elif stat.S_ISREG(found.st_mode) and not found.st_size:
            os.unlink(name, dir_fd=directory.fileno())
        else:
            return False
        os.utime(directory.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
        return True
