"""Bases are looked up at once, and no work is left when one of them fails."""

from __future__ import annotations

import asyncio

import pytest

from support.fake_gateway import FakeGateway, solved
from wherry.build.front.bases import all_of, each_to_its_end
from wherry.build.model.errors import DockerfileError
from wherry.build.model.service import ResolvedImage
from wherry.errors import InvalidInput, NotFound
from wherry.oci.platform import Platform


async def test_one_failure_cancels_the_others_and_is_raised() -> None:
    cancelled = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise NotFound("nothing")

    with pytest.raises(NotFound, match="nothing"):
        await all_of([waits(), fails()])
    assert cancelled.is_set()


class Waiting(FakeGateway):
    """Does not answer for images but one that is not there."""

    def __init__(self, dockerfile: str) -> None:
        super().__init__(dockerfile)
        self.asked: set[str] = set()
        self.cancelled: set[str] = set()
        self.all_asked = asyncio.Event()

    async def resolve_image(
        self, reference: str, *, platform: Platform, mode: str = "default", name: str = "", store: str = ""
    ) -> ResolvedImage:
        """Wait to be cancelled."""
        self.asked.add(reference)
        if len(self.asked) == 3:
            self.all_asked.set()
        try:
            if "missing" in reference:
                await self.all_asked.wait()
                raise NotFound(f"{reference}: not found")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.add(reference)
            raise
        raise AssertionError


DOCKERFILE = "FROM a\nFROM {}\nFROM scratch\nCOPY --from=0 / /\nCOPY --from=1 / /\nCOPY --from=c / /"


async def test_images_are_looked_up_at_once_and_one_that_is_missing_ends_it() -> None:
    gateway = Waiting(DOCKERFILE.format("missing"))
    with pytest.raises(DockerfileError, match="missing"):
        await solved("", gateway=gateway)
    assert len(gateway.asked) == 3
    assert len(gateway.cancelled) == 2


async def test_being_cancelled_leaves_no_work_behind() -> None:
    gateway = Waiting(DOCKERFILE.format("b"))
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(solved("", gateway=gateway))
    await gateway.all_asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(gateway.cancelled) == 3
    assert asyncio.all_tasks() == before


async def test_what_runs_to_its_end_does_so_though_something_else_fails_sooner() -> None:
    failed = asyncio.Event()
    seen: list[str] = []

    async def fails() -> None:
        failed.set()
        raise InvalidInput("second")

    async def goes_on() -> None:
        await failed.wait()
        seen.append("the end")
        raise InvalidInput("first")

    with pytest.raises(InvalidInput, match="first"):
        await each_to_its_end([goes_on(), fails()])
    assert seen == ["the end"]
