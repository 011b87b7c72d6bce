"""Artifacts that are no images: one blob and its manifest, out and in. What they mean is the caller's affair.

What goes out is compressed into a temporary file first: so its digest is known, a registry that has it already is sent
nothing, and a connection that breaks is taken up where it broke. What comes in is read by nobody before it is all
there, and what its digest says; what of it came before a break is kept as a partial download.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from wherry.content.durable import disk_errors
from wherry.content.partial import PartialReader
from wherry.content.threads import Check, Worker, finished, in_thread
from wherry.distribution.client.repository import Repository
from wherry.distribution.client.retry import retry
from wherry.distribution.transfer.compress import INPUT, compressor
from wherry.distribution.transfer.downloads import BlobJob, BlobJobs
from wherry.distribution.transfer.lease import with_lease
from wherry.distribution.transfer.progress import Emit, progress_message, status_message
from wherry.distribution.transfer.push_queue import BlobPusher, PushDescriptor, PushQueue
from wherry.distribution.transfer.upload import upload_bytes
from wherry.docker.reference import Reference
from wherry.errors import CorruptData, OutOfSpace, Unavailable
from wherry.images.reference_counts import Lease
from wherry.layers.source import Reader
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import EMPTY, EMPTY_DATA, Descriptor, Manifest

__all__ = ["ArtifactPull", "ArtifactPush", "Choose", "Parcel", "Take"]

_TICK: Final = 0.1
_PIECE: Final = 1 << 20

#: Takes the bytes of an artifact, in a thread of its own; ends early where reading them fails.
Take = Callable[[Reader], Coroutine[Any, Any, object]]
#: Says, of a manifest, which blob is wanted, how many bytes its taker needs on the same disk, and who takes it.
Choose = Callable[[bytes], tuple[Descriptor, int, Take]]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be pushed.

    :param name: as progress messages call it.
    :param content: opens its bytes, which are compressed on the way.
    :param describe: makes the manifest of the blob's digest, its size, and its size uncompressed.
    """

    name: str
    content: Callable[[], AsyncGenerator[bytes, None]]
    describe: Callable[[tuple[Digest, int, int]], Manifest]


class ArtifactPush:
    """One client's push of one artifact.

    :param name: with a tag.
    :param emit: called with each progress message.
    """

    def __init__(self, queue: PushQueue, repository: Repository, name: Reference, emit: Emit) -> None:
        self._store = queue.store
        self._settings = queue.settings
        self._repository = repository
        self._name = name
        self._emit = emit
        self._pusher = BlobPusher(queue, repository, name, emit)

    async def run(self, parcel: Parcel) -> None:
        """Push.

        :raises WherryError: the registry does not want it, or cannot be reached; or its bytes cannot be had.
        :raises OutOfSpace: there is no room for the compressed bytes.
        """
        # The smallest comes first: who may not push is told before the work.
        await upload_bytes(self._repository, EMPTY_DATA, EMPTY.digest, self._settings)
        async with with_lease(self._store) as lease:
            manifest = parcel.describe(await self._pack(parcel, lease))
            await self._pusher.send([PushDescriptor(blob, parcel.name, parcel.name) for blob in manifest.layers])
            await asyncio.to_thread(
                self._store.blob_sources.seen, [blob.digest for blob in manifest.layers], self._name.name
            )
        data, tag = encode(manifest), self._name.tag or ""
        put = partial(self._repository.put_manifest, tag, data, media_types.OCI_MANIFEST)
        digest = await retry(put, self._settings)
        self._emit(status_message(f"{tag}: digest: {digest} size: {len(data)}"))
        self._emit({"progressDetail": {}, "aux": {"Tag": tag, "Digest": str(digest), "Size": len(data)}})

    async def _pack(self, parcel: Parcel, lease: Lease) -> tuple[Digest, int, int]:
        """Compress all of it into a blob of the content store, which stays as long as the lease."""
        with self._store.content.stage() as staged:
            packer = _Gzip(staged.write)
            async with aclosing(parcel.content()) as pieces:
                async for piece in pieces:
                    await in_thread(packer.write, piece)
                    self._emit(progress_message("Packing", parcel.name, packer.taken, 0))
            await in_thread(packer.finish)
            lease.blob(staged.digest)
            await in_thread(staged.commit)
            return staged.digest, staged.size, packer.taken


