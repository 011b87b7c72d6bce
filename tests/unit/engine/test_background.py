"""What the engine does later and beside: background tasks, catching up with the disk, waiting for the keeper."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from wherry.content.thread_stream import pieces_of
from wherry.engine.keeper import patience
from wherry.engine.keeper.firewall_custody import KeeperCustody
from wherry.engine.keeper.patience import in_time, trouble_with
from wherry.engine.lifecycle.tasks import BackgroundTasks
from wherry.engine.recovery import catch_up
from wherry.engine.recovery.catch_up import CatchUp
from wherry.errors import Unavailable
from wherry.keeper.protocol import Message


async def test_drain_waits_for_all_and_for_what_they_begin() -> None:
    tasks, done = BackgroundTasks(), []

    async def second() -> None:
        await asyncio.sleep(0)
        done.append(2)

    async def first() -> None:
        done.append(1)
        tasks.start(second(), "second")

    tasks.start(first(), "first")
    await tasks.drain()
    assert done == [1, 2]


async def test_a_deletion_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.engine.lifecycle.tasks._DELETION_PATIENCE", 0.01)
    tasks, goes_on = BackgroundTasks(), asyncio.Event()

    async def delete() -> None:
        await goes_on.wait()

    tasks.start_deletion(delete(), SimpleNamespace(id="c"))  # type: ignore[arg-type]
    await asyncio.wait_for(tasks.drain(), 5)
    goes_on.set()


async def test_what_could_not_be_written_is_tried_until_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "_INTERVAL", 0.001)
    answers, renewed = [False, False, True], asyncio.Event()
    later = CatchUp([lambda: answers.pop(0)], SimpleNamespace(renew=renewed.set))  # type: ignore[arg-type]
    later.begin()
    later.begin()
    await asyncio.wait_for(renewed.wait(), 5)
    assert answers == []
    later.close()


async def test_a_keeper_that_answers_late_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "_LOOK", 0.01)
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def answer_after_the_warning() -> None:
        while "request=launch" not in caplog.text:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.001)
        answer.set_result(7)

    with caplog.at_level(logging.WARNING):
        late = asyncio.create_task(answer_after_the_warning())
        assert await asyncio.wait_for(in_time(answer, os.getpid(), "launch"), 30) == 7
        await late


def test_a_keeper_that_was_stopped_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LOOK", 0.01)

    async def wait_for(pid: int) -> None:
        await in_time(asyncio.get_running_loop().create_future(), pid, "launch")

    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            assert trouble_with(process.pid) is None
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            with pytest.raises(Unavailable, match="stands still"):
                asyncio.run(wait_for(process.pid))
        finally:
            process.kill()
    assert trouble_with(process.pid) is None


async def test_what_a_thread_writes_is_read_in_blocks_and_its_error_raised() -> None:
    def produce(write: Callable[[bytes], object]) -> None:
        write(b"x" * 200_000)
        write(b"x" * 100_000)
        write(b"z" * 300_000)
        write(b"y")
        raise ValueError("for a test")

    blocks = pieces_of(produce)
    assert await anext(blocks) == b"x" * 300_000
    assert await anext(blocks) == b"z" * 300_000
    with pytest.raises(ValueError, match="for a test"):
        await anext(blocks)


async def test_who_stops_reading_ends_the_writer() -> None:
    def produce(write: Callable[[bytes], object]) -> None:
        while True:
            write(b"x" * 300_000)

    blocks = pieces_of(produce)
    assert len(await anext(blocks)) == 300_000
    await asyncio.wait_for(blocks.aclose(), 5)


async def test_the_keeper_holds_the_firewalls_socket_and_gives_it_back() -> None:
    held: list[int] = []

    async def request(op: str, fds: list[int] | None = None, **fields: str) -> Message:
        if op == "keep":
            held.extend(os.dup(fd) for fd in fds or ())
        if op == "kept" and not held:
            return Message({}, [])
        return Message({}, [os.dup(held[-1])] if op == "kept" else [])

    custody = KeeperCustody(SimpleNamespace(request=request), "nftables")  # type: ignore[arg-type]
    assert await custody.recall() is None
    reading, writing = os.pipe()
    await custody.deposit(writing)
    os.close(writing)
    recalled = await custody.recall()
    assert recalled is not None
    with recalled:
        os.write(recalled.fileno(), b"x")
        assert os.read(reading, 1) == b"x"
    os.close(reading)
    os.close(held[0])
