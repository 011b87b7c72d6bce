"""Directories that are read in pieces, each of which says where to go on: getdents64(2)."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final, NamedTuple

from wherry.linux._libc import fail, system_call
from wherry.linux.fd import FdLike, number

__all__ = ["Named", "read_directory"]

# struct linux_dirent64: inode number, position of the next, length of this one, its type; then the name.
_ENTRY: Final = struct.Struct("=QqHB")
_PIECE: Final = 32 << 10
# A DT_ constant is the upper four bits of the mode (readdir(3)).
_TYPE_SHIFT: Final = 12

_getdents64 = system_call("getdents64", ctypes.c_uint, ctypes.c_void_p, ctypes.c_size_t)


class Named(NamedTuple):
    """A name in a directory.

    :param kind: the file's kind, as in ``st_mode``; 0: the file system does not say.
    :param next: where the directory goes on after it.
    """

    name: bytes
    kind: int
    next: int


def read_directory(fd: FdLike, position: int = 0) -> list[Named]:
    """Read some of the names of a directory, without ``.`` and ``..``; none at its end.

    :param fd: its descriptor; where that stands does not matter.
    :param position: where to begin: 0, or what an earlier name said, from whichever descriptor.
    """
    os.lseek(number(fd), position, os.SEEK_SET)
    buffer = ctypes.create_string_buffer(_PIECE)
    while True:
        length = _getdents64(number(fd), buffer, _PIECE)
        if length < 0:
            fail("getdents64", f"descriptor {number(fd)}")
        found = [one for one in _parse(buffer.raw[:length]) if one.name not in (b".", b"..")]
        if found or not length:
            return found


def _parse(data: bytes) -> list[Named]:
    found, offset = [], 0
    while offset < len(data):
        _, position, length, kind = _ENTRY.unpack_from(data, offset)
        name = data[offset + _ENTRY.size : offset + length]
        found.append(Named(name[: name.index(0)], kind << _TYPE_SHIFT, position))
        offset += length
    return found
