"""Several ranges of a blob in one answer: ``multipart/byteranges`` (RFC 9110, section 14.6)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wherry.oci.digest import Digest
    from wherry.registry.server.catalog import Catalog
    from wherry.registry.server.ranges import Part

__all__ = ["Several"]


class Several:
    """Parts of a blob, in the order in which they were asked for; see `wherry.registry.storage.contract.Content`.

    :ivar content_type: says how they are told apart.
    """

    def __init__(self, catalog: Catalog, digest: Digest, parts: list[Part], size: int) -> None:
        self.file: BinaryIO | None = None
        self.start = 0
        self._catalog = catalog
        self._digest = digest
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/byteranges; boundary={boundary}"
        self._parts = [(_head(boundary, part, size), part) for part in parts]
        self._end = f"\r\n--{boundary}--\r\n".encode()
        self.size = sum(len(head) + part.length for head, part in self._parts) + len(self._end)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Piece by piece; one part is open at a time."""
        for head, part in self._parts:
            yield head
            content = await self._catalog.open_blob(self._digest, part.start, part.length)
            try:
                async for piece in content.chunks():
                    yield piece
            finally:
                await content.close()
        yield self._end

    async def close(self) -> None:
        """Nothing is open between two parts."""


def _head(boundary: str, part: Part, size: int) -> bytes:
    head = (
        f"\r\n--{boundary}",
        "Content-Type: application/octet-stream",
        f"Content-Range: bytes {part.start}-{part.start + part.length - 1}/{size}",
    )
    return ("\r\n".join(head) + "\r\n\r\n").encode()
