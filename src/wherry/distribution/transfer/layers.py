"""Layer jobs: fetch, verify and unpack each layer in one pass, shared by all pulls that need it.

Layers are unpacked at the same time, whatever is below them: an archive alone says what its layer adds and deletes.
Only where an archive has no entry for a file's parent directory does the unpacking wait for the layers below, to see
what that looks like there. Jobs get their slots in the order in which they are made, parents first, and fetching never
waits for unpacking; so somebody always gets on.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, overload

from wherry.content.durable import remove_tree
from wherry.content.partial import PartialReader
from wherry.distribution.client.repository import Repository
from wherry.distribution.client.settings import RegistrySettings
from wherry.distribution.transfer.downloads import BlobJob, BlobJobs
from wherry.distribution.transfer.progress import Emit, progress_message, status_message
from wherry.docker.progress import ProgressMessage
from wherry.errors import CorruptData, TooLarge
from wherry.images.store import ImageStore
from wherry.layers.source import Reader
from wherry.layers.store import Layer
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

__all__ = ["LayerJob", "LayerJobs", "RemoteLayer"]

_TICK: Final = 0.1  # seconds between two updates of a bar, as dockerd has it
_UNPACKING: Final = 3  # more at once only compete for the same disk
_PIECE: Final = 1 << 20
_MAX_BLOB: Final = 256 << 30
_POLL: Final = 0.2  # seconds between two looks whether somebody still wants a layer


@dataclass(frozen=True, slots=True)
class RemoteLayer:
    """A layer of an image at a registry: the blob's descriptor, its diff ID, chain ID and parent."""

    blob: Descriptor
    diff_id: Digest
    chain_id: Digest
    parent: Digest | None


class LayerJobs:
    """The running layer jobs, by chain ID and blob."""

    def __init__(self, store: ImageStore, settings: RegistrySettings) -> None:
        self.store: Final = store
        self.blobs: Final = BlobJobs(store.partials, settings)
        self.slots: Final = asyncio.Semaphore(_UNPACKING)
        # Not the loop's own pool: these threads wait for bytes that the loop's have to write.
        self._pool = ThreadPoolExecutor(_UNPACKING, "unpack")
        self._jobs: dict[tuple[Digest, Digest], LayerJob] = {}
        #: Two pulls that shared a download both want to store the blob.
        self.adopting: Final = threading.Lock()

    def join(self, wanted: RemoteLayer, parent: LayerJob | None, sources: Sequence[Repository], emit: Emit) -> LayerJob:
        """Join the job of a layer, starting it when there is none; `LayerJob.leave` leaves it.

        :param parent: the job of the layer below, when that is on its way as well.
        """
        key = (wanted.chain_id, wanted.blob.digest)
        job = self._jobs.get(key)
        if job is None or job.task.cancelling() or job.task.done():
            job = self._jobs[key] = LayerJob(self, wanted, parent, sources)
            job.task.add_done_callback(lambda _, job=job: self._ended(key, job))  # type: ignore[misc]
        job.add(emit)
        return job

    def in_thread(self, work: Callable[..., Layer], *arguments: object) -> asyncio.Future[Layer]:
        """Run `work` in the unpacking pool; the caller holds a slot."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    async def close(self) -> None:
        """Cancel all jobs; partial downloads stay."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.blobs.close()
        self._pool.shutdown(wait=False)

    def _ended(self, key: tuple[Digest, Digest], job: LayerJob) -> None:
        if self._jobs.get(key) is job:
            del self._jobs[key]


