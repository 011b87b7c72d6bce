"""Reproducible gzip compression of an uncompressed layer while it is uploaded.

Nothing in the file depends on time or place: the header has neither (RFC 1952), the pieces are of one size. Pushing
the same layer again therefore gives the same digest, so that the registry has it already. Compression goes through
isal, at the level that gives the most for a disk's speed. It is also the highest that gives the same on every
processor: level 3 looks for matches with other instructions, and finds other ones, where there are AVX2 or AVX-512.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError, Executor
from pathlib import Path
from typing import Final

from isal import isal_zlib

from wherry.content.durable import disk_errors, write_all
from wherry.content.threads import finished
from wherry.errors import CorruptData
from wherry.images.blob_sources import Packed
from wherry.oci.digest import Digest

__all__ = ["INPUT", "Packing", "StoredBlob", "compressor"]

_LEVEL: Final = 2
_GZIP: Final = 31  # window bits: 15, and 16 for a gzip header
#: What a compressor has to be given at a time, so that the same layer gives the same bytes.
INPUT: Final = 1 << 20
_PIECE: Final = 512 << 10


def compressor() -> isal_zlib.Compress:
    """Makes gzip's format of what it is given in pieces of `INPUT` bytes: of the same bytes always the same."""
    return isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP)


class StoredBlob:
    """A blob of the content store, to be sent as it is."""

    def __init__(self, path: Path, size: int) -> None:
        self.size: Final = size
        self.sent = 0
        self._path = path

    async def pieces(self, offset: int) -> AsyncIterator[bytes]:
        """Its bytes from an offset on."""
        self.sent = offset
        with self._path.open("rb") as file:
            while data := await asyncio.to_thread(os.pread, file.fileno(), _PIECE, self.sent):
                yield data
                self.sent += len(data)

    @property
    def progress(self) -> int:
        """How many bytes were given out."""
        return self.sent


class Packing:
    """Compresses a layer in a thread, into a temporary file that is read at the same time.

    To be made on the event loop, and closed there.

    :param blob: the uncompressed layer, verified on the way.
    :param digest: what it has to be.
    :param target: the temporary file.
    :ivar done: what it became, at the end.
    """

    def __init__(self, blob: Path, digest: Digest, target: Path, pool: Executor) -> None:
        self._loop = asyncio.get_running_loop()
        self._blob, self._digest, self._target = blob, digest, target
        self._position = 0
        self._written = 0
        self._grew = asyncio.Event()
        self._given_up = threading.Event()
        with disk_errors("write a blob"):
            self._fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.done: Final[asyncio.Future[Packed]] = self._loop.run_in_executor(pool, self._pack)
        self.done.add_done_callback(lambda _: self._grew.set())

    @property
    def progress(self) -> int:
        """How many uncompressed bytes were taken."""
        return self._position

    async def pieces(self, offset: int) -> AsyncIterator[bytes]:
        """The compressed bytes from an offset on, as they come."""
        while True:
            self._grew.clear()
            if offset < self._written:
                data = await asyncio.to_thread(os.pread, self._fd, min(_PIECE, self._written - offset), offset)
                offset += len(data)
                yield data
            elif self.done.done():
                self.done.result()
                if offset == self._written:
                    return
            else:
                await self._grew.wait()

    async def close(self) -> None:
        """End the thread and remove the file, also while this is cancelled."""
        self._given_up.set()
        await finished(self.done)
        os.close(self._fd)
        self._target.unlink(missing_ok=True)

    def _pack(self) -> Packed:
        plain, packed = self._digest.hasher(), hashlib.sha256()
        deflate = compressor()
        with disk_errors("read a blob"), self._blob.open("rb", buffering=0) as file:
            while data := file.read(INPUT):
                if self._given_up.is_set():
                    raise CancelledError
                plain.update(data)
                self._position += len(data)
                self._write(deflate.compress(data), packed)
        self._write(deflate.flush(), packed)
        if Digest.from_hash(plain) != self._digest:
            raise CorruptData(f"blob {self._digest} has digest {Digest.from_hash(plain)}")
        return Packed(Digest.from_hash(packed), self._written)

    def _write(self, data: bytes, running: hashlib._Hash) -> None:
        if data:
            running.update(data)
            with disk_errors("write a blob"):
                write_all(self._fd, data)
            self._written += len(data)
            self._loop.call_soon_threadsafe(self._grew.set)
