"""Disk usage and checks: operations of wherry's own, below ``/wherry``."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from wherry.api.http.answers import encode, open_stream, reply, reply_from_thread
from wherry.api.http.bodies import iterate_in_thread
from wherry.api.http.routing import Route
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest
    from wherry.docker.storage_answers import Accounts, CheckSummary, Finding, ImageDifference, LayerStep, Sharing

__all__ = ["StorageRoutes"]


class Storage(Protocol):
    """What this file needs of the engine; all of it is called in a thread."""

    def accounts(self) -> Accounts:
        """Return the bytes under the data root by owner."""

    def sharing(self) -> Sharing:
        """Return all images with their layers, all layers with their images."""

    def layer_steps(self, name: str) -> Sequence[LayerStep]:
        """Return an image's layers, with what each one does."""

    def differences(self, first: str, second: str) -> Sequence[ImageDifference]:
        """Return what two images have differently."""

    def check(self, *, repair: bool) -> Generator[Finding | CheckSummary, None, None]:
        """Check everything and yield what comes out."""


class StorageRoutes:
    """The operations on what is stored."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/wherry/accounts", self.accounts),
            Route("GET", "/wherry/layers", self.sharing),
            Route("GET", "/wherry/images/{name:path}/layers", self.layer_steps),
            Route("GET", "/wherry/images/{name:path}/diff", self.differences),
            Route("POST", "/wherry/fsck", self.check, streaming=True),
        ]

    async def accounts(self, _request: ApiRequest) -> StreamResponse:
        """Where every byte under the data root went."""
        return reply(await asyncio.to_thread(self._storage.accounts))

    async def sharing(self, _request: ApiRequest) -> StreamResponse:
        """Which image has which layers."""
        return reply(await asyncio.to_thread(self._storage.sharing))

    async def layer_steps(self, request: ApiRequest) -> StreamResponse:
        """What each layer of an image adds, replaces and deletes."""
        return reply(await asyncio.to_thread(self._storage.layer_steps, request.path["name"]))

    async def differences(self, request: ApiRequest) -> StreamResponse:
        """What one image has differently from another, ``to``."""
        other = request.text("to")
        if not other:
            raise InvalidInput("no second image was named: the parameter 'to' is missing")
        return await reply_from_thread(await asyncio.to_thread(self._storage.differences, request.path["name"], other))

    async def check(self, request: ApiRequest) -> StreamResponse:
        """Check everything, with ``repair`` make it good; one JSON object a line, the last one is the summary."""
        repair = request.flag("repair")
        response = await open_stream(request.http, "application/json")
        async with aclosing(iterate_in_thread(lambda: self._storage.check(repair=repair))) as findings:
            async for finding in findings:
                await response.write(encode(finding))
        return response
