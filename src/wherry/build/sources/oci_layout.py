"""Images of an OCI layout that the client has: ``oci-layout://``.

Nothing that comes is believed before its digest was looked at. What comes becomes an image of this machine, without
a name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from wherry.build.model.service import ResolvedImage
from wherry.build.model.session import BuildSession, ClientContent
from wherry.build.model.snapshot import Snapshot
from wherry.build.sources.contract import Fetch, SourceKey, SourceRequest
from wherry.build.sources.image import ImageSource, chain_ids, layer_limit
from wherry.build.sources.transfers import Transfers
from wherry.content.threads import in_thread
from wherry.docker.progress import ProgressDetail
from wherry.errors import CorruptData, InvalidInput, NotFound, TooLarge
from wherry.images.image import Image
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.distribution.transfer.layers import RemoteLayer
    from wherry.distribution.transfer.select_manifest import ResolvedManifest

__all__ = ["OciLayoutSource"]

_DOCUMENT: Final = 4 << 20  # bytes
_BLOCK: Final = 1 << 20


class OciLayoutSource:
    """Opens images of clients' layouts.

    :param images: those of this machine.
    """

    def __init__(self, store: ImageStore, images: ImageSource) -> None:
        self.store: Final = store
        self.images: Final = images

    def open(self, request: SourceRequest) -> Fetch:
        """Begin.

        :raises InvalidInput: the identifier has no digest.
        """
        attributes = request.op.attributes
        name, digest = _place(request.op.identifier)
        layout = _Layout(request.session, attributes.get("oci.store", "") or name, digest)
        return _LayoutFetch(self, request, layout, layer_limit(attributes.get("oci.layerlimit", "")))

    async def resolve(self, identifier: str, platform: Platform | None, session: BuildSession) -> ResolvedImage:
        """What an image of a layout is: ``oci-layout://STORE@sha256:…``."""
        layout = _Layout(session, *_place(identifier))
        found = await layout.select(platform or Platform.host())
        return ResolvedImage(layout.digest, identifier.partition("://")[2], await layout.config(found))


class _Layout:
    """One image of a client's layout."""

    def __init__(self, session: BuildSession, name: str, digest: Digest) -> None:
        self.digest: Final = digest
        self._session = session
        self._name = name

    def content(self) -> ClientContent:
        """The client's store of blobs."""
        return self._session.content(f"oci:{self._name}")

    async def select(self, platform: Platform) -> ResolvedManifest:
        """The manifest for a platform."""
        from wherry.distribution.client.repository import RemoteManifest  # noqa: PLC0415 - at the first use
        from wherry.distribution.transfer.select_manifest import select_manifest  # noqa: PLC0415

        async def fetch(text: str) -> RemoteManifest:
            digest = Digest(text)
            return RemoteManifest(await self.document(digest), "", digest)

        return await select_manifest(await fetch(str(self.digest)), platform, fetch)

    async def config(self, found: ResolvedManifest) -> bytes:
        """The image's configuration."""
        return await self.document(found.manifest.config.digest)

    async def document(self, digest: Digest) -> bytes:
        """A small blob, verified."""
        data = bytearray()
        async for piece in self.content().read(digest):
            data += piece
            if len(data) > _DOCUMENT:
                raise TooLarge(f"the document {digest} has more than the {_DOCUMENT} bytes allowed")
        digest.verify(bytes(data))
        return bytes(data)


