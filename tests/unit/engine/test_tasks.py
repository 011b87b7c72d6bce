"""Work in the background: it is waited for, and its errors are told in the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from wherry.engine.lifecycle.tasks import BackgroundTasks


@pytest.mark.timeout(30)
async def test_a_task_that_has_just_ended_is_waited_for_and_no_longer() -> None:
    tasks, ended = BackgroundTasks(), asyncio.get_running_loop().create_future()

    async def work() -> None:
        ended.set_result(None)

    task = tasks.start(work(), "work")
    await ended
    assert task.done(), "and what is to follow from that has not been done yet"
    await tasks.drain()


async def test_what_begins_while_the_rest_is_waited_for_is_waited_for_too() -> None:
    tasks, done = BackgroundTasks(), []

    async def work(left: int) -> None:
        await asyncio.sleep(0)
        if left:
            tasks.start(work(left - 1), "work")
        done.append(left)

    tasks.start(work(3), "work")
    await tasks.drain()
    assert sorted(done) == [0, 1, 2, 3]


async def test_an_error_is_in_the_log_with_its_operation(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise RuntimeError("no")

    tasks = BackgroundTasks()
    with caplog.at_level(logging.ERROR):
        tasks.start(work(), "resume networks")
        await tasks.drain()
    assert "operation=resume networks" in caplog.text
