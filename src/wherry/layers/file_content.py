"""One file's content and attributes, from one descriptor to another."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Final

from wherry.layers.whiteouts import OVERLAY_ATTRIBUTES

__all__ = ["Content", "attributes", "copy_attributes", "data_extents"]

_FICLONE: Final = 0x40049409  # linux/fs.h
#: Up to this size, one read and one write cost less than asking the kernel to copy.
_SMALL: Final = 128 << 10
_PIECE: Final = 1 << 30
_READ: Final = 1 << 20
# Not the content's, but the host's own: labels of its security module.
_HOSTS_OWN: Final = ("security.selinux", "security.apparmor", "security.evm", "security.ima")
_CANNOT_SHARE: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM)


class Content:
    """Copies files' content in the cheapest way that the two file systems know; holes stay holes.

    :param check: called now and then: raises where the work is not wanted any more.
    """

    def __init__(self, check: Callable[[], object] = lambda: None) -> None:
        self._check = check
        self._can_share = True
        self._can_copy = True

    def copy(self, source: int, target: int, status: os.stat_result) -> None:
        """Copy all of a file into an empty one.

        :param status: the source's.
        :raises OSError: the disk is full, for one.
        """
        size = status.st_size
        if size <= _SMALL:
            self._copy_small(source, target, size)
            return
        if self._can_share and self._share(source, target):
            return
        if status.st_blocks * 512 < size:
            self._copy_sparse(source, target, size)
        else:
            self._copy_range(source, target, 0, size)

    @staticmethod
    def _copy_small(source: int, target: int, size: int) -> None:
        """A file that grows meanwhile is copied as it was, one that shrinks as it is."""
        if size:
            rest = memoryview(os.read(source, size))
            while rest:
                rest = rest[os.write(target, rest) :]

    def _share(self, source: int, target: int) -> bool:
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as error:
            if error.errno not in _CANNOT_SHARE:
                raise
            self._can_share = False
            return False
        return True

    def _copy_sparse(self, source: int, target: int, size: int) -> None:
        os.ftruncate(target, size)
        for start, end in data_extents(source, size):
            self._copy_range(source, target, start, end)

    def _copy_range(self, source: int, target: int, start: int, end: int) -> None:
        while start < end and self._can_copy:
            self._check()
            try:
                count = os.copy_file_range(source, target, min(end - start, _PIECE), start, start)
            except OSError as error:
                if error.errno not in _CANNOT_SHARE:
                    raise
                self._can_copy = False
                break
            if not count:
                return
            start += count
        while start < end:
            self._check()
            piece = memoryview(os.pread(source, min(end - start, _READ), start))
            if not piece:
                return
            while piece:
                count = os.pwrite(target, piece, start)
                piece, start = piece[count:], start + count


def data_extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data, from its beginning on: beginnings and ends. The rest are holes: lseek(2), SEEK_HOLE.

    :param size: of the file; what is beyond is left out.
    """
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # there is a hole up to the end, or that is nearer than it was
                return
            raise
        if start < end:
            yield start, end


def copy_attributes(source: int | bytes, target: int | bytes, but: tuple[str, ...] = OVERLAY_ATTRIBUTES) -> None:
    """Copy extended attributes, but those of the host's security module.

    As in BuildKit, what one of the two file systems does not have or take is left out.

    :param source: a descriptor, or a path, whose last name is not followed.
    :param but: how the names of others begin that are not copied: those of overlayfs.
    """
    try:
        names = os.listxattr(source, follow_symlinks=isinstance(source, int))
    except OSError:
        return
    for name in names:
        if not name.startswith(but) and name not in _HOSTS_OWN:
            _copy_attribute(source, target, name)


def _copy_attribute(source: int | bytes, target: int | bytes, name: str) -> None:
    try:
        value = os.getxattr(source, name, follow_symlinks=isinstance(source, int))
        os.setxattr(target, name, value, follow_symlinks=isinstance(target, int))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise


def attributes(file: int | bytes) -> bytes:
    """A file's extended attributes for a checksum, but those that are not copied.

    :param file: a descriptor, or a path, whose last name is not followed.
    """
    follow = isinstance(file, int)
    try:
        names = os.listxattr(file, follow_symlinks=follow)
    except OSError:
        return b""
    pieces = []
    for name in sorted(names):
        if not name.startswith(OVERLAY_ATTRIBUTES) and name not in _HOSTS_OWN:
            value, encoded = os.getxattr(file, name, follow_symlinks=follow), os.fsencode(name)
            pieces.append(b"%d %d\n%s%s" % (len(encoded), len(value), encoded, value))
    return b"".join(pieces)
