"""Reading a container's log back: ``docker logs``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from wherry.engine.container import Container
from wherry.engine.output import OutputFeed, merged
from wherry.engine.streams import LogChunk, LogOptions
from wherry.errors import Unsupported
from wherry.keeper.lines import LineCutter
from wherry.keeper.logreader import BEGINNING, Chunk, Start, position_at
from wherry.keeper.records import NOTE
from wherry.keeper.tail import start_of_tail

__all__ = ["read_logs"]


async def read_logs(container: Container, feed: OutputFeed, options: LogOptions) -> AsyncGenerator[LogChunk, None]:
    """The wanted part of a container's log, and with `follow` what comes until it exits.

    :raises Unsupported: the container's log driver keeps nothing.
    """
    log = container.host.log_config
    if log is not None and log.type == "none":
        raise Unsupported("configured logging driver does not support reading")
    streams = frozenset(({1} if options.stdout else set()) | ({2} if options.stderr else set()))
    start = _start(str(feed.directory), streams, options)
    until_end_of = feed.present_or_next() if options.follow and feed.is_running else 0
    chunks = _in_time(feed.follow(start, streams, until_end_of=until_end_of), options)
    out = _stamped(chunks) if options.timestamps else merged(chunks)
    async with aclosing(cast("AsyncGenerator[LogChunk, None]", out)) as lines:
        async for chunk in lines:
            yield chunk


def _start(directory: str, streams: frozenset[int], options: LogOptions) -> Start:
    if options.tail is not None:
        return start_of_tail(directory, options.tail, streams)
    if options.since is not None:
        return Start(position_at(directory, options.since))
    return Start(BEGINNING)


async def _in_time(chunks: AsyncGenerator[Chunk, None], options: LogOptions) -> AsyncIterator[Chunk]:
    """What was read between `since` and `until`; ends with the first that came later."""
    async with aclosing(chunks) as source:
        async for chunk in source:
            if chunk.time:  # not a pause
                if options.until is not None and chunk.time > options.until:
                    return
                if options.since is not None and chunk.time < options.since:
                    continue
            yield chunk


async def _stamped(chunks: AsyncIterator[Chunk]) -> AsyncIterator[LogChunk]:
    cutter = LineCutter()
    async for chunk in chunks:
        if chunk.data and chunk.stream != NOTE:
            for lines in cutter.feed(chunk):
                yield LogChunk(lines.stream, lines.stamped())
    for lines in cutter.flush():
        yield LogChunk(lines.stream, lines.stamped())