class LayerJob:
    """The job of one layer. Made, joined and left on the event loop.

    :ivar layer: resolved with the layer when it is there; threads may wait for it.
    """

    def __init__(
        self, jobs: LayerJobs, wanted: RemoteLayer, parent: LayerJob | None, sources: Sequence[Repository]
    ) -> None:
        self.layer: Final[Future[Layer]] = Future()
        self.wanted: Final = wanted
        self._jobs = jobs
        self._store = jobs.store
        self._parent = parent
        self._sources = sources
        self._listeners: list[Emit] = []
        self._last: ProgressMessage = {}
        self._reader: PartialReader | None = None
        self.task: Final = asyncio.create_task(self._run())

    @property
    def id(self) -> str:
        """Its ID in progress messages."""
        return self.wanted.blob.digest.short

    def add(self, emit: Emit) -> None:
        """Add a listener for progress messages."""
        self._listeners.append(emit)
        emit(status_message("Pulling fs layer", self.id))
        if self._last:
            emit(self._last)

    def leave(self, emit: Emit) -> None:
        """Remove a listener; without any the job is cancelled."""
        if emit in self._listeners:
            self._listeners.remove(emit)
        if not self._listeners and not self.task.done():
            self.task.cancel()

    def _emit(self, message: ProgressMessage) -> None:
        self._last = message
        for listener in self._listeners:
            listener(message)

    def _emit_status(self, status: str) -> None:
        self._emit(status_message(status, self.id))

    # --- on the event loop ------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            layer = await self._fetch()
        except asyncio.CancelledError:
            self.layer.cancel()
            raise
        except Exception as exc:
            self.layer.set_exception(exc)
            raise
        self._emit_status("Pull complete")
        self.layer.set_result(layer)

    async def _fetch(self) -> Layer:
        blob = self.wanted.blob
        if not 0 <= blob.size <= _MAX_BLOB:
            raise TooLarge(f"layer {blob.digest} has {blob.size} bytes, where {_MAX_BLOB} are allowed")
        if self._store.content.holds(blob.digest, blob.size):
            self._emit_status("Download complete")
            async with self._jobs.slots:
                try:
                    return await self._jobs.in_thread(self._from_store)
                except CorruptData:
                    if not await asyncio.to_thread(self._drop_damaged):
                        raise
        try:
            return await self._from_registry()
        except _BadDownload as bad:
            if not bad.was_begun:
                raise bad.error from bad
        try:  # what there was from an earlier time was damaged: once more, all of it
            return await self._from_registry()
        except _BadDownload as bad:
            raise bad.error from bad

    async def _from_registry(self) -> Layer:
        blob = self._jobs.blobs.join(self.wanted.blob, self._sources, self._emit_status)
        watch = asyncio.create_task(self._watch(blob))
        try:
            async with self._jobs.slots:
                layer = await self._unpacked(blob)
            await blob.task
            await watch
            return layer
        finally:
            watch.cancel()
            blob.leave(self._emit_status)

    async def _unpacked(self, blob: BlobJob) -> Layer:
        """Unpack in a thread, which is never left behind: it writes where others may soon."""
        self._reader = reader = blob.partial.reader()
        work = self._jobs.in_thread(self._unpack, reader, reader)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            reader.stop(CancelledError())
            while not work.done():
                with suppress(asyncio.CancelledError):  # being told twice changes nothing
                    await asyncio.wait({work})
            with suppress(asyncio.CancelledError):
                work.exception()  # it ended as it was told to: no news to the event loop
            raise
        except CorruptData as exc:
            await asyncio.wait({blob.task})  # what the blob is shows only when all of it is there
            if blob.is_lost:
                blob.task.result()
            if await asyncio.to_thread(_hash, blob) == self.wanted.blob.digest:
                raise
            blob.discard()
            digest = self.wanted.blob.digest
            error = CorruptData(f"filesystem layer verification failed for digest {digest}")
            raise _BadDownload(error, was_begun=blob.was_begun) from exc
        finally:
            reader.close()

    async def _watch(self, blob: BlobJob) -> None:
        """Emit progress: first of the download, then of the extraction."""
        partial = blob.partial
        if blob.is_waiting:
            self._emit_status("Waiting")
        if not partial.is_complete:
            while not blob.task.done():
                if not blob.is_waiting:
                    self._emit(progress_message("Downloading", self.id, partial.received, partial.size))
                await asyncio.wait({blob.task}, timeout=_TICK)
            if blob.is_lost:
                return
            self._emit(progress_message("Downloading", self.id, partial.size, partial.size))
            self._emit_status("Verifying Checksum")
        self._emit_status("Download complete")
        last = -1
        while last < partial.size:
            position = self._reader.position if self._reader is not None else 0
            if position != last:
                self._emit(progress_message("Extracting", self.id, position, partial.size))
            last = position
            if last < partial.size:
                await asyncio.sleep(_TICK)

    # --- in threads -------------------------------------------------------------------------------

    def _from_store(self) -> Layer:
        with self._store.content.open(self.wanted.blob.digest) as stream:
            return self._unpack(stream, None)

    def _drop_damaged(self) -> bool:
        """Remove the store's blob if the disk has damaged it; otherwise the archive itself is to blame."""
        digest = self.wanted.blob.digest
        try:
            with self._store.content.open(digest) as stream:
                _verify(stream, digest)
        except CorruptData:
            self._store.content.delete(digest)
            return True
        return False

    def _unpack(self, stream: Reader, reader: PartialReader | None) -> Layer:
        wanted, layers = self.wanted, self._store.layers
        if wanted.chain_id in layers:
            _verify(stream, wanted.blob.digest)
            return layers.get(wanted.chain_id)
        staged, unpacked = layers.unpack(stream, _Below(self, reader))
        try:
            if wanted.blob.digest.algorithm == "sha256" and unpacked.digest != wanted.blob.digest:
                raise CorruptData(f"content has digest {unpacked.digest}, not {wanted.blob.digest}")
            if unpacked.diff_id != wanted.diff_id:
                raise CorruptData(f"the layer unpacks to diff ID {unpacked.diff_id}, not {wanted.diff_id}")
            if reader is not None and wanted.blob.digest.algorithm != "sha256":
                _verify(reader.rewound(), wanted.blob.digest)
            self.wait_for_parent(reader)
            return layers.register(staged, wanted.parent, unpacked)
        finally:
            remove_tree(staged)

    def wait_for_parent(self, reader: PartialReader | None) -> None:
        """Wait until the layers below are there.

        :param reader: what is being read; when it is stopped, so is the waiting.
        """
        while self._parent is not None:
            with suppress(TimeoutError):
                self._parent.layer.result(_POLL)
                return
            if reader is not None and reader.failure is not None:
                raise reader.failure

    def directories_below(self, reader: PartialReader | None) -> list[str]:
        """The directories of the layers below, top first, when they are there."""
        self.wait_for_parent(reader)
        layers = self._store.layers
        return [str(layers.path(layer)) for layer in layers.chain(self.wanted.parent)]


class _BadDownload(Exception):
    """The download did not have the expected digest and was discarded."""

    def __init__(self, error: CorruptData, *, was_begun: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.was_begun = was_begun


class _Below(Sequence[str]):
    """The directories of the layers below; access waits until they exist."""

    def __init__(self, job: LayerJob, reader: PartialReader | None) -> None:
        self._job = job
        self._reader = reader

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._job.directories_below(self._reader)[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._job.directories_below(self._reader))

    def __len__(self) -> int:
        return len(self._job.directories_below(self._reader))


def _verify(stream: Reader, digest: Digest) -> None:
    """Read a stream to its end and hold it against its digest."""
    running = digest.hasher()
    while piece := stream.read(_PIECE):
        running.update(piece)
    if Digest.from_hash(running) != digest:
        raise CorruptData(f"content has digest {Digest.from_hash(running)}, not {digest}")


def _hash(blob: BlobJob) -> Digest | None:
    """The digest of a partial file's content."""
    running = hashlib.new(blob.partial.digest.algorithm)
    with blob.partial.path.open("rb") as file:
        while piece := file.read(_PIECE):
            running.update(piece)
    return Digest.from_hash(running)
