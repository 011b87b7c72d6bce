"""Digests of files' content that are remembered: as long as a file looks as it did, it is not read again."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.content.durable import remove_tree, temporary_name
from wherry.errors import SystemFault
from wherry.layers.file_content import attributes

__all__ = ["ContentSums", "Sums"]

log: Final = logging.getLogger(__name__)

Looks = tuple[int, int, int]
"""A file's size, and when its content and its inode changed, in nanoseconds since the epoch."""

_READ: Final = 1 << 20
#: Inode, size, both times, SHA-256.
_RECORD: Final = struct.Struct("=QQqq32s")
_MAGIC: Final = b"wherry content sums 1\n"
#: A file may change twice within one tick of the file system's clock, which the times then do not show.
_TICK: Final = 20_000_000
_MOST_FILES: Final = 2_000_000
#: Files that are remembered although they were not looked at the last time.
_SPARE: Final = 100_000
#: Directories whose sums are in memory; those of others are on the disk.
_IN_MEMORY: Final = 4
#: Directories whose sums are on the disk, and how many seconds after their last use.
_MOST_DIRECTORIES: Final = 1000
_KEPT: Final = 30 * 86400.0
#: What those in memory may have together.
_MOST_IN_MEMORY: Final = 200_000


class Sums:
    """The digests of the files of one directory tree on one file system. For one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Looks, bytes]] = {}
        self._seen: dict[int, tuple[Looks, bytes]] = {}
        self._newest = 0
        self._device = -1

    def begin(self) -> None:
        """Begin to look through the directory, or a part of it."""
        self._seen = {}
        self._newest = time.time_ns() - _TICK

    def end(self) -> bool:
        """End it; returns whether there is anything new."""
        before = len(self._known)
        changed = any(self._known.get(inode) is not one for inode, one in self._seen.items())
        self._known |= self._seen
        if len(self._known) > _SPARE + 2 * len(self._seen):  # most are of files that are gone
            self._known = self._seen
        self._seen = {}
        return changed or len(self._known) != before

    def digest(
        self, directory: int, name: bytes, status: os.stat_result, check: Callable[[], object] = lambda: None
    ) -> bytes:
        """The digest of a regular file's content and extended attributes; these cannot change unseen by its times.

        :param directory: a descriptor of what it is in.
        :param check: called now and then: a file may be one hole that takes an hour to read.
        :raises SystemFault: it is no regular file any more.
        """
        looks = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if self._device < 0:
            self._device = status.st_dev
        known = self._known.get(status.st_ino) if status.st_dev == self._device else None
        if known is not None and known[0] == looks:
            self._seen[status.st_ino] = known
            return known[1]
        found = _read(directory, name, check)
        is_old = status.st_ctime_ns < self._newest
        if is_old and status.st_dev == self._device and len(self._seen) < _MOST_FILES:
            self._seen[status.st_ino] = (looks, found)
        return found

    def __len__(self) -> int:
        return len(self._known)

    def dump(self) -> bytes:
        """All of it, for a file."""
        records = [_RECORD.pack(inode, *looks, found) for inode, (looks, found) in self._known.items()]
        body = struct.pack("=q", self._device) + b"".join(records)
        return _MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def load(cls, data: bytes) -> Sums:
        """The same again; nothing where the file is damaged."""
        sums = cls()
        body = data[len(_MAGIC) + 32 :]
        if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != data[len(_MAGIC) : len(_MAGIC) + 32]:
            return sums
        (sums._device,) = struct.unpack_from("=q", body)
        for inode, size, modified, changed, found in _RECORD.iter_unpack(body[8:]):
            sums._known[inode] = ((size, modified, changed), found)
        return sums


def _read(directory: int, name: bytes, check: Callable[[], object]) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        running = hashlib.sha256()
        while piece := os.read(fd, _READ):
            running.update(piece)
            if len(piece) == _READ:
                check()
        if found := attributes(fd):
            return hashlib.sha256(running.digest() + found).digest()
        return running.digest()
    except IsADirectoryError as error:
        raise SystemFault(f"{os.fsdecode(name)!r} was exchanged while it was read") from error
    finally:
        os.close(fd)


class ContentSums:
    """The sums of several directories, kept in files. Thread-safe.

    :param directory: where the files are; made when missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, Sums] = OrderedDict()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.expire()

    def take(self, path: str) -> Sums:
        """The sums of a directory, for one user until `put`; another one meanwhile begins with none."""
        with self._lock:
            sums = self._memory.pop(path, None)
        if sums is not None:
            return sums
        file = self._file(path)
        with suppress(OSError):
            data = file.read_bytes()
            os.utime(file)
            return Sums.load(data)
        return Sums()

    def put(self, path: str, sums: Sums, *, changed: bool) -> None:
        """Give back what was taken."""
        if changed:
            staged = temporary_name(self._directory, "new")
            try:
                staged.write_bytes(sums.dump())
                staged.rename(self._file(path))
            except OSError as exc:
                staged.unlink(missing_ok=True)
                log.warning("the sums of a directory are not kept", extra={"path": path, "error": str(exc)})
        with self._lock:
            self._memory[path] = sums
            while len(self._memory) > _IN_MEMORY or (
                len(self._memory) > 1 and sum(map(len, self._memory.values())) > _MOST_IN_MEMORY
            ):
                self._memory.popitem(last=False)

    def expire(self) -> None:
        """Forget the sums of directories that were not looked at for long, and those of the oldest of too many."""
        with suppress(OSError):
            found = sorted(((entry.stat().st_mtime, entry.path) for entry in os.scandir(self._directory)), reverse=True)
            oldest = time.time() - _KEPT
            for number, (used, path) in enumerate(found):
                if number >= _MOST_DIRECTORIES or used < oldest:
                    remove_tree(Path(path))

    def _file(self, path: str) -> Path:
        return self._directory / hashlib.sha256(os.fsencode(path)).hexdigest()
