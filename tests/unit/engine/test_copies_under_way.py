"""Copies of containers' files that are under way: roots that are shared, ends that are waited for, cancellations."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.engine.archive.views import Views, _cancel_once
from wherry.engine.container.state import Status
from wherry.engine.lifecycle.copies import Copies
from wherry.errors import NotFound, Unavailable
from wherry.linux.fd import Fd


class PlainViews(Views):
    """Views of a directory, in the place of mounts.

    :ivar assembled: how often a root was put together.
    """

    def __init__(self) -> None:
        known = asyncio.Event()
        known.set()
        super().__init__(SimpleNamespace(reconciled=known.wait), SimpleNamespace(), Copies())  # type: ignore[arg-type]
        self.assembled = 0

    async def _running(self, container: Any) -> Fd:
        raise NotFound("the container has ended")

    async def _assembled(self, container: Any) -> Fd:
        self.assembled += 1
        return Fd(os.open("/", os.O_PATH | os.O_CLOEXEC))


class Stopped(SimpleNamespace):
    """What views ask of a container."""

    def __init__(self, *, is_alive: bool = False) -> None:
        state = SimpleNamespace(is_alive=is_alive, status=Status.EXITED)
        super().__init__(id="c", name="web", lock=asyncio.Lock(), state=state)
        self.asked = asyncio.Event()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def exit_code(self) -> asyncio.Future[int]:
        self.asked.set()
        return self.ended


async def test_a_root_that_the_next_copy_has_got_is_not_closed_by_the_last_one() -> None:
    """At whichever moment that one leaves."""
    for moment in range(12):
        views, container, leave = PlainViews(), Stopped(), asyncio.Event()
        copies: list[Any] = []

        async def first(views: Views, container: Any, leave: asyncio.Event, copies: list[Any]) -> None:
            async with views.open(container, "web") as (_, copy):
                copies.append(copy)
                await leave.wait()

        async def second(views: Views, container: Any, copies: list[Any]) -> None:
            async with views.open(container, "web") as (view, _):
                await copies[0].over
                assert not view.root.closed

        one = asyncio.ensure_future(first(views, container, leave, copies))
        while not copies:  # noqa: ASYNC110 - it comes with the next rounds of the loop
            await asyncio.sleep(0)
        other = asyncio.ensure_future(second(views, container, copies))
        for _ in range(moment):
            await asyncio.sleep(0)
        leave.set()
        await asyncio.gather(one, other)


async def test_a_container_that_has_just_ended_is_put_together_when_that_is_noted() -> None:
    """Processes of it may still be there, which have its overlay mounted."""
    views, container = PlainViews(), Stopped(is_alive=True)

    async def copy() -> None:
        async with views.open(container, "web"):  # type: ignore[arg-type]
            pass

    task = asyncio.ensure_future(copy())
    await container.asked.wait()
    assert not views.assembled
    async with container.lock:
        container.state.is_alive = False
        container.ended.set_result(0)
    await task
    assert views.assembled == 1


async def test_a_copy_that_waits_for_its_thread_is_not_cancelled_again() -> None:
    copies, thread, waits = Copies(stall=0), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            waits.set()
            await thread.wait()

    task = asyncio.ensure_future(work())
    copy = copies.begin("c", lambda: _cancel_once(task))
    await asyncio.sleep(0)
    task.cancel()  # its client has left
    await waits.wait()
    with pytest.raises(Unavailable, match="still being copied"):
        await copies.over("c")
    assert not task.done()
    thread.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    copies.end(copy)
    await copies.over("c")
