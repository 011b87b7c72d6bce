"""Contexts that come with a request of their own, and the builds that they are for."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from wherry.api.classic.uploads import Uploads
from wherry.errors import Conflict, InvalidInput, NotFound

BODY: Any = object()
OTHER: Any = object()


async def turns() -> None:
    """Let everything come to where it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("first", ["context", "build"])
async def test_whichever_is_first_waits_and_the_context_stays_until_it_was_taken(first: str) -> None:
    uploads = Uploads()
    async with AsyncExitStack() as stack:
        if first == "context":
            given = asyncio.create_task(uploads.give("x", BODY))
            await turns()
            body = await stack.enter_async_context(uploads.taken("x"))
        else:
            taking = asyncio.create_task(stack.enter_async_context(uploads.taken("x")))
            await turns()
            given = asyncio.create_task(uploads.give("x", BODY))
            body = await taking
        await turns()
        assert (body, given.done()) == (BODY, False)
    await given


async def test_who_waits_in_vain_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(patience=0.01)
    with pytest.raises(NotFound, match="no build 'x' asks for a context"):
        await uploads.give("x", BODY)
    with pytest.raises(NotFound, match="no context came for the build 'x'"):
        async with uploads.taken("x"):
            pass
    with pytest.raises(InvalidInput, match="needs a build ID"):
        async with uploads.taken(""):
            pass
    assert (uploads._given, uploads._wanted) == ({}, {})


async def test_two_at_once_do_not_share_a_context() -> None:
    uploads = Uploads()
    given = asyncio.create_task(uploads.give("x", BODY))
    await turns()
    with pytest.raises(Conflict):
        await uploads.give("x", OTHER)
    async with uploads.taken("x") as body:
        assert body is BODY
        other = uploads.taken("x")
        second = asyncio.create_task(other.__aenter__())
        await turns()
        with pytest.raises(Conflict):
            await uploads.taken("x").__aenter__()
        later = asyncio.create_task(uploads.give("x", OTHER))
        assert await second is OTHER
    await given
    assert not later.done(), "the second build has it still"
    await other.__aexit__(None, None, None)
    await later


async def test_who_goes_while_waiting_is_in_nobodys_way() -> None:
    uploads = Uploads()
    for waiting in (uploads.give("x", OTHER), uploads.taken("x").__aenter__()):
        task: asyncio.Task[Any] = asyncio.create_task(waiting)
        await turns()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    given = asyncio.create_task(uploads.give("x", BODY))
    async with uploads.taken("x") as body:
        assert body is BODY
    await given


async def test_a_build_that_goes_in_the_moment_its_context_comes_keeps_nobody() -> None:
    uploads = Uploads()
    taking: asyncio.Task[Any] = asyncio.create_task(uploads.taken("x").__aenter__())
    await turns()
    given = asyncio.create_task(uploads.give("x", BODY))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    async with asyncio.timeout(60):
        await given
