"""Reading a container's log back: ``docker logs``."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import cast
from urllib.parse import quote_plus

from wherry.engine.container import Container
from wherry.engine.output import OutputFeed, merged
from wherry.engine.streams import LogChunk, LogOptions
from wherry.errors import Unsupported
from wherry.keeper.lines import LineCutter, timestamp
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
    details = _details(container) if options.details else b""
    marking = options.timestamps or options.details
    out = _marked(chunks, details, stamp=options.timestamps) if marking else merged(chunks)
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


async def _marked(chunks: AsyncIterator[Chunk], details: bytes, *, stamp: bool) -> AsyncIterator[LogChunk]:
    """Lines with their time, or with details, or with both before each."""
    cutter = LineCutter()
    async for chunk in chunks:
        if chunk.data and chunk.stream != NOTE:
            for lines in cutter.feed(chunk):
                yield LogChunk(lines.stream, lines.marked((timestamp(lines.time) if stamp else b"") + details))
    for lines in cutter.flush():
        yield LogChunk(lines.stream, lines.marked((timestamp(lines.time) if stamp else b"") + details))


def _details(container: Container) -> bytes:
    """What the options ``labels``, ``env`` and ``*-regex`` name, as Docker writes it: ``a=1,b=x+y`` and a space."""
    log = container.host.log_config
    options = (log.config or {}) if log else {}
    environment = dict(entry.partition("=")[::2] for entry in container.config.env or [] if "=" in entry)
    found = {
        **_chosen(container.config.labels or {}, options.get("labels", ""), options.get("labels-regex", "")),
        **_chosen(environment, options.get("env", ""), options.get("env-regex", "")),
    }
    return (",".join(f"{quote_plus(name)}={quote_plus(found[name])}" for name in sorted(found)) + " ").encode()


def _chosen(values: Mapping[str, str], names: str, pattern: str) -> dict[str, str]:
    wanted = names.split(",")
    return {n: v for n, v in values.items() if n in wanted or (pattern and re.search(pattern, n))}
