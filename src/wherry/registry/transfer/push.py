"""Pushing: an image's blobs and its manifest go to a registry, which has most of them already."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from wherry.errors import Forbidden, NotFound, Unauthenticated, WherryError
from wherry.images import Image, ImageStore
from wherry.images.origins import Packed
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor
from wherry.oci.reference import Reference
from wherry.registry.client.repeat import repeated
from wherry.registry.client.repository import Repository, Upload
from wherry.registry.client.settings import RegistrySettings
from wherry.registry.transfer.arriving import arriving
from wherry.registry.transfer.compress import Packing, StoredBlob
from wherry.registry.transfer.steps import Tell, moving, step
from wherry.registry.transfer.upload import Identify, Outgoing, send_document, upload

__all__ = ["Outbox", "Push", "explained"]

_TICK: Final = 0.1
_PACKING: Final = 2
_PLAIN: Final = frozenset(
    {media_types.OCI_LAYER, "application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff"}
)


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
class _Layer:
    """A layer as it stands in the image, and what people see of it."""

    blob: Descriptor
    diff_id: Digest

    @property
    def is_plain(self) -> bool:
        return self.blob.media_type in _PLAIN

    @property
    def id(self) -> str:
        return self.diff_id.short


class Push:
    """One client's push of one image under one name.

    :param repository: to push to.
    :param tell: told what happens.
    """

    def __init__(self, outbox: Outbox, repository: Repository, image: Image, name: Reference, tell: Tell) -> None:
        self._outbox = outbox
        self._store = outbox.store
        self._settings = outbox.settings
        self._repository = repository
        self._image = image
        self._name = name
        self._tell = tell

    async def run(self) -> None:
        """Push.

        :raises WherryError: the registry does not want it, or cannot be reached.
        """
        async with arriving(self._store) as lease:
            manifest = self._image.manifest
            lease.blob(self._image.id, self._image.manifest_digest, *(layer.digest for layer in manifest.layers))
            config = await asyncio.to_thread(self._store.content.read, self._image.id)
            layers = [_Layer(*pair) for pair in zip(manifest.layers, self._image.document.rootfs.diff_ids, strict=True)]
            for layer in reversed(layers):
                self._tell(step("Preparing", layer.id))
            sent = await self._send_layers(layers)
            await send_document(self._repository, config, self._image.id, self._settings)
            data, media_type = await asyncio.to_thread(self._manifest, sent)
            lease.blob(Digest.from_bytes(data))
            tag = self._name.tag or ""
            digest = await repeated(partial(self._repository.put_document, tag, data, media_type), self._settings)
            await asyncio.to_thread(self._note, digest, data, sent)
        self._tell(step(f"{tag}: digest: {digest} size: {len(data)}"))
        self._tell({"progressDetail": {}, "aux": {"Tag": tag, "Digest": str(digest), "Size": len(data)}})

    async def _send_layers(self, layers: Sequence[_Layer]) -> list[Descriptor]:
        """Send all, several at the same time; those of the same content once."""
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

    async def _send_layer(self, layer: _Layer) -> Descriptor:
        if self._outbox.slots.locked():
            self._tell(step("Waiting", layer.id))
        async with self._outbox.slots:
            blob = layer.blob
            if not layer.is_plain:
                begun = await self._is_there(layer, blob.digest)
                if not isinstance(begun, bool):
                    path = self._store.content.path(blob.digest)
                    source = StoredBlob(path, await asyncio.to_thread(self._size, blob.digest))
                    await self._send(layer, source, source.size, begun, _known(blob.digest))
                return blob
            packed = await asyncio.to_thread(self._store.origins.packed, blob.digest)
            begun = None if packed is None else await self._is_there(layer, packed.digest)
            if not isinstance(begun, bool):
                packed = await self._pack_and_send(layer, begun)
            assert packed is not None
            return Descriptor(media_types.layer_type("gzip"), packed.digest, packed.size)

    async def _pack_and_send(self, layer: _Layer, begun: Upload | None) -> Packed:
        """Compress a layer, and send it at the same time."""
        digest = layer.blob.digest
        total = await asyncio.to_thread(self._size, digest)
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

    async def _send(
        self, layer: _Layer, source: Outgoing, total: int, begun: Upload | None, identify: Identify
    ) -> None:
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

    async def _is_there(self, layer: _Layer, digest: Digest) -> bool | Upload | None:
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

    def _size(self, digest: Digest) -> int:
        with suppress(NotFound):
            return self._store.content.size(digest)
        raise NotFound(
            f"the layer blob {digest} of image {self._image.id.short} is not here any more",
            hint="pull or load the image again",
        )

    def _manifest(self, layers: Sequence[Descriptor]) -> tuple[bytes, str]:
        """The image's own manifest; where layers were compressed, one that names what they became."""
        manifest = self._image.manifest
        if list(layers) == manifest.layers:
            data = self._store.content.read(self._image.manifest_digest)
        else:
            changed = msgspec.structs.replace(manifest, layers=list(layers), media_type=media_types.OCI_MANIFEST)
            config = msgspec.structs.replace(manifest.config, media_type=media_types.OCI_CONFIG)
            manifest = msgspec.structs.replace(changed, config=config)
            data = encode(manifest)
        return data, manifest.media_type or media_types.OCI_MANIFEST

    def _note(self, digest: Digest, data: bytes, layers: Sequence[Descriptor]) -> None:
        """The image has a new digest to be called by, and its blobs were seen there."""
        self._store.content.ingest([data], digest=digest)
        name = Reference(self._name.domain, self._name.path, None, digest)
        self._store.arrived(self._image.id, self._image.manifest_digest, [name], [digest])
        self._store.origins.seen([layer.digest for layer in layers], self._name.name)


def _known(digest: Digest) -> Identify:
    async def identify() -> Digest:
        return digest

    return identify


def explained(error: WherryError) -> WherryError:
    """What dockerd makes of a registry's refusal to be pushed to."""
    if isinstance(error, Unauthenticated):
        return Forbidden(error.message)
    return error
