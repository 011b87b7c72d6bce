"""Partial downloads: blobs that are being fetched, kept across an abort, a crash and a restart.

``partial/<algorithm>-<hex>`` holds a blob's first bytes, or all of it until the image that it belongs to is complete.
Nothing here is trusted: a resumed download is verified as a whole. A file that was not written to for a week is removed
at the next start, after a day by a prune.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.content.durable import disk_errors, write_all
from wherry.errors import InvalidInput
from wherry.oci.digest import Digest

__all__ = ["LIFETIME", "PRUNED", "Partial", "PartialReader", "Partials"]

#: Seconds after which an interrupted download is given up, at the daemon's start.
LIFETIME: Final = 7 * 24 * 3600.0
#: The same for somebody who asks for space: long enough for whoever is only waiting for the network.
PRUNED: Final = 24 * 3600.0


class Partials:
    """The directory of unfinished blobs.

    :param root: made when missing; on the same file system as the content store.
    """

    def __init__(self, root: Path) -> None:
        self.root: Final = root
        with disk_errors("make the directory of partial downloads"):
            root.mkdir(parents=True, exist_ok=True, mode=0o711)

    def path(self, digest: Digest) -> Path:
        """Where a blob's first bytes are, or would be."""
        return self.root / f"{digest.algorithm}-{digest.hex}"

    def open(self, digest: Digest, size: int) -> Partial:
        """Resume a blob's download, or begin it. The caller ensures that it is open once at a time.

        :param size: how many bytes it will have; a file that has more is begun anew.
        """
        return Partial(self.path(digest), digest, size)

    def walk(self) -> Iterator[tuple[Digest, int]]:
        """All partial downloads, with their sizes in bytes."""
        for entry in os.scandir(self.root):
            with suppress(InvalidInput, FileNotFoundError):
                yield Digest(entry.name.replace("-", ":", 1)), entry.stat().st_size

    def remove(self, digest: Digest) -> None:
        """Remove a partial download, if there is one."""
        self.path(digest).unlink(missing_ok=True)

    def expire(self, lifetime: float = LIFETIME) -> int:
        """Remove partial downloads that were not written to for a while, and foreign files.

        :param lifetime: seconds.
        :return: the bytes that this gave back.
        """
        freed = 0
        known = {self.path(digest).name for digest, _ in self.walk()}
        for entry in os.scandir(self.root):
            with suppress(FileNotFoundError):
                status = entry.stat()
                if entry.name not in known or status.st_mtime < time.time() - lifetime:
                    os.unlink(entry.path)
                    freed += status.st_size
        return freed


class Partial:
    """One partial download; one thread writes it while another reads.

    :ivar received: how many of its bytes are there.
    """

    def __init__(self, path: Path, digest: Digest, size: int) -> None:
        self.path: Final = path
        self.digest: Final = digest
        self.size: Final = size
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        with disk_errors("write a blob"):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self.received = os.fstat(self._fd).st_size
            if self.received > size:
                os.ftruncate(self._fd, 0)
                self.received = 0
            os.utime(self._fd)

    @property
    def is_complete(self) -> bool:
        """Whether there are as many bytes as there should be."""
        return self.received == self.size

    def append(self, data: bytes | memoryview) -> None:
        """Write more; may wait for the disk.

        :raises OutOfSpace: the disk is full.
        """
        with disk_errors("write a blob"):
            write_all(self._fd, data)
        with self._changed:
            self.received += len(data)
            self._changed.notify_all()

    def abandon(self, failure: BaseException) -> None:
        """End the download: readers get `failure` where they would wait."""
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def reader(self) -> PartialReader:
        """Open a reader at the beginning; it waits for bytes that are not there yet."""
        return PartialReader(self, os.dup(self._fd))

    def wait_beyond(self, reader: PartialReader) -> int:
        """Wait until there are bytes beyond the reader's position, or the end; returns the number received."""
        with self._changed:
            while self.received <= reader.position < self.size:
                failure = self._failure or reader.failure
                if failure is not None:
                    raise failure
                self._changed.wait()
            return self.received

    def stop(self, reader: PartialReader, failure: BaseException) -> None:
        """Make one reader raise `failure`, where it waits or at its next read."""
        with self._changed:
            reader.failure = failure
            self._changed.notify_all()

    def close(self) -> None:
        """Give the descriptor back; the file stays."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class PartialReader:
    """Reads a partial download while it is written; :meth:`read` waits where the writer is behind.

    :ivar position: how far the reader got.
    :ivar failure: what it is to end with.
    """

    def __init__(self, partial: Partial, fd: int) -> None:
        self.position = 0
        self.failure: BaseException | None = None
        self._partial = partial
        self._fd = fd

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end.

        :raises BaseException: what the writer was abandoned with, or this reader stopped with.
        """
        if self.failure is not None:
            raise self.failure
        there = self._partial.wait_beyond(self)
        data = os.pread(self._fd, min(size, there - self.position), self.position)
        self.position += len(data)
        return data

    def rewound(self) -> PartialReader:
        """The same reader, set back to the beginning."""
        self.position = 0
        return self

    def stop(self, failure: BaseException) -> None:
        """End it from another thread."""
        self._partial.stop(self, failure)

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
