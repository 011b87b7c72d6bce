"""Work in threads that is given up: nothing of it goes on when its caller goes on. Any user can run these."""

from __future__ import annotations

import asyncio
import threading

import pytest

from wherry.build.exporters.worker import Check, Worker


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


async def test_an_error_of_the_work_is_the_callers() -> None:
    worker = Worker()

    def work(_: Check) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await worker.run(work)
    worker.close()
