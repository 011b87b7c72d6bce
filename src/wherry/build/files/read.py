"""Files of a snapshot are read for a client: bounded, and never beyond the snapshot's root."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from wherry.build.files.rooted import Place, file_errors, locate, shown
from wherry.build.files.sources import clean
from wherry.build.model.service import FileInfo
from wherry.errors import InvalidInput, NotFound, TooLarge
from wherry.linux.fd import Fd
from wherry.oci.go_patterns import path_pattern

__all__ = ["MAX_READ", "list_directory", "read_file", "stat_file"]

#: Bytes of one answer: a message of gRPC's has 4 MiB at most, with what is around it.
MAX_READ: Final = 16 << 20
#: Entries of one answer.
_MOST: Final = 100_000
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_file(root: int, path: str, offset: int = 0, length: int = -1, *, limit: int = MAX_READ) -> bytes:
    """A part of a file; links are followed, inside.

    :param length: -1: to its end.
    :raises NotFound: there is no such file.
    :raises InvalidInput: it is no regular file.
    :raises TooLarge: it is more than `limit` bytes.
    """
    encoded = clean(path)
    if offset < 0:
        raise InvalidInput(f"invalid offset {offset}")
    with _existing(root, encoded, "open") as place, file_errors("read", encoded):
        assert place.status is not None
        if place.is_directory:
            raise InvalidInput(f"read {shown(encoded)}: is a directory")
        if not stat.S_ISREG(place.status.st_mode):
            raise InvalidInput(f"read {shown(encoded)}: is not a regular file")
        with Fd(os.open(place.name, _OPEN, dir_fd=place.directory.fileno())) as fd:
            size = max(os.fstat(fd.fileno()).st_size - offset, 0)
            wanted = size if length < 0 else min(length, size)
            if wanted > limit:
                raise TooLarge(f"{shown(encoded)} has {wanted} bytes, where {limit} can be read at once")
            return _read(fd.fileno(), offset, wanted)


def stat_file(root: int, path: str, *, follow: bool = True) -> FileInfo:
    """One file; links are followed, inside.

    :raises NotFound: there is no such file.
    """
    encoded = clean(path)
    with _existing(root, encoded, "lstat", follow=follow) as place:
        assert place.status is not None
        name = encoded.rpartition(b"/")[2] or b"/"
        return _info(os.fsdecode(name), place.directory.fileno(), place.name, place.status)


def list_directory(root: int, path: str, pattern: str = "") -> list[FileInfo]:
    """The entries of a directory whose names fit a pattern of Go's ``filepath.Match``, sorted.

    :param pattern: empty: all.
    :raises NotFound: there is no such directory.
    :raises InvalidInput: it is something else, or the pattern is none.
    :raises TooLarge: there are too many.
    """
    encoded = clean(path)
    fits: Callable[[str], bool] = path_pattern(pattern) if pattern else lambda name: True
    with _existing(root, encoded, "open") as place, file_errors("readdirent", encoded):
        if not place.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with place.open_directory() as directory, os.scandir(directory.fileno()) as scan:
            found = []
            for entry in scan:
                if not fits(entry.name):
                    continue
                with suppress(FileNotFoundError):  # overlayfs lists a whiteout where nothing is below
                    status = entry.stat(follow_symlinks=False)
                    found.append(_info(entry.name, directory.fileno(), os.fsencode(entry.name), status))
                if len(found) > _MOST:
                    raise TooLarge(f"{shown(encoded)} has more than {_MOST} entries")
    return sorted(found, key=lambda info: info.path)


def _existing(root: int, path: bytes, call: str, *, follow: bool = True) -> Place:
    place = locate(root, path, follow=follow, call=call)
    if place.status is None:
        place.close()
        raise NotFound(f"{call} {shown(path)}: no such file or directory")
    return place


def _read(fd: int, offset: int, length: int) -> bytes:
    pieces = []
    while length and (piece := os.pread(fd, length, offset)):
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
    return b"".join(pieces)


def _info(path: str, directory: int, name: bytes, status: os.stat_result) -> FileInfo:
    is_link = stat.S_ISLNK(status.st_mode)
    return FileInfo(
        path,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
        os.fsdecode(os.readlink(name, dir_fd=directory)) if is_link else "",
    )
