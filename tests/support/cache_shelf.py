"""A registry in memory, for tests of cache that goes elsewhere."""

from __future__ import annotations

from typing import Any

from wherry.errors import NotFound
from wherry.images.store import ImageStore
from wherry.oci.manifest import Descriptor

__all__ = ["Shelf"]


class Shelf:
    """A registry in memory: documents by tag and digest, blobs by digest.

    :ivar store: of whoever uses it now.
    """

    def __init__(self) -> None:
        self.store: ImageStore
        self.tags: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}

    async def open(self, reference: Any, *rest: Any, **options: Any) -> Shelf:
        """Its repositories are all one."""
        return self

    async def manifest(self, reference: str) -> tuple[str, bytes]:
        """A manifest by its tag or digest."""
        data = self.tags.get(reference) or self.blobs.get(reference)
        if data is None:
            raise NotFound("manifest unknown")
        return "", data

    async def read(self, blob: Descriptor) -> bytes:
        """A blob."""
        if blob.digest not in self.blobs:
            raise NotFound("blob unknown")
        blob.digest.verify(self.blobs[blob.digest])
        return self.blobs[blob.digest]

    async def fetch(self, blob: Descriptor) -> None:
        """Put a blob into the content store."""
        if blob.digest not in self.blobs:
            raise NotFound("blob unknown")
        self.store.content.ingest([self.blobs[blob.digest]], digest=blob.digest, size=blob.size)

    async def push(self, blobs: Any, documents: Any, tag: str) -> None:
        """Take blobs of the content store."""
        for one in [*blobs, *documents]:
            with self.store.content.open(one.digest) as file:
                self.blobs[one.digest] = file.read()
        self.tags[tag] = self.blobs[documents[-1].digest]
