"""Push: upload an image's blobs and manifests; most blobs are usually there already.

What came by an index goes as that index when all of it is here, and otherwise as the one manifest, as Docker has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from wherry.distribution.client.repository import Repository
from wherry.distribution.client.retry import retry
from wherry.distribution.transfer.lease import with_lease
from wherry.distribution.transfer.progress import Emit, status_message
from wherry.distribution.transfer.push_queue import BlobPusher, PushDescriptor, PushQueue
from wherry.distribution.transfer.upload import upload_bytes
from wherry.docker.reference import Reference
from wherry.errors import Conflict, Forbidden, Unauthenticated, WherryError
from wherry.images.checks import lacks_platform
from wherry.images.image import Image
from wherry.images.indexes import Tree, descriptor_json
from wherry.images.store import ImageStore
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor
from wherry.oci.platform import Platform

__all__ = ["Push", "explained", "selected_tree"]

_PLAIN: Final = frozenset(
    {media_types.OCI_LAYER, "application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff"}
)


def selected_tree(store: ImageStore, image: Image, name: Reference, platform: Platform | None) -> Tree | None:
    """The index to push for an image; None when its own manifest is pushed. Reads the disk.

    :param platform: only what is for this one.
    :raises NotFound: nothing is.
    :raises Conflict: several things are.
    """
    tree = store.index_of(image, str(name))
    if platform is None:
        return tree if tree is not None and tree.is_whole else None
    wanted = platform.normalised()
    parts = [part for part in (tree.parts if tree else ()) if part.is_here and part.platform == wanted]
    if len(parts) > 1:
        raise Conflict(f"multiple manifests found for platform {wanted}")
    if parts and parts[0].descriptor.digest != image.manifest_digest:
        return Tree((), tuple(parts))
    if parts or image.platform.normalised() == wanted:
        return None
    raise lacks_platform(name.familiar, wanted)


class Push:
    """One client's push of one image under one name.

    :param repository: to push to.
    :param emit: called with each progress message.
    """

    def __init__(self, queue: PushQueue, repository: Repository, image: Image, name: Reference, emit: Emit) -> None:
        self._store = queue.store
        self._settings = queue.settings
        self._repository = repository
        self._image = image
        self._name = name
        self._emit = emit
        self._pusher = BlobPusher(queue, repository, name, emit)

    async def run(self, platform: Platform | None = None) -> None:
        """Push.

        :param platform: only what is for this one, of an image for several.
        :raises WherryError: the registry does not want it, or cannot be reached.
        :raises NotFound: there is nothing for the platform.
        """
        tree = await asyncio.to_thread(selected_tree, self._store, self._image, self._name, platform)
        if tree is None:
            pushed = await self._push_image()
            if platform is None:
                await self._emit_instead(pushed)
        else:
            await self._push_tree(tree)

    # --- one image, whose layers may be kept plain ------------------------------------------------

    async def _push_image(self) -> Descriptor:
        async with with_lease(self._store) as lease:
            manifest = self._image.manifest
            lease.blob(self._image.id, self._image.manifest_digest, *(layer.digest for layer in manifest.layers))
            config = await asyncio.to_thread(self._store.content.read, self._image.id)
            sent = await self._pusher.send(self._layers())
            await upload_bytes(self._repository, config, self._image.id, self._settings)
            data, media_type = await asyncio.to_thread(self._manifest, sent)
            lease.blob(Digest.from_bytes(data))
            digest = await self._put(self._name.tag or "", data, media_type)
            await asyncio.to_thread(self._note, digest, data, sent)
        self._done(digest, len(data))
        return Descriptor(media_type, digest, len(data))

    def _layers(self) -> list[PushDescriptor]:
        pairs = zip(self._image.manifest.layers, self._image.document.rootfs.diff_ids, strict=True)
        who = self._image.id.short
        return [PushDescriptor(blob, diff_id.short, who, packed=blob.media_type in _PLAIN) for blob, diff_id in pairs]

    def _manifest(self, layers: Sequence[Descriptor]) -> tuple[bytes, str]:
        """The image's manifest; with the compressed digests where layers were compressed for the push."""
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
        self._store.register(self._image.id, self._image.manifest_digest, [name], [digest])
        self._store.blob_sources.seen([layer.digest for layer in layers], self._name.name)

    async def _emit_instead(self, pushed: Descriptor) -> None:
        """Say, as the Docker client expects it (``auxprogress``), that it was not the index by which the image came."""
        tree = await asyncio.to_thread(self._store.index_of, self._image, str(self._name))
        if tree is None:
            return
        note = {
            "manifestPushedInsteadOfIndex": True,
            "originalIndex": descriptor_json(tree.top),
            "selectedManifest": descriptor_json(pushed),
        }
        self._emit({"progressDetail": {}, "aux": note})

    # --- what an index lists, byte for byte -------------------------------------------------------

    async def _push_tree(self, tree: Tree) -> None:
        async with with_lease(self._store) as lease:
            lease.blob(*(one.digest for one in tree.blobs))
            manifests = [part.manifest for part in tree.parts if part.manifest is not None]
            layers = {layer.digest: layer for manifest in manifests for layer in manifest.layers}
            who = self._image.id.short
            await self._pusher.send([PushDescriptor(layer, layer.digest.short, who) for layer in layers.values()])
            for digest in dict.fromkeys(manifest.config.digest for manifest in manifests):
                data = await asyncio.to_thread(self._store.content.read, digest)
                await upload_bytes(self._repository, data, digest, self._settings)
            *below, top = tree.documents
            for one in below:
                await self._put_stored(str(one.digest), one)
            await self._put_stored(self._name.tag or "", top)
            await asyncio.to_thread(self._note_tree, tree)
        self._done(top.digest, top.size)

    async def _put_stored(self, reference: str, document: Descriptor) -> None:
        data = await asyncio.to_thread(self._store.content.read, document.digest)
        await self._put(reference, data, document.media_type)

    def _note_tree(self, tree: Tree) -> None:
        if tree.indexes:
            name = Reference(self._name.domain, self._name.path, None, tree.top.digest)
            self._store.register(self._image.id, self._image.manifest_digest, [name])
        self._store.blob_sources.seen([one.digest for part in tree.parts for one in part.blobs], self._name.name)

    # --- both -------------------------------------------------------------------------------------

    async def _put(self, reference: str, data: bytes, media_type: str) -> Digest:
        return await retry(partial(self._repository.put_manifest, reference, data, media_type), self._settings)

    def _done(self, digest: Digest, size: int) -> None:
        tag = self._name.tag or ""
        self._emit(status_message(f"{tag}: digest: {digest} size: {size}"))
        self._emit({"progressDetail": {}, "aux": {"Tag": tag, "Digest": str(digest), "Size": size}})


def explained(error: WherryError) -> WherryError:
    """A registry's error at a push in dockerd's words."""
    if isinstance(error, Unauthenticated):
        return Forbidden(error.message)
    return error
