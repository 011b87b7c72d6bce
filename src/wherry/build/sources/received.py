"""A file that comes in pieces: written and hashed beside the event loop, and shown as a transfer."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from wherry.build.model.progress import TransferProgress
from wherry.build.sources.contract import SourceRequest
from wherry.content.durable import disk_errors, write_all
from wherry.content.threads import in_thread
from wherry.errors import TooLarge

__all__ = ["Received"]

_BLOCK: Final = 1 << 20  # bytes that are written at once
_LARGEST: Final = 64 << 30  # bytes
_SHOWN: Final = 100_000_000  # nanoseconds between two states of the transfer
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Received:
    """Receives one file.

    :param path: where; nothing may be there.
    :param name: of the transfer, for people.
    :param algorithm: of its digest.
    """

    def __init__(self, path: Path, request: SourceRequest, name: str, algorithm: str = "sha256") -> None:
        self._path = path
        self._request = request
        self._name = name
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._started = self._shown = time.time_ns()
        self._count = 0

    async def take(self, body: AsyncIterator[bytes], total: int = 0) -> str:
        """Write all pieces; returns the file's digest.

        :param total: bytes that were announced; 0: none were.
        :raises OutOfSpace: the disk is full.
        :raises TooLarge: there are more bytes than any file here may have.
        """
        with disk_errors("store a file"):
            fd = await in_thread(os.open, self._path, _NEW, 0o600, undo=os.close)
        try:
            waiting = bytearray()
            async for piece in body:
                waiting += piece
                if len(waiting) >= _BLOCK:
                    await self._write(fd, bytes(waiting), total)
                    waiting.clear()
            await self._write(fd, bytes(waiting), total)
        finally:
            os.close(fd)
        self._show(total, completed=time.time_ns())
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    async def _write(self, fd: int, data: bytes, total: int) -> None:
        self._count += len(data)
        if self._count > _LARGEST:
            raise TooLarge(f"{self._name}: more than the {_LARGEST} bytes allowed")
        await in_thread(self._store, fd, data)  # the descriptor is closed next
        if time.time_ns() - self._shown > _SHOWN:
            self._show(total)

    def _store(self, fd: int, data: bytes) -> None:
        with disk_errors("store a file"):
            write_all(fd, data)
        self._hash.update(data)

    def _show(self, total: int, completed: int | None = None) -> None:
        self._shown = time.time_ns()
        self._request.progress(
            TransferProgress(
                id=self._name,
                vertex=self._request.vertex,
                name=self._name,
                current=self._count,
                total=total,
                at=self._shown,
                started=self._started,
                completed=completed,
            )
        )
