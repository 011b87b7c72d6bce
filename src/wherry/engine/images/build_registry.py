"""Registries as a build needs them: repositories for its exporters and its cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wherry.build.model.progress import ProgressSink
from wherry.build.sources.transfers import Transfers
from wherry.distribution.transfer.push import explained
from wherry.distribution.transfer.stored import StoredContent
from wherry.docker.progress import ProgressMessage
from wherry.errors import WherryError
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

__all__ = ["BuildRepository", "shown"]


def shown(vertex: Digest, progress: ProgressSink) -> Callable[[ProgressMessage], None]:
    """Takes the messages of a transfer, and shows them as progress of a vertex."""
    return Transfers(vertex, progress).take


class BuildRepository:
    """A repository for a build (`wherry.build.exporters.contract.Remote`)."""

    def __init__(self, content: StoredContent) -> None:
        self._content = content

    async def manifest(self, reference: str) -> tuple[str, bytes]:
        """A manifest or an index: media type and bytes."""
        found = await self._content.manifest(reference)
        return found.media_type, found.data

    async def read(self, blob: Descriptor) -> bytes:
        """A blob that is a document."""
        return await self._content.read(blob)

    async def fetch(self, blob: Descriptor) -> None:
        """Bring a blob into the content store."""
        await self._content.fetch(blob)

    async def push(self, blobs: Sequence[Descriptor], documents: Sequence[Descriptor], tag: str) -> None:
        """Send blobs and documents of the content store."""
        try:
            await self._content.push(blobs, documents, tag)
        except WherryError as exc:
            raise explained(exc) from exc
