"""Blobs that are being fetched, kept across everything that may interrupt that: an abort, a crash, a restart.

``partial/<algorithm>-<hex>`` holds a blob's first bytes, or all of it until the image that it belongs to is complete.
Nothing here is trusted: whoever takes it up again verifies the whole. What nobody took up for a week goes at the next
start, and what nobody took up for a day with a prune.
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

__all__ = ["LIFETIME", "PRUNED", "Growing", "Partial", "Partials"]

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
        """Go on with a blob, or begin it. Only one at a time may have it open; its user sees to that.

        :param size: how many bytes it will have; a file that has more is begun anew.
        """
        return Partial(self.path(digest), digest, size)

    def walk(self) -> Iterator[tuple[Digest, int]]:
        """All that is there, with the bytes that each takes."""
        for entry in os.scandir(self.root):
            with suppress(InvalidInput, FileNotFoundError):
                yield Digest(entry.name.replace("-", ":", 1)), entry.stat().st_size

    def remove(self, digest: Digest) -> None:
        """Throw away what there is of a blob."""
        self.path(digest).unlink(missing_ok=True)

    def expire(self, lifetime: float = LIFETIME) -> int:
        """Throw away what nobody wrote to for a while, and what has no business here.

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
    """One blob on its way; written by one, read meanwhile by another.

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
        """No more will come: readers get `failure` where they would wait."""
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def reader(self) -> Growing:
        """Read it from its beginning, also what is not there yet."""
        return Growing(self, os.dup(self._fd))

    def wait_beyond(self, reader: Growing) -> int:
        """Wait for more bytes than a reader has read; says how many there are, which is no more only at the end."""
        with self._changed:
            while self.received <= reader.position < self.size:
                failure = self._failure or reader.failure
                if failure is not None:
                    raise failure
                self._changed.wait()
            return self.received

    def stop(self, reader: Growing, failure: BaseException) -> None:
        """Let one reader get `failure` where it waits, or reads the next time."""
        with self._changed:
            reader.failure = failure
            self._changed.notify_all()

    def close(self) -> None:
        """Give the descriptor back; the file stays."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Growing:
    """A file that is read while it is written; :meth:`read` waits where the writer is behind.

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

    def again(self) -> Growing:
        """The same reader, at the beginning."""
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
