"""Contexts that come with a request of their own: ``POST /build?buildid=upload-request:ID``.

Whichever of the two requests is there first waits for the other one, and the one with the context stays until the build
has taken it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from wherry.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import StreamReader

__all__ = ["Uploads"]

_PATIENCE: Final = 60.0  # seconds for the other one of two requests that belong together


class Uploads:
    """Those that are waited for, and those that wait.

    :param patience: seconds.
    """

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._patience: Final = patience
        self._given: dict[str, _Upload] = {}
        self._wanted: dict[str, asyncio.Future[_Upload]] = {}

    async def give(self, identifier: str, body: StreamReader) -> None:
        """Give a build its context; returns when it has been taken.

        :raises Conflict: there is one already.
        :raises NotFound: no build wants it.
        """
        if identifier in self._given:
            raise Conflict(f"there is a context for the build {identifier[:80]!r} already")
        upload = _Upload(body)
        wanted = self._wanted.pop(identifier, None)
        if wanted is not None and not wanted.done():
            wanted.set_result(upload)
        else:
            await self._wait_for_build(identifier, upload)
        await upload.over.wait()

    async def _wait_for_build(self, identifier: str, upload: _Upload) -> None:
        self._given[identifier] = upload
        try:
            async with asyncio.timeout(self._patience):
                await upload.taken.wait()
        except TimeoutError:
            raise NotFound(f"no build {identifier[:80]!r} asks for a context") from None
        finally:
            if self._given.get(identifier) is upload:
                del self._given[identifier]

    @asynccontextmanager
    async def taken(self, identifier: str) -> AsyncIterator[StreamReader]:
        """A build's context; when the block is left, it is needed no more.

        :raises InvalidInput: the build has no ID.
        :raises Conflict: another build with that ID waits for it.
        :raises NotFound: it does not come.
        """
        if not identifier:
            raise InvalidInput("a context from another request needs a build ID")
        upload = self._given.pop(identifier, None) or await self._wait_for_context(identifier)
        upload.taken.set()
        try:
            yield upload.body
        finally:
            upload.over.set()

    async def _wait_for_context(self, identifier: str) -> _Upload:
        if identifier in self._wanted:
            raise Conflict(f"a build {identifier[:80]!r} waits for its context already")
        wanted = self._wanted[identifier] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(wanted)
        except BaseException as error:
            if wanted.done():  # it came in the same moment
                wanted.result().over.set()
            if isinstance(error, TimeoutError):
                raise NotFound(f"no context came for the build {identifier[:80]!r}") from None
            raise
        finally:
            if self._wanted.get(identifier) is wanted:
                del self._wanted[identifier]


class _Upload:
    """A body; whether a build has taken it, and whether that needs it no more."""

    def __init__(self, body: StreamReader) -> None:
        self.body = body
        self.taken = asyncio.Event()
        self.over = asyncio.Event()
