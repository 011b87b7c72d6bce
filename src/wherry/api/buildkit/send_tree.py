"""DiffCopy, the side that sends: a directory's content goes to the client (tonistiigi/fsutil, ``send.go``).

What is sent came from images and steps: links are sent, never followed, and only regular files are read, each one once
whatever number of names it has. Devices, FIFOs and sockets are left out: clients are no root, and fail over them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

from wherry.api.buildkit.gomode import to_go
from wherry.api.buildkit.grpc import framed
from wherry.api.buildkit.proto.fsutil_pb2 import Packet, Stat
from wherry.api.buildkit.receive_tree import DATA
from wherry.errors import InvalidInput, TooLarge
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TreeSender"]

PACKET: Final = 32 << 10  #: bytes of a file in one packet
BATCH: Final = 256 << 10  #: bytes that are given at once
DEEPEST: Final = 500


class TreeSender:
    """Packets for a directory's content; blocking, so not for the event loop. Close it.

    :param prefix: the name of a directory that it goes into; empty: none.
    :param modified: nanoseconds since the epoch, for everything; None: as it is.
    """

    def __init__(self, root: Path, prefix: str = "", modified: int | None = None) -> None:
        # The name of a descriptor in /proc is a link: the root of a mount that nobody else sees.
        self._root = Fd(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._prefix = os.fsencode(prefix)
        self._modified = modified
        self._files: dict[int, bytes] = {}
        self._linked: dict[tuple[int, int], bytes] = {}  # the first name of each file that has several
        self._count = 0

    def close(self) -> None:
        """Close what is open."""
        self._root.close()

    def entries(self) -> Generator[bytes]:
        """All STAT packets, in batches."""
        batch: list[bytes] = []
        size = 0
        for entry in self._walk():
            batch.append(framed(Packet(stat=entry).SerializeToString()))
            size += len(batch[-1])
            if size >= BATCH:
                yield b"".join(batch)
                batch.clear()
                size = 0
        batch.append(framed(Packet().SerializeToString()))
        yield b"".join(batch)

    def content(self, number: int) -> Generator[bytes]:
        """All DATA packets of a file, in batches.

        :raises InvalidInput: it was asked for already, or is none.
        """
        path = self._files.pop(number, None)
        if path is None:
            raise InvalidInput(f"invalid file id {number}")
        with openat2(
            self._root, path, os.O_RDONLY | os.O_NONBLOCK, resolve=RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS
        ) as fd:
            while data := os.read(fd.fileno(), BATCH):
                pieces = [data[start : start + PACKET] for start in range(0, len(data), PACKET)]
                yield b"".join(framed(Packet(type=DATA, ID=number, data=piece).SerializeToString()) for piece in pieces)
        yield framed(Packet(type=DATA, ID=number).SerializeToString())

    def _walk(self) -> Iterator[Stat]:
        """Entries in their order: each directory's by name, and what is in one right behind it."""
        if self._prefix:
            yield self._described(self._prefix, os.fstat(self._root.fileno()))
        base = self._prefix + b"/" if self._prefix else b""
        pending: list[Iterator[tuple[bytes, os.stat_result]]] = [self._names(b"")]
        way: list[bytes] = [b""]
        while pending:
            item = next(pending[-1], None)
            if item is None:
                pending.pop()
                way.pop()
                continue
            name, status = item
            path = way[-1] + name
            yield self._described(base + path, status, path)
            if stat.S_ISDIR(status.st_mode):
                if len(way) > DEEPEST:
                    raise TooLarge("directories are too deep")
                pending.append(self._names(path))
                way.append(path + b"/")

    def _names(self, path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """What is in a directory, read at once: no descriptor is held while it is gone through."""
        flags = os.O_RDONLY | os.O_DIRECTORY
        with openat2(self._root, path or b".", flags, resolve=RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS) as fd:
            names = sorted(map(os.fsencode, os.listdir(fd.fileno())))
            found = [(name, os.stat(name, dir_fd=fd.fileno(), follow_symlinks=False)) for name in names]
        kept = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
        return iter([item for item in found if stat.S_IFMT(item[1].st_mode) in kept])

    def _described(self, path: bytes, status: os.stat_result, here: bytes = b"") -> Stat:
        number, self._count = self._count, self._count + 1
        entry = Stat(
            path=path,
            mode=to_go(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            modTime=status.st_mtime_ns if self._modified is None else self._modified,
        )
        if stat.S_ISREG(status.st_mode):
            first = self._first_name(path, status)
            if first != path:  # without data: the client links it to what it has
                entry.linkname = first
                return entry
            entry.size = status.st_size
            self._files[number] = here
        elif stat.S_ISLNK(status.st_mode):
            parent, _, name = here.rpartition(b"/")
            with openat2(self._root, parent or b".", os.O_PATH, resolve=RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS) as fd:
                entry.linkname = os.readlink(name, dir_fd=fd.fileno())
            entry.size = len(entry.linkname)
        return entry

    def _first_name(self, path: bytes, status: os.stat_result) -> bytes:
        """The name by which a file was sent first."""
        if status.st_nlink == 1:
            return path
        return self._linked.setdefault((status.st_dev, status.st_ino), path)