class _Gzip:
    """Compresses what is written, in pieces of one size: so the same bytes become the same blob.

    :ivar taken: how many bytes were written to it.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.taken = 0
        self._write = write
        self._deflate = compressor()
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        """Take more."""
        self.taken += len(data)
        self._waiting += data
        while len(self._waiting) >= INPUT:
            self._write(self._deflate.compress(bytes(self._waiting[:INPUT])))
            del self._waiting[:INPUT]

    def finish(self) -> None:
        """That was all."""
        self._write(self._deflate.compress(bytes(self._waiting)))
        self._write(self._deflate.flush())


class ArtifactPull:
    """One client's pull of one artifact's blob. Downloads are shared with all others that want the same blob.

    :param source: the repository that has it.
    :param emit: called with each progress message.
    """

    def __init__(self, jobs: BlobJobs, source: Repository, blob: Descriptor, emit: Emit) -> None:
        self._jobs = jobs
        self._source = source
        self._blob = blob
        self._emit = emit

    async def run(self, take: Take, room: int) -> None:
        """Fetch the blob, and have it taken.

        :param room: how many bytes its taker needs on the same disk.
        :raises OutOfSpace: there is not enough room.
        :raises CorruptData: the registry gives something else.
        """
        await asyncio.to_thread(self._check_room, room)
        while not await self._attempt(take):
            pass  # what there was from an earlier time was damaged, and is gone

    async def _attempt(self, take: Take) -> bool:
        """One download. :returns: False when what it went on from was damaged."""
        job = self._jobs.join(self._blob, [self._source], self._emit_status)
        try:
            await self._download(job)
            if await self._digest_of(job) == self._blob.digest:
                await self._hand_over(job, take)
                return True
            job.discard()
            if not job.was_begun:
                raise CorruptData(f"the registry gives something else than the blob {self._blob.digest}")
            return False
        finally:
            job.leave(self._emit_status)

    async def _download(self, job: BlobJob) -> None:
        while not job.task.done():
            if job.is_waiting:
                self._emit_status("Waiting")
            else:
                self._emit(progress_message("Downloading", self._id, job.partial.received, self._blob.size))
            await asyncio.wait({job.task}, timeout=_TICK)
        if job.task.cancelled():
            raise Unavailable("the download was given up")
        job.task.result()
        self._emit(progress_message("Downloading", self._id, self._blob.size, self._blob.size))
        self._emit_status("Verifying Checksum")

    async def _digest_of(self, job: BlobJob) -> Digest:
        worker, reader = Worker(1, "artifact"), job.partial.reader()
        try:
            return await worker.run(partial(_digest, reader, self._blob.digest))
        finally:
            reader.close()
            worker.close()

    async def _hand_over(self, job: BlobJob, take: Take) -> None:
        """Have the bytes taken. Afterwards they are of no use, unless nobody waited for the end."""
        self._emit_status("Download complete")
        reader = job.partial.reader()
        taking = asyncio.create_task(take(reader))
        try:
            while not taking.done():
                self._emit(progress_message("Extracting", self._id, reader.position, self._blob.size))
                await asyncio.wait({taking}, timeout=_TICK)
        except asyncio.CancelledError:
            reader.stop(CancelledError())
            taking.cancel()
            await finished(taking)
            raise
        finally:
            reader.close()
        job.discard()
        taking.result()
        self._emit_status("Pull complete")

    def _check_room(self, more: int) -> None:
        with disk_errors("ask for room"):
            found = os.statvfs(self._jobs.partials.root)
        there = 0
        with suppress(FileNotFoundError):
            there = self._jobs.partials.path(self._blob.digest).stat().st_size
        wanted, free = max(0, self._blob.size - there) + more, found.f_bfree * found.f_frsize
        if wanted > free:
            raise OutOfSpace(f"{wanted} bytes are wanted, and the disk has {free} left")

    @property
    def _id(self) -> str:
        return self._blob.digest.short

    def _emit_status(self, status: str) -> None:
        self._emit(status_message(status, self._id))


def _digest(reader: PartialReader, wanted: Digest, check: Check) -> Digest:
    """The digest of all bytes, by the algorithm of another one."""
    running = wanted.hasher()
    while piece := reader.read(_PIECE):
        check()
        running.update(piece)
    return Digest.from_hash(running)
