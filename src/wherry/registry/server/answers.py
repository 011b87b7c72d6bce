"""Answers that clients of a registry know: headers, JSON, and blobs from a file by sendfile(2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from wherry.registry.server.errors import Refusal
    from wherry.registry.storage.contract import Content

__all__ = ["ContentResponse", "empty", "json", "refused"]

VERSION: Final = {"Docker-Distribution-Api-Version": "registry/2.0", "X-Content-Type-Options": "nosniff"}


def json(value: Any, headers: dict[str, str] | None = None, content_type: str = "application/json") -> web.Response:
    """200 and a document."""
    merged = {**VERSION, "Content-Type": content_type, **(headers or {})}
    return web.Response(body=value if isinstance(value, bytes) else msgspec.json.encode(value), headers=merged)


def empty(status: int, headers: dict[str, str]) -> web.Response:
    """An answer that has headers only."""
    return web.Response(status=status, headers={**VERSION, **headers})


def refused(refusal: Refusal) -> web.Response:
    """An answer that is no success."""
    headers = {**VERSION, "Content-Type": "application/json", **refusal.headers}
    return web.Response(status=refusal.status, body=refusal.body(), headers=headers)


class ContentResponse(web.StreamResponse):
    """A blob, or a part of one.

    :param content: closed when it was sent, or could not be.
    """

    def __init__(self, status: int, headers: dict[str, str], content: Content) -> None:
        super().__init__(status=status, headers={**VERSION, **headers})
        self.content_length = content.size
        self._content = content

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send all of it."""
        if self.prepared:
            return await super().prepare(request)
        try:
            writer = await super().prepare(request)
            file, transport = self._content.file, request.transport
            if file is None or transport is None:
                async for piece in self._content.chunks():
                    await self.write(piece)
            elif self._content.size:
                # without TLS the kernel moves the bytes; with it asyncio reads and encrypts
                loop = asyncio.get_running_loop()
                await loop.sendfile(transport, file, self._content.start, self._content.size, fallback=True)
            await self.write_eof()
            return writer
        finally:
            await self._content.close()
