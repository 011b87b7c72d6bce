"""Durable writes: a file appears on disk whole or not at all.

The recipe, in this order (rename(2), fsync(2); "a file's directory entry needs an fsync of the directory"):

1. write under a temporary name in the same file system,
2. fsync the file,
3. verify what was written, if there is something to verify it against,
4. rename it to its name: *the point of no return*; from here on readers see it, and see it whole,
5. fsync the directory, so that the name survives a loss of power as well.

Dying before step 4 leaves a file in ``tmp/``, which is emptied at the next start.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
from typing import TYPE_CHECKING

from wherry.errors import OutOfSpace, SystemFault
from wherry.linux import trees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["disk_errors", "publish", "remove_tree", "replace_file", "sync_directory", "temporary_name", "write_all"]

log = logging.getLogger(__name__)


@contextlib.contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Translate OSError into wherry's errors.

    :param doing: what was being done, ``"write a blob"``.
    :raises OutOfSpace: the disk or a quota is full.
    :raises SystemFault: anything else.
    """
    try:
        yield
    except OSError as exc:
        kind = OutOfSpace if exc.errno in (errno.ENOSPC, errno.EDQUOT) else SystemFault
        where = f" '{os.fsdecode(exc.filename)}'" if exc.filename is not None else ""
        raise kind(f"cannot {doing}{where}", cause=(exc.strerror or str(exc)).lower()) from exc


def temporary_name(directory: Path, prefix: str) -> Path:
    """A unique name for an unfinished file."""
    return directory / f"{prefix}-{secrets.token_hex(8)}"


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything; write(2) may take less than it is given."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def publish(staged: Path, final: Path) -> None:
    """Steps 4 and 5: give a file, or a tree, that is already on disk its name."""
    staged.rename(final)
    sync_directory(final.parent)


def replace_file(final: Path, data: bytes, tmp: Path, *, durable: bool = True) -> None:
    """Write a small file, or replace one, by the whole recipe.

    :param durable: False for what is written anew at the next start: a power failure may leave less of it.
    """
    staged = temporary_name(tmp, final.name)
    with disk_errors("write"):
        fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            write_all(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        if durable:
            publish(staged, final)
        else:
            staged.rename(final)


def remove_tree(path: Path) -> bool:
    """Remove a directory tree, or what is left of it, as deep as it may be; links in it are removed, not followed.

    What cannot be removed must keep nobody from going on: it is written to the log, and left.

    :return: whether nothing is left.
    """
    try:
        trees.remove(path)
    except OSError as exc:
        log.warning("cannot remove a directory tree completely", extra={"path": str(path), "error": str(exc)})
        return False
    return True
