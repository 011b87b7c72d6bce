"""Work in threads that is not wanted any more."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from wherry.build.files.work import Check, Work
from wherry.errors import Unavailable


class Gate:
    """Work that goes on when it may."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        """Wait, in the thread."""
        self.begun.set()
        assert self.go.wait(60)

    async def cancel(self, task: asyncio.Future[object]) -> None:
        """Cancel work that waits, and let it go on."""
        assert await asyncio.to_thread(self.begun.wait, 60)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        self.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_work_that_is_done_in_spite_of_being_cancelled_is_undone_before_one_hears_of_it() -> None:
    gate, work, undone = Gate(), Work(), list[object]()

    def late(_: Check) -> int:
        gate.pass_through()
        return 7

    await gate.cancel(asyncio.ensure_future(work.run(late, undone.append)))
    assert undone == [7]
    assert await work.run(lambda _: 8, undone.append) == 8
    assert undone == [7]
    work.close()


async def test_what_is_done_in_the_moment_of_the_cancellation_is_undone() -> None:
    work, undone, jobs = Work(), list[str](), list[Future[Any]]()
    submit = work._pool.submit

    def note(*given: Any) -> Any:
        jobs.append(submit(*given))
        return jobs[-1]

    work._pool.submit = note  # type: ignore[method-assign]
    task = asyncio.create_task(work.run(lambda _: "made", undone.append))
    while not (jobs and jobs[0].done()):  # noqa: ASYNC110  # each turn of the loop counts
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["made"]
    work.close()


async def test_cancelled_work_ends_at_its_next_check_and_has_nothing_to_undo() -> None:
    gate, work, ends, undone = Gate(), Work(), list[BaseException](), list[object]()

    def checking(check: Check) -> None:
        gate.pass_through()
        try:
            check()
        except Unavailable as end:
            ends.append(end)
            raise

    await gate.cancel(asyncio.ensure_future(work.run(checking, undone.append)))
    assert (len(ends), undone) == (1, [])
    work.close()


async def test_work_that_is_cancelled_while_it_waits_for_a_thread_does_not_begin() -> None:
    gate, work, begun = Gate(), Work(1), list[object]()
    first = asyncio.ensure_future(work.run(lambda _: gate.pass_through()))
    second = asyncio.ensure_future(work.run(lambda _: begun.append(1)))
    assert await asyncio.to_thread(gate.begun.wait, 60)
    second.cancel()
    await asyncio.sleep(0)
    gate.go.set()
    with pytest.raises(asyncio.CancelledError):
        await second
    await first
    assert begun == []
    work.close()
