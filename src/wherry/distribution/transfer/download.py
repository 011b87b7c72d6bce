"""Download one blob into its partial file: resumed where it broke, from the next source where one fails.

Only lengths are checked here; the reader verifies the content. Nor is the file synced here: on ext4 an fsync blocks
every process that creates files, as unpacking does. It is synced when it becomes a blob.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp

from wherry.content.partial import Partial
from wherry.distribution.client.errors import Transient
from wherry.distribution.client.repository import Repository
from wherry.distribution.client.retry import Backoff
from wherry.distribution.client.settings import RegistrySettings, Timing
from wherry.errors import CorruptData, SystemFault, WherryError

__all__ = ["download"]

#: After so many bytes a connection that breaks counts as the first one that did.
_PROGRESS: Final = 1 << 20
_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-")


async def download(
    partial: Partial, sources: Sequence[Repository], settings: RegistrySettings, on_status: Callable[[str], None]
) -> None:
    """Fetch the rest of a partial download.

    :param sources: repositories that may have it, best first.
    :param on_status: called with progress for people: ``Retrying in 2 seconds``.
    :raises WherryError: none of the sources gave it.
    :raises OutOfSpace: the disk is full.
    """
    for number, source in enumerate(sources):
        try:
            await _from(source, partial, settings, on_status)
            break
        except WherryError:
            if number == len(sources) - 1:
                raise


async def _from(
    source: Repository, partial: Partial, settings: RegistrySettings, on_status: Callable[[str], None]
) -> None:
    def announce(seconds: float) -> None:
        whole = max(1, math.ceil(seconds))
        on_status(f"Retrying in {whole} second{'s' if whole > 1 else ''}")

    backoff = Backoff(settings, announce)
    while not partial.is_complete:
        before = partial.received
        try:
            await _attempt(source, partial, settings.timing)
        except Transient as failure:
            if partial.received - before >= _PROGRESS:
                backoff.progressed()
            await backoff.wait(failure)


async def _attempt(source: Repository, partial: Partial, timing: Timing) -> None:
    offset = partial.received
    async with source.blob(partial.digest, offset) as response:
        # A registry that knows no ranges gives everything: what is there already is passed over.
        skip = offset if response.status == 200 else 0
        _check_head(response, partial, offset - skip)
        speed = _Speed(timing)
        while chunk := await response.content.readany():
            speed.passed(len(chunk))
            fresh = memoryview(chunk)[skip:]
            skip = max(0, skip - len(chunk))
            if partial.received + len(fresh) > partial.size:
                raise CorruptData(f"blob {partial.digest} has more than the {partial.size} bytes that it should have")
            if fresh:
                await asyncio.to_thread(partial.append, fresh)
    if not partial.is_complete:
        raise Transient(SystemFault("the connection broke: unexpected EOF"))


def _check_head(response: aiohttp.ClientResponse, partial: Partial, start: int) -> None:
    """Check the announced length and the range of a response."""
    if response.status == 206:
        found = _RANGE.match(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start:
            raise CorruptData(f"the registry gives another part of {partial.digest} than was asked for")
    announced = response.content_length
    if announced is not None and announced != partial.size - start:
        raise CorruptData(f"blob {partial.digest} has {announced + start} bytes, not {partial.size}")


class _Speed:
    """Measures the transfer rate; a rate below `Timing.slowest` counts as a broken connection."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._since = time.monotonic()
        self._bytes = 0

    def passed(self, count: int) -> None:
        """Count received bytes.

        :raises Transient: the rate was below the limit for a whole window.
        """
        self._bytes += count
        elapsed = time.monotonic() - self._since
        if elapsed >= self._timing.window:
            if self._bytes < elapsed * self._timing.slowest:
                raise Transient(
                    SystemFault(f"the registry sends no more than {self._bytes / elapsed:.0f} bytes a second")
                )
            self._since, self._bytes = time.monotonic(), 0
