"""Where cache is kept: a repository of a registry, or a directory of the client's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from wherry.build.exporters.archive import stored_pieces
from wherry.build.exporters.contract import Remote
from wherry.build.model.session import ClientContent
from wherry.content.store import MAX_DOCUMENT, ContentStore
from wherry.errors import CorruptData, InvalidInput, NotFound, TooLarge
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

__all__ = ["ClientPlace", "Place", "RegistryPlace"]

_MAX_BLOB: Final = 256 << 30


class Place(Protocol):
    """Keeps documents and blobs by their digests."""

    async def top(self) -> bytes:
        """The manifest or index that the cache is known by, verified where it is known by a digest.

        :raises NotFound: there is none.
        """
        ...

    async def document(self, descriptor: Descriptor) -> bytes:
        """A manifest or an index, verified."""
        ...

    async def read(self, blob: Descriptor) -> bytes:
        """A blob that is a document, verified.

        :raises CorruptData: it is something else.
        """
        ...

    async def fetch(self, blob: Descriptor) -> None:
        """Bring a blob into the content store, verified; the caller has leased it."""
        ...

    async def put(self, blobs: Sequence[Descriptor], documents: Sequence[Descriptor]) -> None:
        """Send blobs of the content store that are not there, and documents; it is known by the last one."""
        ...


class RegistryPlace:
    """A repository.

    :param name: a tag or a digest.
    """

    def __init__(self, remote: Remote, name: str) -> None:
        self._remote = remote
        self._name = name

    async def top(self) -> bytes:
        """What has the name."""
        return (await self._remote.manifest(self._name))[1]

    async def document(self, descriptor: Descriptor) -> bytes:
        """A manifest, by its digest."""
        return (await self._remote.manifest(str(descriptor.digest)))[1]

    async def read(self, blob: Descriptor) -> bytes:
        """A blob that is a document."""
        return await self._remote.read(blob)

    async def fetch(self, blob: Descriptor) -> None:
        """Bring a blob here."""
        await self._remote.fetch(blob)

    async def put(self, blobs: Sequence[Descriptor], documents: Sequence[Descriptor]) -> None:
        """Push."""
        await self._remote.push(blobs, documents, self._name)


class ClientPlace:
    """A directory of the client's; the client itself keeps its index.

    :param digest: of the top; None: it is written.
    """

    def __init__(self, store: ClientContent, content: ContentStore, digest: Digest | None = None) -> None:
        self._store = store
        self._content = content
        self._digest = digest

    async def top(self) -> bytes:
        """What has the digest that the client has given."""
        if self._digest is None:
            raise InvalidInput("local cache importer requires explicit digest")
        size = await self._store.size(self._digest)
        if size is None:
            raise NotFound(f"the client's cache has no {self._digest}")
        return await self.read(Descriptor("", self._digest, size))

    async def document(self, descriptor: Descriptor) -> bytes:
        """A manifest: a blob like any other."""
        return await self.read(descriptor)

    async def read(self, blob: Descriptor) -> bytes:
        """A blob that is a document."""
        if blob.size > MAX_DOCUMENT:
            raise TooLarge(f"blob {blob.digest} has {blob.size} bytes, where {MAX_DOCUMENT} are allowed for a document")
        pieces = [piece async for piece in _bounded(self._store.read(blob.digest), blob)]
        data = b"".join(pieces)
        await asyncio.to_thread(blob.digest.verify, data)
        return data

    async def fetch(self, blob: Descriptor) -> None:
        """Bring a blob here."""
        if await asyncio.to_thread(self._content.holds, blob.digest, blob.size):
            return
        if blob.size > _MAX_BLOB:
            raise TooLarge(f"blob {blob.digest} is too large")
        with self._content.stage(blob.digest.algorithm) as staged:
            async for piece in _bounded(self._store.read(blob.digest), blob):
                await asyncio.to_thread(staged.write, piece)
            await asyncio.to_thread(staged.commit, blob.digest, blob.size)

    async def put(self, blobs: Sequence[Descriptor], documents: Sequence[Descriptor]) -> None:
        """Send what is not there."""
        for one in [*blobs, *documents]:
            if await self._store.size(one.digest) is None:
                async with aclosing(stored_pieces(self._content, one.digest)) as pieces:
                    await self._store.write(one.digest, one.size, pieces)


async def _bounded(pieces: AsyncIterator[bytes], blob: Descriptor) -> AsyncIterator[bytes]:
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > blob.size:
            raise CorruptData(f"blob {blob.digest} has more than the {blob.size} bytes that it should have")
        yield piece
