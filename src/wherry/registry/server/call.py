"""One request as the endpoints see it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from aiohttp import ClientPayloadError, web

from wherry.registry.server.errors import Refusal
from wherry.registry.server.identity import NOTHING, Grant, Want

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wherry.registry.server.routes import Target

__all__ = ["Call"]

_MOST_PARAMETERS: Final = 64


@dataclass(slots=True)
class Call:
    """A request.

    :ivar query: the first value of each parameter.
    :ivar values: all of them.
    :ivar grant: who asks, and what they may do; known once that was checked.
    :ivar idle: seconds for which a body may stand still.
    """

    request: web.BaseRequest
    target: Target
    query: dict[str, str]
    grant: Grant = NOTHING
    idle: float = 60.0
    values: dict[str, list[str]] = field(default_factory=dict)
    received: int = field(default=0)

    @property
    def method(self) -> str:
        """GET, HEAD ..."""
        return self.request.method

    @property
    def name(self) -> str:
        """The repository."""
        return self.target.name

    def header(self, name: str) -> str | None:
        """A header, or None."""
        return self.request.headers.get(name)

    def may(self, name: str, action: str) -> bool:
        """Whether the caller may do an action in a repository."""
        return self.grant.allows(Want("repository", name, frozenset((action,))))

    @property
    def length(self) -> int | None:
        """How long the body will be; None when the client does not say (it is chunked)."""
        return self.request.content_length

    async def body(self, limit: int = 0) -> AsyncIterator[bytes]:
        """The request's body, piece by piece.

        :param limit: bytes that it may have; 0 is any number.
        :raises Refusal: it is longer, the client stopped sending, or went away.
        """
        await self._ask_for_it()
        stream = self.request.content
        while True:
            try:
                async with asyncio.timeout(self.idle):
                    piece = await stream.readany()
            except TimeoutError:
                raise Refusal("BLOB_UPLOAD_INVALID", "the client sent nothing for too long", status=408) from None
            except (ClientPayloadError, ConnectionError, web.RequestPayloadError) as error:
                raise Refusal("BLOB_UPLOAD_INVALID", "the body broke off", str(error)) from error
            if not piece:
                return
            self.received += len(piece)
            if limit and self.received > limit:
                raise Refusal("SIZE_INVALID", f"more than the {limit} bytes that are allowed", status=413)
            yield piece

    async def document(self, limit: int) -> bytes:
        """The whole body, which may have `limit` bytes.

        :raises Refusal: as :meth:`body`.
        """
        if self.length is not None and self.length > limit:
            raise Refusal("SIZE_INVALID", f"more than the {limit} bytes that are allowed", status=413)
        return b"".join([piece async for piece in self.body(limit)])

    async def _ask_for_it(self) -> None:
        """Answer ``Expect: 100-continue`` (RFC 9110, section 10.1.1): only now is it sure that the body is wanted."""
        if (self.header("Expect") or "").lower() == "100-continue" and self.request.transport is not None:
            self.request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def read_query(text: str) -> dict[str, list[str]]:
    """A query's parameters.

    :raises Refusal: there are more than anybody needs.
    """
    if not text:
        return {}
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise Refusal("UNSUPPORTED", "too many parameters", status=414) from error
