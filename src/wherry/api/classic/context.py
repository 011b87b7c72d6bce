"""A request's body becomes a build context: unpacked beside the event loop, and removed when the build is over."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from wherry.api.http.bodies import BodyReader
from wherry.build.sources.archive_session import context_directory, remove_context, unpack_context
from wherry.content.threads import finished
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import StreamReader

__all__ = ["Context", "unpacked"]


class Context(NamedTuple):
    """An unpacked context.

    :param is_archive: False: the body was a Dockerfile, and is the only file.
    """

    root: Path
    is_archive: bool


@asynccontextmanager
async def unpacked(body: StreamReader, directory: Path) -> AsyncIterator[Context]:
    """Unpack a request's body; the files are there as long as the block lasts.

    :param directory: for what is unfinished.
    :raises InvalidInput: the archive wants something that no honest archive wants, or its client has gone.
    :raises CorruptData: it is damaged, or ends too early.
    :raises TooLarge: it goes beyond the limits.
    """
    loop = asyncio.get_running_loop()
    raw = _ContextReader(body)
    reader = io.BufferedReader(raw, buffer_size=1 << 20)
    made: list[Path] = []

    def unpack() -> Context:
        made.append(context_directory(directory))
        return Context(made[0], unpack_context(reader, made[0]))

    def remove() -> None:
        for root in made:
            remove_context(root)

    pool = ThreadPoolExecutor(1, thread_name_prefix="context")  # a client that stalls holds up nobody but itself
    unpacking = loop.run_in_executor(pool, unpack)
    try:
        yield await asyncio.shield(unpacking)
    finally:
        raw.abandon()
        removing = loop.run_in_executor(pool, remove)  # by the same thread: after what it is at now
        pool.shutdown(wait=False)
        await finished(removing)
        unpacking.exception()  # it is looked at, so that asyncio does not complain


class _ContextReader(BodyReader):
    """A context's body; it may be another client's than that of its build."""

    def _next(self) -> bytes:
        try:
            return super()._next()
        except OSError as error:
            raise InvalidInput("the client went before it had sent its context") from error
