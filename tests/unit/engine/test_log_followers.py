"""Who follows a container's output: what is held for whom, where a run's output ends, what the keeper is told."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from wherry.engine.container.log import ContainerLog, LogFollower, merged
from wherry.keeper.log_reader import BEGINNING, Chunk, Overtaken, Start
from wherry.keeper.log_writer import LogWriter
from wherry.keeper.records import STDOUT

OUT = frozenset({STDOUT})


class Keeper:
    """Remembers what it was told; the log is written by the test."""

    def __init__(self, directory: Path) -> None:
        self.said: list[tuple[str, int | None]] = []
        self.writer = LogWriter(directory, max_size=4096, max_files=3)
        self.log = ContainerLog(directory, self.tell)

    async def tell(self, op: str, **fields: int | None) -> None:
        self.said.append((op, fields.get("segment")))
        if op == "hold":
            self.writer.held = fields["segment"]

    @property
    def holds(self) -> list[int | None]:
        return [segment for op, segment in self.said if op == "hold"]

    def write(self, count: int, first: int = 0) -> bytes:
        data = b"".join(b"%099d\n" % number for number in range(first, first + count))
        assert self.writer.append(STDOUT, memoryview(data)) == len(data)
        return data

    def attach(self, *, holds: bool = True) -> LogFollower:
        log = self.log
        return log.attach(log.end(), OUT, until_end_of=log.present_or_next(), holds=holds)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


async def all_of(follower: LogFollower) -> bytes:
    return b"".join([bytes(chunk.data) async for chunk in follower.chunks()])


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_slowest_attached_client_is_what_is_held(tmp_path: Path) -> None:
    async def test() -> None:
        keeper = Keeper(tmp_path / "log")
        slow, quick, reader = keeper.attach(), keeper.attach(), keeper.attach(holds=False)
        assert keeper.holds == [], "nothing runs: it is said with the start"
        assert keeper.log.say_held() == 0
        keeper.log.has_started()
        keeper.writer.held = 0
        sent = keeper.write(100)
        quickly = quick.chunks()
        got = b""
        while len(got) < len(sent):
            got += bytes((await anext(quickly)).data)
        await settled()
        assert got == sent
        assert keeper.holds == [], "the slow one has nothing yet"
        slowly = slow.chunks()
        first = bytes((await anext(slowly)).data)
        await settled()
        assert keeper.holds == [1]
        slow.close()
        await settled()
        assert keeper.holds == [1, quick.held]
        quick.close()
        await settled()
        assert keeper.holds == [1, 3, None]
        assert sent.startswith(first)
        reader.close()
        await settled()
        assert keeper.said[-1] == ("unwatch", None)
        await quickly.aclose()
        await slowly.aclose()

    run(test())


def test_who_attaches_to_what_runs_begins_when_the_keeper_knows(tmp_path: Path) -> None:
    async def test() -> None:
        keeper = Keeper(tmp_path / "log")
        keeper.log.has_started()
        keeper.write(100)
        follower = keeper.attach()
        keeper.write(200, 100)  # much more than the log keeps, before the keeper hears of anybody
        keeper.log.has_finished()
        seen = await all_of(follower)
        assert seen.endswith(b"%099d\n" % 299)
        assert keeper.said[:2] == [("watch", None), ("hold", 2)]
        follower.close()

    run(test())


def test_a_runs_output_ends_where_that_run_ended(tmp_path: Path) -> None:
    async def test() -> None:
        keeper = Keeper(tmp_path / "log")
        first = keeper.attach()
        keeper.log.has_started()
        sent = keeper.write(5)
        keeper.log.has_finished(keeper.writer.position)
        second = keeper.attach()
        keeper.log.has_started()
        more = keeper.write(5, 5)
        assert await all_of(first) == sent
        keeper.log.has_finished()
        assert await all_of(second) == more
        for follower in (first, second):
            follower.close()

    run(test())


def test_who_reads_a_log_back_ends_where_it_ended_when_he_began(tmp_path: Path) -> None:
    async def test() -> None:
        keeper = Keeper(tmp_path / "log")
        keeper.log.has_started()
        sent = keeper.write(5)
        chunks = keeper.log.follow(Start(BEGINNING), OUT, until_end_of=0)
        got = [bytes((await anext(chunks)).data)]
        keeper.write(30, 5)
        got += [bytes(chunk.data) async for chunk in chunks]
        assert b"".join(got) == sent

    run(test())


def test_what_followers_have_not_got_outlives_the_directory(tmp_path: Path) -> None:
    async def test() -> None:
        keeper = Keeper(tmp_path / "log")
        follower = keeper.attach()
        keeper.log.say_held()
        keeper.log.has_started()
        sent = keeper.write(100)
        keeper.log.has_finished()
        keeper.log.keep()
        shutil.rmtree(tmp_path / "log")
        keeper.log.has_gone()
        assert await all_of(follower) == sent
        follower.close()

    run(test())


def test_who_is_not_waited_for_and_looks_first_when_all_is_over_is_told_what_is_missing(tmp_path: Path) -> None:
    async def test() -> None:
        keeper = Keeper(tmp_path / "log")
        follower = keeper.attach(holds=False)
        keeper.log.has_started()
        keeper.write(1000)
        keeper.log.has_finished(keeper.writer.position)
        keeper.log.keep()
        shutil.rmtree(tmp_path / "log")
        keeper.log.has_gone()
        with pytest.raises(Overtaken, match="dropped by the rotation"):
            await all_of(follower)
        follower.close()

    run(test())


def test_who_waits_for_the_next_run_reads_its_log_and_not_the_one_before(tmp_path: Path) -> None:
    async def test() -> None:
        keeper = Keeper(tmp_path / "log")
        keeper.log.has_started()
        keeper.write(100)
        keeper.log.has_finished()
        follower = keeper.attach()  # between the end, and the moment at which the spool goes
        keeper.log.keep()
        shutil.rmtree(tmp_path / "log")
        keeper.writer.close()
        keeper.writer = LogWriter(tmp_path / "log")
        keeper.log.has_started()
        sent = keeper.write(3)
        keeper.log.has_finished()
        assert await all_of(follower) == sent
        follower.close()

    run(test())


def test_who_waits_for_a_container_that_is_removed_waits_no_more(tmp_path: Path) -> None:
    async def test() -> None:
        keeper = Keeper(tmp_path / "log")
        follower = keeper.attach()
        waiting = asyncio.ensure_future(all_of(follower))
        await settled()
        assert not waiting.done()
        keeper.log.has_gone()
        assert await waiting == b""
        follower.close()

    run(test())


def test_what_was_collected_comes_before_the_news_that_the_rest_is_lost() -> None:
    async def source() -> AsyncIterator[Chunk]:
        yield Chunk(STDOUT, 1, memoryview(b"one\n"))
        raise Overtaken("too late")

    async def test() -> None:
        chunks = merged(source())
        assert (await anext(chunks)).data == b"one\n"
        with pytest.raises(Overtaken):
            await anext(chunks)

    run(test())
