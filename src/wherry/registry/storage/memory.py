"""Storage in this process's memory: for tests, and for registries that live as long as a job."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wherry.errors import Conflict, NotFound
from wherry.registry.storage.contract import CHUNK, Entry, Progress, Stat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import BinaryIO

__all__ = ["MemoryContent", "MemoryStorage"]


class MemoryContent:
    """A part of some bytes; see `wherry.registry.storage.contract.Content`."""

    def __init__(self, data: memoryview) -> None:
        self.file: BinaryIO | None = None
        self.start = 0
        self.size = len(data)
        self._data = data

    async def chunks(self) -> AsyncIterator[bytes]:
        """Piece by piece."""
        for at in range(0, self.size, CHUNK):
            yield bytes(self._data[at : at + CHUNK])

    async def close(self) -> None:
        """Nothing is open."""


class _Growing:
    def __init__(self) -> None:
        self.data = bytearray()
        self.modified = time.time()
        self.taken = False


class MemoryStorage:
    """A dictionary; see `wherry.registry.storage.contract.Storage`."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._uploads: dict[str, _Growing] = {}

    async def read(self, key: str) -> bytes:
        """See the contract."""
        return self._object(key)[0]

    async def stat(self, key: str) -> Stat:
        """See the contract."""
        data, modified = self._object(key)
        return Stat(len(data), modified)

    async def open(self, key: str, start: int = 0, length: int | None = None) -> MemoryContent:
        """See the contract."""
        data = memoryview(self._object(key)[0])
        return MemoryContent(data[start : len(data) if length is None else start + length])

    async def write(self, key: str, data: bytes) -> None:
        """See the contract."""
        self._objects[key] = data, time.time()

    async def touch(self, key: str) -> None:
        """See the contract."""
        self._objects[key] = self._object(key)[0], time.time()

    async def delete(self, key: str) -> None:
        """See the contract."""
        self._objects.pop(key, None)

    async def entries(self, prefix: str, after: str = "") -> AsyncIterator[Entry]:
        """See the contract."""
        for key in sorted(key for key in self._objects if key.startswith(prefix) and key > after):
            if key in self._objects:
                data, modified = self._objects[key]
                yield Entry(key, len(data), modified)

    async def begin(self, upload: str) -> None:
        """See the contract."""
        self._uploads[upload] = _Growing()

    async def uploaded(self, upload: str) -> Progress:
        """See the contract."""
        return Progress(len(self._upload(upload).data))

    async def append(
        self, upload: str, at: Progress, pieces: AsyncIterator[bytes], tap: Callable[[bytes], object]
    ) -> Progress:
        """See the contract."""
        growing = self._at(upload, at)
        growing.taken = True
        try:
            async for piece in pieces:
                if self._upload(upload) is not growing:
                    raise NotFound(f"no such upload: {upload}")
                growing.data += piece
                tap(piece)
        finally:
            growing.taken = False
            growing.modified = time.time()
        return Progress(len(growing.data))

    async def complete(self, upload: str, at: Progress) -> Progress:
        """See the contract."""
        self._at(upload, at)
        return at

    async def contents(self, upload: str, at: Progress) -> AsyncIterator[bytes]:
        """See the contract."""
        yield bytes(self._at(upload, at).data)

    async def finish(self, upload: str, key: str, at: Progress) -> None:
        """See the contract."""
        data = bytes(self._at(upload, at).data)
        await self.write(key, data)
        del self._uploads[upload]

    async def abort(self, upload: str) -> None:
        """See the contract."""
        self._uploads.pop(upload, None)

    async def uploads(self) -> AsyncIterator[tuple[str, float]]:
        """See the contract."""
        for name, growing in sorted(self._uploads.items()):
            yield name, growing.modified

    async def adopt(self, key: str) -> bool:
        """There is nothing elsewhere."""
        return False

    async def close(self) -> None:
        """Nothing is open."""

    def _object(self, key: str) -> tuple[bytes, float]:
        try:
            return self._objects[key]
        except KeyError:
            raise NotFound(f"no such object: {key}") from None

    def _at(self, upload: str, at: Progress) -> _Growing:
        growing = self._upload(upload)
        if growing.taken:
            raise Conflict("somebody else is appending to this upload")
        if len(growing.data) != at.size:
            raise Conflict(f"the upload has {len(growing.data)} bytes, not {at.size}")
        return growing

    def _upload(self, upload: str) -> _Growing:
        try:
            return self._uploads[upload]
        except KeyError:
            raise NotFound(f"no such upload: {upload}") from None
