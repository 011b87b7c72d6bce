"""A request's body becomes a build context: unpacked beside the event loop, and removed some time after the build."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.api.http.bodies import BodyReader
from wherry.build.sources.archive_session import unpack_context
from wherry.build.sources.contexts import ContextInUse, Spare, context_directory, remove_context
from wherry.content.threads import finished
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import StreamReader

__all__ = ["Context", "Contexts"]

_KEPT: Final = 300.0  # seconds that a context stays for the next one to take files from: people build again soon


class Context(NamedTuple):
    """An unpacked context.

    :param is_archive: False: the body was a Dockerfile, and is the only file.
    """

    used: ContextInUse
    is_archive: bool


class Contexts:
    """Unpacks contexts. A small one stays for a while after its build: the next one takes its files.

    :param directory: for what is unfinished.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._spare = Spare()

    @asynccontextmanager
    async def unpacked(self, body: StreamReader) -> AsyncIterator[Context]:
        """Unpack a request's body; the files are there as long as the block lasts, or somebody uses them.

        :raises InvalidInput: the archive wants something that no honest archive wants, or its client has gone.
        :raises CorruptData: it is damaged, or ends too early.
        :raises TooLarge: it goes beyond the limits.
        """
        loop = asyncio.get_running_loop()
        raw = _ContextReader(body)
        place = _Place(self._directory, self._spare, io.BufferedReader(raw, buffer_size=1 << 20))
        pool = ThreadPoolExecutor(1, thread_name_prefix="context")  # a client that stalls holds up nobody but itself
        ending: list[asyncio.Future[None]] = []

        def end() -> None:
            ending.append(loop.run_in_executor(pool, place.leave))  # by the same thread: after what it is at now
            ending[0].add_done_callback(lambda _: self._forget_later(loop, place))
            pool.shutdown(wait=False)

        unpacking = loop.run_in_executor(pool, place.fill)
        context: ContextInUse | None = None
        try:
            is_archive = await asyncio.shield(unpacking)
            context = ContextInUse(place.root, end)
            yield Context(context, is_archive)
        finally:
            raw.abandon()
            if context is not None:
                context.let_go()
            else:
                end()
            for one in ending:  # there is none while somebody else uses it
                await finished(one)
            await finished(unpacking)

    async def forget(self) -> None:
        """Remove what stays for the next one."""
        kept = self._spare.take()
        if kept is not None:
            await finished(asyncio.get_running_loop().run_in_executor(None, remove_context, kept))

    def _forget_later(self, loop: asyncio.AbstractEventLoop, place: _Place) -> None:
        if (kept := place.kept) is not None:
            loop.call_later(_KEPT, lambda: loop.run_in_executor(None, self._spare.drop, kept))


class _Place:
    """One context on the disk; all of it in one thread.

    :ivar root: where it is unpacked.
    :ivar kept: where it is kept for the next one.
    """

    def __init__(self, directory: Path, spare: Spare, reader: io.BufferedReader) -> None:
        self.root = directory
        self.kept: Path | None = None
        self._directory = directory
        self._spare = spare
        self._reader = reader
        self._left: list[Path] = []
        self._is_whole = False

    def fill(self) -> bool:
        """Unpack it; returns whether it was an archive."""
        self.root = context_directory(self._directory)
        self._left.append(self.root)
        if (former := self._spare.take()) is not None:
            self._left.append(former)
        is_archive = unpack_context(self._reader, self.root, former=former)
        self._is_whole = True
        return is_archive

    def leave(self) -> None:
        """Remove it, or keep it for the next one; and what that has not taken of the former one."""
        for root in self._left[::-1]:
            if root == self.root and self._is_whole:
                self.kept = self._spare.put(root)
            else:
                remove_context(root)


class _ContextReader(BodyReader):
    """A context's body; it may be another client's than that of its build."""

    def _next(self) -> bytes:
        try:
            return super()._next()
        except OSError as error:
            raise InvalidInput("the client went before it had sent its context") from error
