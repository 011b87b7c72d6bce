"""A layer's seal: one hash over everything in its tree, by which damage is noticed later.

It covers names, kinds, owners, modes, times, attributes and contents. A directory's time is left out, as it may be the
time of unpacking; so the same archive on the same layers below always gives the same seal. Contents go in as CRC-32:
the seal is to find what a disk, or a program that should not have, did to a file. Against people who could forge it,
nothing helps that lies beside it on the same disk.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from isal.isal_zlib import crc32

from wherry.content.durable import disk_errors
from wherry.layers.marks import is_whiteout

__all__ = ["crc32", "seal"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE: Final = 1 << 20


def seal(tree: Path, sums: Mapping[int, int] | None = None) -> str:
    """Compute the seal of a layer's directory.

    :param sums: the CRC-32 of files by their inode numbers, where they are known; others are read.
    :raises SystemFault: something could not be read.
    """
    running = hashlib.sha256()
    with disk_errors("look through a layer"):
        root = os.open(tree, _DIRECTORY)
        try:
            running.update(_line(b"", os.fstat(root)))
            for line in _lines(root, b"", sums or {}):
                running.update(line)
        finally:
            os.close(root)
    return running.hexdigest()


def _lines(directory: int, path: bytes, sums: Mapping[int, int]) -> Iterator[bytes]:
    """What the seal covers of each file below a directory, in the order of their names."""
    with os.scandir(directory) as scan:
        entries = sorted((os.fsencode(entry.name), entry.stat(follow_symlinks=False)) for entry in scan)
    for name, status in entries:
        here = path + b"/" + name
        line = _line(here, status) + _attributes(b"/proc/self/fd/%d/%s" % (directory, name))
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            known = sums.get(status.st_ino)
            yield line + b"%d\n" % (_sum(directory, name) if known is None else known)
        elif kind == stat.S_IFLNK:
            yield line + os.readlink(name, dir_fd=directory)
        else:
            yield line
        if kind == stat.S_IFDIR:
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                yield from _lines(inner, here, sums)
            finally:
                os.close(inner)


def _line(path: bytes, status: os.stat_result) -> bytes:
    if is_whiteout(status):
        return b"%s\0deleted\n" % path
    is_directory = stat.S_ISDIR(status.st_mode)
    size, mtime = (0, 0) if is_directory else (status.st_size, status.st_mtime_ns)
    numbers = (status.st_mode, status.st_uid, status.st_gid, size, mtime, status.st_rdev)
    return b"%s\0%o %d %d %d %d %x\n" % (path, *numbers)


def _attributes(path: bytes) -> bytes:
    names = os.listxattr(path, follow_symlinks=False)
    if not names:
        return b""
    return b"".join(
        b"%s=%s\n" % (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names)
    )


def _sum(directory: int, name: bytes) -> int:
    fd = os.open(name, _FILE, dir_fd=directory)
    try:
        total = 0
        while piece := os.read(fd, _PIECE):
            total = crc32(piece, total)
        return total
    finally:
        os.close(fd)
