"""Move blobs and documents between a repository and the content store, whatever they mean: for builds, and their cache.

Nothing that comes is believed: every blob is what its digest says, and no longer than announced, or it does not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from wherry.content.store import MAX_DOCUMENT
from wherry.content.threads import in_thread
from wherry.distribution.client.repository import RemoteManifest, Repository
from wherry.distribution.client.retry import retry
from wherry.distribution.transfer.progress import Emit
from wherry.distribution.transfer.push_queue import BlobPusher, PushDescriptor, PushQueue
from wherry.distribution.transfer.upload import upload_bytes
from wherry.docker.reference import Reference
from wherry.errors import CorruptData
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

__all__ = ["StoredContent"]

_PIECE: Final = 1 << 20


class StoredContent:
    """One repository, and the content store. To be used on the event loop.

    :param emit: called with dockerd's progress messages.
    """

    def __init__(self, queue: PushQueue, repository: Repository, name: Reference, emit: Emit) -> None:
        self._store = queue.store
        self._settings = queue.settings
        self._repository = repository
        self._name = name
        self._pusher = BlobPusher(queue, repository, name, emit)

    async def manifest(self, reference: str) -> RemoteManifest:
        """A manifest or an index by its tag or digest.

        :raises NotFound: there is none.
        """
        return await retry(partial(self._repository.manifest, reference), self._settings)

    async def read(self, blob: Descriptor) -> bytes:
        """A blob that is a document.

        :raises TooLarge: no document is that large.
        :raises CorruptData: it is not what its digest, or its descriptor, says.
        """
        return await retry(partial(self._repository.read_blob, blob.digest, blob.size), self._settings)

    async def fetch(self, blob: Descriptor) -> None:
        """Bring a blob into the content store, unless it is there; the caller has leased it.

        :raises CorruptData: the registry gives something else.
        """
        if not await asyncio.to_thread(self._store.content.holds, blob.digest, blob.size):
            await retry(partial(self._fetch, blob), self._settings)

    async def _fetch(self, blob: Descriptor) -> None:
        async with self._repository.blob(blob.digest) as response:
            with self._store.content.stage(blob.digest.algorithm) as staged:
                async for piece in response.content.iter_chunked(_PIECE):
                    await in_thread(staged.write, piece)
                    if staged.size > blob.size:
                        raise CorruptData(f"blob {blob.digest} has more than the {blob.size} bytes that it should have")
                await in_thread(staged.commit, blob.digest, blob.size)

    async def push(self, blobs: Sequence[Descriptor], documents: Sequence[Descriptor], tag: str) -> None:
        """Send blobs that are not there, then documents, each after what it lists.

        :param tag: of the last document; empty: it is only known by its digest.
        :raises WherryError: the registry does not want them.
        """
        small = [blob for blob in blobs if blob.size <= _PIECE and not _is_archive(blob)]
        large = [blob for blob in blobs if blob not in small]
        who = self._name.familiar
        await self._pusher.send([PushDescriptor(blob, blob.digest.short, who) for blob in large])
        for blob in small:
            data = await asyncio.to_thread(self._store.content.read, blob.digest)
            await upload_bytes(self._repository, data, blob.digest, self._settings)
        for document in documents:
            data = await asyncio.to_thread(self._store.content.read, document.digest, MAX_DOCUMENT)
            reference = tag if tag and document is documents[-1] else str(document.digest)
            put = partial(self._repository.put_manifest, reference, data, document.media_type)
            await retry(put, self._settings)
        digests: list[Digest] = [blob.digest for blob in blobs]
        await asyncio.to_thread(self._store.blob_sources.seen, digests, self._name.name)


def _is_archive(blob: Descriptor) -> bool:
    return ".tar" in blob.media_type
