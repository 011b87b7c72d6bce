"""One blob from a registry into its file: taken up where it broke, from another place when one has not got it.

The file's content is verified by whoever reads it; here only lengths are. Nor is it synced here: on ext4 an fsync stops
whoever makes files at that moment, which is what unpacking does. That comes when it becomes a blob.
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
from wherry.errors import CorruptData, SystemFault, WherryError
from wherry.registry.client.faults import Passing
from wherry.registry.client.repeat import Patience
from wherry.registry.client.repository import Repository
from wherry.registry.client.settings import RegistrySettings, Timing

__all__ = ["download"]

#: After so many bytes a connection that breaks counts as the first one that did.
_PROGRESS: Final = 1 << 20
_RANGE: Final = re.compile(r"bytes (\d+)-")


async def download(
    partial: Partial, sources: Sequence[Repository], settings: RegistrySettings, said: Callable[[str], None]
) -> None:
    """Fetch what a blob's file still lacks.

    :param sources: where it may be had, best first.
    :param said: told what people should know: ``Retrying in 2 seconds``.
    :raises WherryError: none of the sources gave it.
    :raises OutOfSpace: the disk is full.
    """
    for number, source in enumerate(sources):
        try:
            await _from(source, partial, settings, said)
            break
        except WherryError:
            if number == len(sources) - 1:
                raise


async def _from(source: Repository, partial: Partial, settings: RegistrySettings, said: Callable[[str], None]) -> None:
    def aloud(seconds: float) -> None:
        whole = max(1, math.ceil(seconds))
        said(f"Retrying in {whole} second{'s' if whole > 1 else ''}")

    patience = Patience(settings, aloud)
    while not partial.is_complete:
        before = partial.received
        try:
            await _attempt(source, partial, settings.timing)
        except Passing as failure:
            if partial.received - before >= _PROGRESS:
                patience.progressed()
            await patience.wait(failure)


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
        raise Passing(SystemFault("the connection broke: unexpected EOF"))


def _check_head(response: aiohttp.ClientResponse, partial: Partial, start: int) -> None:
    """Hold the announced length, and the place in the blob, against what they should be."""
    if response.status == 206:
        place = _RANGE.match(response.headers.get("Content-Range", ""))
        if place is None or int(place[1]) != start:
            raise CorruptData(f"the registry gives another part of {partial.digest} than was asked for")
    announced = response.content_length
    if announced is not None and announced != partial.size - start:
        raise CorruptData(f"blob {partial.digest} has {announced + start} bytes, not {partial.size}")


class _Speed:
    """Tells a connection that drips from one that flows."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._since = time.monotonic()
        self._bytes = 0

    def passed(self, count: int) -> None:
        """Some bytes came.

        :raises Passing: they come too slowly, which no honest network does for so long.
        """
        self._bytes += count
        elapsed = time.monotonic() - self._since
        if elapsed >= self._timing.window:
            if self._bytes < elapsed * self._timing.slowest:
                raise Passing(
                    SystemFault(f"the registry sends no more than {self._bytes / elapsed:.0f} bytes a second")
                )
            self._since, self._bytes = time.monotonic(), 0
