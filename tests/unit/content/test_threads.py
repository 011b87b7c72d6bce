"""Work in threads that is given up: nothing of it goes on when its caller goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from wherry.content.threads import Check, Worker, in_thread


async def test_who_is_cancelled_waits_for_the_end_of_the_work() -> None:
    worker = Worker()
    begun, ended = threading.Event(), threading.Event()

    def work(check: Check) -> None:
        begun.set()
        try:
            while True:
                check()
        finally:
            ended.set()

    task = asyncio.create_task(worker.run(work))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    worker.close()


async def test_what_has_not_begun_is_not_begun_any_more() -> None:
    worker = Worker(threads=1)
    gate = threading.Event()
    ran: list[str] = []
    first = asyncio.create_task(worker.run(lambda _: gate.wait()))
    second = asyncio.create_task(worker.run(lambda _: ran.append("second")))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.set()
    assert await first is True
    assert ran == []
    worker.close()


async def test_what_nobody_wants_any_more_is_undone() -> None:
    worker = Worker()
    begun, gate = threading.Event(), threading.Event()
    undone: list[str] = []

    def work(_: Check) -> str:
        begun.set()
        gate.wait()
        return "held"

    task = asyncio.create_task(worker.run(work, undone.append))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["held"]
    worker.close()


async def test_what_is_done_in_the_moment_of_the_cancellation_is_undone() -> None:
    work, undone, jobs = Worker(), list[str](), list[Future[Any]]()
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


async def test_an_error_of_the_work_is_the_callers() -> None:
    worker = Worker()

    def work(_: Check) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await worker.run(work)
    worker.close()


Run = Callable[[Callable[[], str], Callable[[str], object]], Any]


def by_worker(work: Callable[[], str], undo: Callable[[str], object]) -> Any:
    """Run it in threads of its own."""
    return Worker().run(lambda _: work(), undo)


def by_default(work: Callable[[], str], undo: Callable[[str], object]) -> Any:
    """Run it in one of asyncio's threads."""
    return in_thread(work, undo=undo)


@pytest.mark.parametrize("run", [by_worker, by_default])
async def test_who_is_cancelled_again_and_again_waits_for_the_end_and_what_was_made_is_undone(run: Run) -> None:
    begun, gate, undoing, may_undo = (threading.Event() for _ in range(4))
    ends: list[str] = []

    def work() -> str:
        begun.set()
        gate.wait()
        ends.append("work")
        return "made"

    def undo(made: str) -> None:
        undoing.set()
        may_undo.wait()
        ends.append(f"{made} undone")

    task = asyncio.create_task(run(work, undo))
    for event, go in ((begun, gate), (undoing, may_undo)):
        await asyncio.to_thread(event.wait)
        for _ in range(3):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not task.done()
        go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == ["work", "made undone"]


@pytest.mark.parametrize("run", [by_worker, by_default])
async def test_an_error_that_comes_when_nobody_waits_any_more_is_nobodys(run: Run) -> None:
    begun, gate = threading.Event(), threading.Event()
    undone: list[str] = []

    def work() -> str:
        begun.set()
        gate.wait()
        raise ValueError("no")

    task = asyncio.create_task(run(work, undone.append))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == []
