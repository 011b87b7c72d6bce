"""A build of the classic API and its progress, as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from wherry.api.classic.running import Running
from wherry.build.model.progress import LogProgress, Progress
from wherry.build.model.request import BuildRequest
from wherry.errors import Conflict
from wherry.oci.digest import Digest

OUTPUT = LogProgress(vertex=Digest.from_bytes(b"x"), stream=1, data=b"hello", at=1)


class Builds:
    """A builder whose builds take their time to end."""

    def __init__(self) -> None:
        self.is_taken = False
        self.ending = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended = False

    async def build(self, request: BuildRequest) -> dict[str, str]:
        if self.is_taken:
            raise Conflict(f"a build with the ID {request.ref} is under way")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ending.set()
            while not self.ended:
                try:
                    await self.may_end.wait()
                    self.ended = True
                except asyncio.CancelledError:
                    continue
        return {}

    async def progress(self, ref: str) -> AsyncIterator[Progress]:
        while True:
            yield OUTPUT
            await asyncio.sleep(0)


def running(builds: Builds) -> Running:
    """A build of theirs."""
    services: Any = builds
    return Running(services, BuildRequest(ref="r"))


async def test_who_is_cancelled_again_and_again_waits_for_the_builds_end() -> None:
    builds = Builds()

    async def listen() -> None:
        async with aclosing(running(builds).events()) as events:
            async for _ in events:
                pass

    listening = asyncio.create_task(listen())
    for _ in range(5):
        await asyncio.sleep(0)
    listening.cancel()
    await builds.ending.wait()
    for _ in range(3):
        listening.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not listening.done()
    builds.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert builds.ended


async def test_nothing_of_another_build_with_the_same_id_is_shown() -> None:
    builds = Builds()
    builds.is_taken = True
    async with aclosing(running(builds).events()) as events:
        with pytest.raises(Conflict, match="a build with the ID r is under way"):
            await anext(events)
