"""Files of this machine as an archive, made while it is sent."""

from __future__ import annotations

import os
import stat

from wherry.errors import SystemFault
from wherry.layers.tar.entry import Entry, Kind
from wherry.layers.tar.writer import END, header, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LocalArchive"]

_CHUNK = 1 << 20
_LARGE = 1 << 16
_TOGETHER = 1 << 18
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LocalArchive:
    """The archive of what is at a path.

    :param path: without a link at its end that is to be followed.
    :param name: by which it is called in the archive.
    :ivar content: bytes of files so far.
    :ivar sent: bytes of the archive so far.
    """

    def __init__(self, path: str, name: str) -> None:
        self._path = os.fsencode(path)
        self._name = os.fsencode(name)
        self._links: dict[tuple[int, int], bytes] = {}
        self.content = 0
        self.sent = 0

    def pieces(self) -> Iterator[bytes]:
        """The archive; small files go together, pieces of large ones as they are.

        :raises OSError: something cannot be read.
        """
        waiting: list[bytes] = []
        size = 0
        for piece in self._members():
            if len(piece) < _LARGE:
                waiting.append(piece)
                size += len(piece)
                if size < _TOGETHER:
                    continue
            if waiting:
                self.sent += size
                yield b"".join(waiting)
                waiting, size = [], 0
            if len(piece) >= _LARGE:
                self.sent += len(piece)
                yield piece
        self.sent += size + len(END)
        yield b"".join((*waiting, END))

    def _members(self) -> Iterator[bytes]:
        """What is at the path and below it; directories come before what is in them, names in order."""
        todo = [(self._path, self._name)]
        while todo:
            path, name = todo.pop()
            status = os.lstat(path)
            yield from self._member(path, name, status)
            if stat.S_ISDIR(status.st_mode):
                inside = sorted(os.listdir(path), reverse=True)
                todo += [(os.path.join(path, one), os.path.join(name, one)) for one in inside]

    def _member(self, path: bytes, name: bytes, status: os.stat_result) -> Iterator[bytes]:
        kind = Kind.of_mode(status.st_mode)
        if kind is None:
            return  # a socket
        entry = Entry(name, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, mtime=status.st_mtime_ns)
        if kind is not Kind.DIRECTORY and status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                entry.kind, entry.target = Kind.LINK, first
                yield header(entry)
                return
        if kind is Kind.FILE:
            yield from self._file(path, entry, status)
            return
        if kind is Kind.SYMLINK:
            entry.target = os.readlink(path)
        elif kind in (Kind.CHARACTER, Kind.BLOCK):
            entry.device = os.major(status.st_rdev), os.minor(status.st_rdev)
        yield header(entry)

    def _file(self, path: bytes, entry: Entry, status: os.stat_result) -> Iterator[bytes]:
        """A file; one that shrinks meanwhile is an error, of one that grows comes what was there."""
        file = os.open(path, _READING)
        try:
            capability = _capability(file)
            if capability:
                entry.xattrs = {"security.capability": capability}
            entry.size = left = status.st_size
            yield header(entry)
            self.content += left
            while left:
                piece = os.read(file, min(left, _CHUNK))
                if not piece:
                    raise SystemFault(f"{os.fsdecode(path)} became shorter while it was copied")
                left -= len(piece)
                yield piece
        finally:
            os.close(file)
        yield padding(entry.size)


def _capability(file: int) -> bytes:
    try:
        return os.getxattr(file, "security.capability")
    except OSError:
        return b""
