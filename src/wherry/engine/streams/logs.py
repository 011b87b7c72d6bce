"""Reading a container's log back: ``docker logs``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast
from urllib.parse import quote_plus

from wherry.docker.streams import LogChunk, LogOptions
from wherry.engine.container.container import Container
from wherry.engine.container.log import ContainerLog, merged
from wherry.engine.container.log_subject import subject_of
from wherry.engine.log_drivers.attributes import extra_attributes
from wherry.engine.log_drivers.table import driver_of
from wherry.engine.log_drivers.tag import tag_of
from wherry.errors import Unsupported
from wherry.keeper.lines import LineCutter, timestamp
from wherry.keeper.log_reader import BEGINNING, Chunk, Overtaken, Start, begin_of_segment, position_at
from wherry.keeper.log_writer import segments_of
from wherry.keeper.records import NOTE
from wherry.keeper.tail import start_of_tail

__all__ = ["lacks_older", "read_logs"]


async def read_logs(container: Container, options: LogOptions) -> AsyncGenerator[LogChunk, None]:
    """The wanted part of a container's log, and with `follow` what comes until it exits.

    :raises Unsupported: the log of the container's driver cannot be read back.
    """
    log = container.log
    config = container.host.log_config
    if not driver_of(config).is_readable((config.config if config else None) or {}):
        raise Unsupported("configured logging driver does not support reading")
    streams = options.outputs
    start = await asyncio.to_thread(_start, str(log.directory), streams, options)
    until_end_of = log.present_or_next() if options.follow and log.is_running else 0
    chunks = _in_time(log.follow(start, streams, until_end_of=until_end_of), options)
    details = await asyncio.to_thread(_details, container) if options.details else b""  # expressions on any labels
    marking = options.timestamps or options.details
    out = _marked(chunks, details, stamp=options.timestamps) if marking else merged(chunks)
    async with aclosing(cast("AsyncGenerator[LogChunk, None]", out)) as lines:
        async for chunk in lines:
            yield chunk


async def lacks_older(log: ContainerLog, options: LogOptions) -> bool:
    """Whether rotation has dropped some of the wanted part."""
    return await asyncio.to_thread(_lacks_older, str(log.directory), options)


def _lacks_older(directory: str, options: LogOptions) -> bool:
    oldest = next(iter(segments_of(directory)), 1)
    if oldest == 1:
        return False
    if options.tail is not None:
        return start_of_tail(directory, options.tail, options.outputs).position == BEGINNING
    begun = begin_of_segment(directory, oldest)
    return options.since is None or begun is None or begun > options.since


def _start(directory: str, streams: frozenset[int], options: LogOptions) -> Start:
    if options.tail is not None:
        return start_of_tail(directory, options.tail, streams)
    if options.since is not None:
        return Start(position_at(directory, options.since))
    return Start(BEGINNING)


async def _in_time(chunks: AsyncGenerator[Chunk, None], options: LogOptions) -> AsyncIterator[Chunk]:
    """The chunks between `since` and `until`; ends at the first later one."""
    async with aclosing(chunks) as source:
        async for chunk in source:
            if chunk.time:  # not a pause
                if options.until is not None and chunk.time > options.until:
                    return
                if options.since is not None and chunk.time < options.since:
                    continue
            yield chunk


async def _marked(chunks: AsyncIterator[Chunk], details: bytes, *, stamp: bool) -> AsyncIterator[LogChunk]:
    """Lines with a timestamp, details or both before each."""
    cutter = LineCutter()
    overtaken: Overtaken | None = None
    try:
        async for chunk in chunks:
            if chunk.data and chunk.stream != NOTE:
                for lines in cutter.feed(chunk):
                    yield LogChunk(lines.stream, lines.marked((timestamp(lines.time) if stamp else b"") + details))
    except Overtaken as error:
        overtaken = error
    for lines in cutter.flush():
        yield LogChunk(lines.stream, lines.marked((timestamp(lines.time) if stamp else b"") + details))
    if overtaken is not None:
        raise overtaken


def _details(container: Container) -> bytes:
    """The values that ``labels``, ``env``, ``*-regex`` and ``tag`` select, as in Docker: ``a=1,b=x+y`` and a space."""
    log = container.host.log_config
    subject = subject_of(container, (log.config or {}) if log else {})
    found = extra_attributes(subject)
    if subject.options.get("tag"):
        found["tag"] = tag_of(subject)
    return (",".join(f"{quote_plus(name)}={quote_plus(found[name])}" for name in sorted(found)) + " ").encode()
