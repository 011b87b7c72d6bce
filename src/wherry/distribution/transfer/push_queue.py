"""The push queue: upload blobs that the registry lacks, and compress layers that are stored uncompressed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from wherry.distribution.client.repository import Repository, Upload
from wherry.distribution.client.retry import retry
from wherry.distribution.client.settings import RegistrySettings
from wherry.distribution.transfer.compress import Packing, StoredBlob
from wherry.distribution.transfer.progress import Emit, progress_message, status_message
from wherry.distribution.transfer.upload import Identify, Outgoing, upload
from wherry.docker.reference import Reference
from wherry.errors import NotFound, WherryError
from wherry.images.blob_sources import Packed
from wherry.images.store import ImageStore
from wherry.oci import media_types
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

__all__ = ["BlobPusher", "PushDescriptor", "PushQueue"]

_TICK: Final = 0.1
_PACKING: Final = 2


class PushQueue:
    """The slots that all pushes of an engine share: for uploads, and for compression."""

    def __init__(self, store: ImageStore, settings: RegistrySettings) -> None:
        self.store: Final = store
        self.settings: Final = settings
        self.slots: Final = asyncio.Semaphore(settings.max_uploads)
        self.packing: Final = asyncio.Semaphore(_PACKING)
        self.pool: Final = ThreadPoolExecutor(_PACKING, "compress")

    def close(self) -> None:
        """Let the threads end."""
        self.pool.shutdown(wait=False)


@dataclass(frozen=True, slots=True)
class PushDescriptor:
    """A blob to push, with its ID in progress messages (dockerd's push descriptor).

    :param packed: whether it is stored uncompressed and is compressed for the registry.
    :param image: the image that needs it, for errors.
    """

    blob: Descriptor
    id: str
    image: str
    packed: bool = False


class BlobPusher:
    """Pushes blobs to one repository.

    :param name: the name that is pushed to.
    :param emit: called with each progress message.
    """

    def __init__(self, queue: PushQueue, repository: Repository, name: Reference, emit: Emit) -> None:
        self._queue = queue
        self._store = queue.store
        self._settings = queue.settings
        self._repository = repository
        self._name = name
        self._emit = emit

    async def send(self, layers: Sequence[PushDescriptor]) -> list[Descriptor]:
        """Push all, several at the same time, each digest once. :returns: the descriptors as pushed."""
        for layer in reversed(layers):
            self._emit(status_message("Preparing", layer.id))
        tasks: dict[Digest, asyncio.Task[Descriptor]] = {}
        for layer in layers:
            if layer.blob.digest not in tasks:
                tasks[layer.blob.digest] = asyncio.create_task(self._send_layer(layer))
        try:
            await asyncio.gather(*tasks.values())
        except BaseException:
            for task in tasks.values():
                task.cancel()
            await asyncio.wait(tasks.values())
            raise
        return [tasks[layer.blob.digest].result() for layer in layers]

    async def _send_layer(self, layer: PushDescriptor) -> Descriptor:
        if self._queue.slots.locked():
            self._emit(status_message("Waiting", layer.id))
        async with self._queue.slots:
            blob = layer.blob
            if not layer.packed:
                begun = await self._is_there(layer, blob.digest)
                if not isinstance(begun, bool):
                    path = self._store.content.path(blob.digest)
                    source = StoredBlob(path, await asyncio.to_thread(self._size, layer))
                    await self._send(layer, source, source.size, begun, _known(blob.digest))
                return blob
            packed = await asyncio.to_thread(self._store.blob_sources.packed, blob.digest)
            begun = None if packed is None else await self._is_there(layer, packed.digest)
            if not isinstance(begun, bool):
                packed = await self._pack_and_send(layer, begun)
            assert packed is not None
            return Descriptor(media_types.layer_type("gzip"), packed.digest, packed.size)

    async def _pack_and_send(self, layer: PushDescriptor, begun: Upload | None) -> Packed:
        """Compress a layer, and send it at the same time."""
        digest = layer.blob.digest
        total = await asyncio.to_thread(self._size, layer)
        async with self._queue.packing:
            target = self._store.content.temporary()
            packing = Packing(self._store.content.path(digest), digest, target, self._queue.pool)
            try:

                async def identify() -> Digest:
                    return (await packing.done).digest

                await self._send(layer, packing, total, begun, identify)
                packed = await packing.done
            finally:
                await packing.close()
        await asyncio.to_thread(self._store.blob_sources.pack, digest, packed)
        return packed

    async def _send(
        self, layer: PushDescriptor, source: Outgoing, total: int, begun: Upload | None, identify: Identify
    ) -> None:
        sending = asyncio.create_task(upload(self._repository, source, identify, self._settings, begun))
        try:
            while not sending.done():
                self._emit(progress_message("Pushing", layer.id, source.progress, total))
                await asyncio.wait({sending}, timeout=_TICK)
            sending.result()
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait({sending})
        self._emit(progress_message("Pushing", layer.id, total, total))
        self._emit(status_message("Pushed", layer.id))

    async def _is_there(self, layer: PushDescriptor, digest: Digest) -> bool | Upload | None:
        """Whether the registry has a blob, or mounts it from another repository; else the upload that it began."""
        size = await retry(partial(self._repository.size_of, digest), self._settings)
        if size is not None:
            self._emit(status_message("Layer already exists", layer.id))
            return True
        begun: Upload | None = None
        for source in await asyncio.to_thread(self._candidates, digest):
            try:
                begun = await retry(partial(self._repository.begin_upload, digest, source), self._settings)
            except WherryError:
                continue  # it may not be ours to read any more; then it's sent
            if begun is None:
                self._emit(status_message(f"Mounted from {source}", layer.id))
                return True
            break
        return begun

    def _candidates(self, digest: Digest) -> list[str]:
        """Other repositories of the same registry in which a blob was seen."""
        seen = map(Reference.parse, self._store.blob_sources.repositories(digest))
        return [one.path for one in seen if one.domain == self._name.domain and one.path != self._name.path][:3]

    def _size(self, layer: PushDescriptor) -> int:
        with suppress(NotFound):
            return self._store.content.size(layer.blob.digest)
        raise NotFound(
            f"the layer blob {layer.blob.digest} of image {layer.image} is not here any more",
            hint="pull or load the image again",
        )


def _known(digest: Digest) -> Identify:
    async def identify() -> Digest:
        return digest

    return identify
