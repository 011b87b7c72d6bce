"""Fetches of blobs from an upstream, into the storage and to waiting clients at the same time.

A fetch goes at the upstream's pace, to its end, whoever listens. A client that keeps up gets the pieces as they
arrive; one that falls behind, or comes later, gets the rest from the storage once it is there. So one blob is fetched
once, a slow client slows nobody, and no client costs more memory than its queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from aiohttp import ClientError, web

from wherry.distribution.client.errors import Transient
from wherry.errors import CorruptData, WherryError
from wherry.registry.server import answers
from wherry.registry.storage.contract import key_of_blob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp.abc import AbstractStreamWriter

    from wherry.distribution.client.repository import Repository
    from wherry.oci.digest import Digest
    from wherry.registry.server.catalog import Catalog
    from wherry.registry.server.sessions import Sessions
    from wherry.registry.storage.contract import Progress

__all__ = ["CachedBlob", "Fetch", "Fetches"]

_log = logging.getLogger(__name__)
_ATTEMPTS: Final = 4
_BEHIND: Final = 64
"""Pieces, of at most some hundred kilobytes, that a client may be behind."""


class Listener:
    """A client that receives pieces as they arrive."""

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.received = asyncio.Event()
        self.behind = False

    def feed(self, piece: bytes) -> None:
        """Here is another piece; who has too many already gets no more."""
        if self.behind or len(self.pieces) >= _BEHIND:
            self.behind = True
        else:
            self.pieces.append(piece)
        self.received.set()


class Fetch:
    """One blob on its way.

    :ivar size: bytes, as the upstream says.
    """

    def __init__(self, digest: Digest, size: int) -> None:
        self.digest: Final = digest
        self.size: Final = size
        self.task: asyncio.Task[None] | None = None
        self._begun = False
        self._held = b""
        self._listeners: list[Listener] = []

    def listen(self) -> Listener:
        """Take part; who comes after the first piece waits for the end."""
        listener = Listener()
        listener.behind = self._begun
        self._listeners.append(listener)
        return listener

    def feed(self, piece: bytes) -> None:
        """A piece was received. The last one is held back until the digest is known to be right."""
        self._begun = True
        held, self._held = self._held, piece
        if held:
            for listener in self._listeners:
                listener.feed(held)

    def end(self, *, good: bool) -> None:
        """Nothing more will arrive."""
        for listener in self._listeners:
            if good and self._held:
                listener.feed(self._held)
            listener.received.set()


class Fetches:
    """All blobs on their way.

    :param repository: the upstream's, by name.
    """

    def __init__(self, catalog: Catalog, sessions: Sessions, repository: Callable[[str], Repository]) -> None:
        self._catalog = catalog
        self._sessions = sessions
        self._repository = repository
        self._running: dict[tuple[str, Digest], Fetch] = {}

    async def of(self, name: str, digest: Digest, size: int) -> Fetch:
        """The fetch of a blob, started unless it runs already."""
        running = self._running.get((name, digest))
        if running is None:
            running = self._running[name, digest] = Fetch(digest, size)
            running.task = asyncio.create_task(self._fetch(name, running))
            running.task.add_done_callback(lambda task: self._ended(name, running, task))
        return running

    async def close(self) -> None:
        """Stop all."""
        tasks = [fetch.task for fetch in self._running.values() if fetch.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, name: str, fetch: Fetch, task: asyncio.Task[None]) -> None:
        self._running.pop((name, fetch.digest), None)
        fetch.end(good=not task.cancelled() and task.exception() is None)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("blob %s of %s could not be fetched: %s", fetch.digest, name, task.exception())

    async def _fetch(self, name: str, fetch: Fetch) -> None:
        session = await self._sessions.begin(name)
        try:
            at = await self._receive(name, session, fetch)
            found, at = await self._sessions.digest(session, at, fetch.digest.algorithm)
            _require(fetch.digest, found)
            await self._sessions.finish(session, key_of_blob(fetch.digest), at)
            await self._catalog.link(name, fetch.digest, at.size)
        except BaseException:
            await self._sessions.cancel(session)
            raise

    async def _receive(self, name: str, session: str, fetch: Fetch) -> Progress:
        """Get all bytes, going on where a connection broke."""
        at = await self._sessions.progress(name, session)
        for attempt in range(_ATTEMPTS):
            try:
                return await self._sessions.append(
                    session, at, self._pieces(name, fetch, at.size), fetch.digest.algorithm
                )
            except (Transient, ClientError, TimeoutError, ConnectionError) as error:
                at = await self._sessions.progress(name, session)
                if attempt == _ATTEMPTS - 1:
                    raise error.error if isinstance(error, Transient) else error from error
                await asyncio.sleep(0.2 * 2**attempt)
        return at

    async def _pieces(self, name: str, fetch: Fetch, offset: int) -> AsyncIterator[bytes]:
        async with self._repository(name).blob(fetch.digest, offset) as response:
            if offset and response.status == 200:
                raise CorruptData("the upstream cannot go on where it stopped")
            total = offset
            async for piece in response.content.iter_any():
                total += len(piece)
                if total > fetch.size:
                    raise CorruptData(f"the upstream sends more than the {fetch.size} bytes of {fetch.digest}")
                fetch.feed(piece)
                yield piece


def _require(wanted: Digest, found: Digest) -> None:
    if found != wanted:
        raise CorruptData(f"the upstream sent {found} for {wanted}")


class CachedBlob(web.StreamResponse):
    """A blob that is arriving."""

    def __init__(self, headers: dict[str, str], fetch: Fetch, catalog: Catalog) -> None:
        super().__init__(status=200, headers={**answers.VERSION, **headers})
        self.content_length = fetch.size
        self._fetch = fetch
        self._catalog = catalog
        self._listener = fetch.listen()
        self._sent = 0

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send all of it; when it can't be had, the client sees a connection that breaks."""
        if self.prepared:
            return await super().prepare(request)
        writer = await super().prepare(request)
        try:
            await self._send_as_received()
            if self._sent < self._fetch.size:
                await self._send_stored()
        except (WherryError, ClientError, TimeoutError) as error:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionAbortedError(str(error)) from error
        await self.write_eof()
        return writer

    async def _send_as_received(self) -> None:
        listener, task = self._listener, self._fetch.task
        assert task is not None
        while True:
            while listener.pieces:
                piece = listener.pieces.popleft()
                await self.write(piece)
                self._sent += len(piece)
            if task.done() or listener.behind:
                break
            listener.received.clear()
            await listener.received.wait()
        await asyncio.shield(task)

    async def _send_stored(self) -> None:
        content = await self._catalog.storage.open(key_of_blob(self._fetch.digest), self._sent)
        try:
            async for piece in content.chunks():
                await self.write(piece)
        finally:
            await content.close()
