"""Sending the blobs of one push: what the registry has already is not sent, what is kept plain is compressed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from wherry.errors import NotFound, WherryError
from wherry.images import ImageStore
from wherry.images.origins import Packed
from wherry.oci import media_types
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor
from wherry.oci.reference import Reference
from wherry.registry.client.repeat import repeated
from wherry.registry.client.repository import Repository, Upload
from wherry.registry.client.settings import RegistrySettings
from wherry.registry.transfer.compress import Packing, StoredBlob
from wherry.registry.transfer.steps import Tell, moving, step
from wherry.registry.transfer.upload import Identify, Outgoing, upload

__all__ = ["Layer", "Outbox", "Sender"]

_TICK: Final = 0.1
_PACKING: Final = 2


class Outbox:
    """What all pushes of an engine share: how many blobs go out, and are compressed, at the same time."""

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
class Layer:
    """A blob to be sent, and what people see of it.

    :param packed: whether it is kept plain and goes compressed.
    :param image: what needs it, as errors call it.
    """

    blob: Descriptor
    id: str
    image: str
    packed: bool = False


class Sender:
    """Sends blobs to one repository.

    :param name: the name that is pushed to.
    :param tell: told what happens.
    """

    def __init__(self, outbox: Outbox, repository: Repository, name: Reference, tell: Tell) -> None:
        self._outbox = outbox
        self._store = outbox.store
        self._settings = outbox.settings
        self._repository = repository
        self._name = name
        self._tell = tell

    async def send(self, layers: Sequence[Layer]) -> list[Descriptor]:
        """Send all, several at the same time; those of the same content once. :returns: what they became."""
        for layer in reversed(layers):
            self._tell(step("Preparing", layer.id))
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

    async def _send_layer(self, layer: Layer) -> Descriptor:
        if self._outbox.slots.locked():
            self._tell(step("Waiting", layer.id))
        async with self._outbox.slots:
            blob = layer.blob
            if not layer.packed:
                begun = await self._is_there(layer, blob.digest)
                if not isinstance(begun, bool):
                    path = self._store.content.path(blob.digest)
                    source = StoredBlob(path, await asyncio.to_thread(self._size, layer))
                    await self._send(layer, source, source.size, begun, _known(blob.digest))
                return blob
            packed = await asyncio.to_thread(self._store.origins.packed, blob.digest)
            begun = None if packed is None else await self._is_there(layer, packed.digest)
            if not isinstance(begun, bool):
                packed = await self._pack_and_send(layer, begun)
            assert packed is not None
            return Descriptor(media_types.layer_type("gzip"), packed.digest, packed.size)

    async def _pack_and_send(self, layer: Layer, begun: Upload | None) -> Packed:
        """Compress a layer, and send it at the same time."""
        digest = layer.blob.digest
        total = await asyncio.to_thread(self._size, layer)
        async with self._outbox.packing:
            target = self._store.content.temporary()
            packing = Packing(self._store.content.path(digest), digest, target, self._outbox.pool)
            try:

                async def identify() -> Digest:
                    return (await packing.done).digest

                await self._send(layer, packing, total, begun, identify)
                packed = await packing.done
            finally:
                await packing.close()
        await asyncio.to_thread(self._store.origins.pack, digest, packed)
        return packed

    async def _send(self, layer: Layer, source: Outgoing, total: int, begun: Upload | None, identify: Identify) -> None:
        sending = asyncio.create_task(upload(self._repository, source, identify, self._settings, begun))
        try:
            while not sending.done():
                self._tell(moving("Pushing", layer.id, source.progress, total))
                await asyncio.wait({sending}, timeout=_TICK)
            sending.result()
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait({sending})
        self._tell(moving("Pushing", layer.id, total, total))
        self._tell(step("Pushed", layer.id))

    async def _is_there(self, layer: Layer, digest: Digest) -> bool | Upload | None:
        """Whether the registry has a blob, or takes it from another of its repositories; else an upload it began."""
        size = await repeated(partial(self._repository.size_of, digest), self._settings)
        if size is not None:
            self._tell(step("Layer already exists", layer.id))
            return True
        begun: Upload | None = None
        for source in await asyncio.to_thread(self._candidates, digest):
            try:
                begun = await repeated(partial(self._repository.begin_upload, digest, source), self._settings)
            except WherryError:
                continue  # it may not be ours to read any more; then it's sent
            if begun is None:
                self._tell(step(f"Mounted from {source}", layer.id))
                return True
            break
        return begun

    def _candidates(self, digest: Digest) -> list[str]:
        """Other repositories of the same registry in which a blob was seen."""
        seen = map(Reference.parse, self._store.origins.repositories(digest))
        return [one.path for one in seen if one.domain == self._name.domain and one.path != self._name.path][:3]

    def _size(self, layer: Layer) -> int:
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
