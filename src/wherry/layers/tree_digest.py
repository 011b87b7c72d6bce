"""The digest of a layer's unpacked tree: one hash over everything in it, to detect damage later.

It covers names, kinds, owners, modes, times, attributes and contents. A directory's time is left out, as it may be the
time of unpacking; so the same archive on the same layers below always gives the same digest. Contents go in as CRC-32:
the digest detects what a faulty disk or a stray program did to a file. It is no protection against an attacker, who
could replace the digest as well.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

from isal.isal_zlib import crc32, crc32_combine

from wherry.content.durable import disk_errors
from wherry.layers.file_content import data_extents
from wherry.layers.whiteouts import is_whiteout
from wherry.linux.trees import Descent, unrolled

__all__ = ["TreeDigest", "content_line", "crc32", "tree_digest"]

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE: Final = 1 << 20


class TreeDigest:
    """The same digest for who walks a layer's directory anyway: parents before what is in them, names sorted.

    :param root: the status of the layer's directory.
    """

    def __init__(self, root: os.stat_result) -> None:
        self._hash = hashlib.sha256(_line(b"", root))

    def add(self, path: bytes, status: os.stat_result, attributes: Mapping[str, bytes], more: bytes = b"") -> None:
        """Add a file.

        :param path: from the layer's directory, without a leading slash.
        :param attributes: all extended ones.
        :param more: a link's target; of a regular file, `content_line`.
        """
        self._hash.update(_line(b"/" + path, status) + _joined(attributes) + more)

    def hexdigest(self) -> str:
        """The digest of what was added so far."""
        return self._hash.hexdigest()


def content_line(total: int) -> bytes:
    """What a digest has of a file's content.

    :param total: its CRC-32.
    """
    return b"%d\n" % total


def tree_digest(tree: Path, sums: Mapping[int, int] | None = None) -> str:
    """Compute the digest of a layer's directory.

    :param sums: the CRC-32 of files by their inode numbers, where they are known; others are read.
    :raises SystemFault: something could not be read.
    """
    running = hashlib.sha256()
    with disk_errors("look through a layer"), Descent.open(tree) as descent:
        running.update(_line(b"", os.fstat(descent.fileno())))
        for line in unrolled(_lines(descent, b"", sums or {})):
            running.update(line)
    return running.hexdigest()


def _lines(descent: Descent, path: bytes, sums: Mapping[int, int]) -> Generator[Any, None, None]:
    """The digest's input for each file in the current directory, by name; generators are for `unrolled`."""
    with os.scandir(descent.fileno()) as scan:
        entries = sorted((os.fsencode(entry.name), entry.stat(follow_symlinks=False)) for entry in scan)
    for name, status in entries:
        directory = descent.fileno()
        here = path + b"/" + name
        line = _line(here, status) + _attributes(b"/proc/self/fd/%d/%s" % (directory, name))
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            known = sums.get(status.st_ino)
            yield line + content_line(_sum(directory, name) if known is None else known)
        elif kind == stat.S_IFLNK:
            yield line + os.readlink(name, dir_fd=directory)
        else:
            yield line
        if kind == stat.S_IFDIR:
            descent.enter(name)
            yield _lines(descent, here, sums)
            descent.leave()


def _line(path: bytes, status: os.stat_result) -> bytes:
    if is_whiteout(status):
        return b"%s\0deleted\n" % path
    is_directory = stat.S_ISDIR(status.st_mode)
    size, mtime = (0, 0) if is_directory else (status.st_size, status.st_mtime_ns)
    numbers = (status.st_mode, status.st_uid, status.st_gid, size, mtime, status.st_rdev)
    return b"%s\0%o %d %d %d %d %x\n" % (path, *numbers)


def _attributes(path: bytes) -> bytes:
    names = os.listxattr(path, follow_symlinks=False)
    return _joined({name: os.getxattr(path, name, follow_symlinks=False) for name in names}) if names else b""


def _joined(attributes: Mapping[str, bytes]) -> bytes:
    if not attributes:
        return b""
    return b"".join(b"%s=%s\n" % (os.fsencode(name), attributes[name]) for name in sorted(attributes))


def _sum(directory: int, name: bytes) -> int:
    fd = os.open(name, _FILE, dir_fd=directory)
    try:
        status = os.fstat(fd)
        if status.st_blocks * 512 < status.st_size:
            return _sum_of_sparse(fd, status.st_size)
        total = 0
        while piece := os.read(fd, _PIECE):
            total = crc32(piece, total)
        return total
    finally:
        os.close(fd)


def _sum_of_sparse(fd: int, size: int) -> int:
    """Holes are not read: a layer of some hundred bytes can have a file of many terabytes."""
    total = position = 0
    for start, end in data_extents(fd, size):
        total = _and_zeros(total, start - position)
        position = start
        while position < end and (piece := os.pread(fd, min(_PIECE, end - position), position)):
            total = crc32(piece, total)
            position += len(piece)
    return _and_zeros(total, size - position)


def _and_zeros(total: int, count: int) -> int:
    """The CRC-32 of something that ends in so many zero bytes more: in a step for each bit of their number.

    :param total: its CRC-32 without them.
    """
    power, length = crc32(b"\0"), 1
    while count:
        if count & 1:
            total = crc32_combine(total, power, length)
        count >>= 1
        power, length = crc32_combine(power, power, length), length * 2
    return total