class _LayoutFetch:
    def __init__(self, source: OciLayoutSource, request: SourceRequest, layout: _Layout, limit: int | None) -> None:
        self._source = source
        self._request = request
        self._layout = layout
        self._limit = limit
        self._stack = AsyncExitStack()
        self._found: ResolvedManifest | None = None
        self._config = b""

    async def key(self) -> SourceKey:
        """What is unpacked, as for any other image."""
        self._found = await self._layout.select(self._request.platform or Platform.host())
        self._config = await self._layout.config(self._found)
        top = chain_ids(self._config)[: self._limit][-1:]
        identifier = self._request.op.identifier
        return SourceKey(
            key=f"image {top[0] if top else 'without layers'}",
            description=f"pulled from {identifier}",
            pins=((identifier, str(self._layout.digest)),),
        )

    async def snapshot(self) -> Snapshot:
        """Its layers, which stay until `close`."""
        image = self._source.images.image(Digest.from_bytes(self._config)) or await self._loaded()
        if not await self._source.images.held(image, self._stack):
            image = await self._loaded()
            if not await self._source.images.held(image, self._stack):
                raise NotFound(f"{self._request.op.identifier} is removed while it is to be used")
        return Snapshot(tuple(self._source.images.layer(one) for one in image.layers[: self._limit]))

    async def close(self) -> None:
        """Let go of the layers."""
        await self._stack.aclose()

    async def _loaded(self) -> Image:
        """Make it an image of this machine: first the lease, then the look."""
        from wherry.distribution.transfer.lease import with_lease  # noqa: PLC0415
        from wherry.distribution.transfer.select_manifest import check_platform, remote_layers  # noqa: PLC0415

        found, store = self._found, self._source.store
        assert found is not None, "the key comes first"
        check_platform(self._request.op.identifier, self._config, self._request.platform)
        layers = remote_layers(found.manifest, self._config)
        shown = Transfers(self._request.vertex, self._request.progress)
        async with with_lease(store) as lease:
            lease.blob(*(document.digest for document in found.path), found.manifest.config.digest)
            lease.blob(*(one.blob.digest for one in layers))
            lease.layer(*(one.chain_id for one in layers))
            for one in layers:
                await self._take(one, shown)
            documents = [self._config, *(document.data for document in found.path)]
            return await in_thread(self._register, found, documents)

    def _register(self, found: ResolvedManifest, documents: Iterable[bytes]) -> Image:
        store = self._source.store
        for data in documents:
            store.content.put(data)
        identifier = Digest.from_bytes(self._config)
        store.register(identifier, found.document.digest, [])
        return store.get(str(identifier))

    async def _take(self, layer: RemoteLayer, shown: Transfers) -> None:
        store, blob = self._source.store, layer.blob
        if not await asyncio.to_thread(store.content.holds, blob.digest, blob.size):
            await self._fetch(blob, shown)
        await asyncio.to_thread(
            store.layers.ensure, lambda: store.content.open(blob.digest), layer.diff_id, layer.parent
        )

    async def _fetch(self, blob: Descriptor, shown: Transfers) -> None:
        """Store a blob, verified."""
        current, waiting = 0, bytearray()
        staged = self._source.store.content.stage(blob.digest.algorithm)
        try:
            async for piece in _bounded(self._layout.content().read(blob.digest), blob):
                waiting += piece
                if len(waiting) >= _BLOCK:
                    current += len(waiting)
                    await in_thread(staged.write, bytes(waiting))
                    waiting.clear()
                    detail: ProgressDetail = {"current": current, "total": blob.size}
                    shown.take({"status": "Downloading", "id": blob.digest.short, "progressDetail": detail})
            await in_thread(staged.write, bytes(waiting))
            await in_thread(staged.commit, blob.digest, blob.size)
            shown.take({"status": "Download complete", "id": blob.digest.short})
        finally:
            await in_thread(staged.discard)


async def _bounded(pieces: AsyncIterator[bytes], blob: Descriptor) -> AsyncIterator[bytes]:
    count = 0
    async for piece in pieces:
        count += len(piece)
        if count > blob.size:
            raise CorruptData(f"blob {blob.digest} has more than the {blob.size} bytes that it should have")
        yield piece


def _place(identifier: str) -> tuple[str, Digest]:
    """The name of the client's store, and the digest in it."""
    name, mark, digest = identifier.partition("://")[2].partition("@")
    if not name or not mark:
        raise InvalidInput(f'oci-layout reference "{identifier[:200]}" has no digest')
    return name, Digest(digest)
