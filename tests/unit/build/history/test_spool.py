"""Everything that happens in a build is kept, and whoever reads it sees all of it in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.build.cache.threads import Threads
from wherry.build.history.spool import Spool
from wherry.build.model.graph import SourceRange
from wherry.build.model.progress import (
    Cost,
    LogProgress,
    Progress,
    ShellProgress,
    TransferProgress,
    VertexProgress,
    WarningProgress,
)
from wherry.errors import OutOfSpace, SystemFault, TooLarge
from wherry.oci.digest import Digest

DIGEST = Digest.from_bytes(b"vertex")


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(2)
    yield made
    made.close()


def log(number: int, size: int = 10) -> LogProgress:
    return LogProgress(vertex=DIGEST, stream=1, data=b"%d " % number * size, at=number)


async def everything(spool: Spool) -> list[Progress]:
    return [event async for event in spool.read()]


async def test_who_reads_late_reads_from_the_beginning(tmp_path: Path, threads: Threads) -> None:
    spool = Spool(tmp_path / "spool", threads, in_memory=500)
    early = asyncio.create_task(everything(spool))
    events = [log(number) for number in range(300)]
    for event in events:
        spool.append(event)
        await asyncio.sleep(0)
    late = asyncio.create_task(everything(spool))
    spool.append(log(300))
    spool.close()
    assert await early == [*events, log(300)]
    assert await late == [*events, log(300)]
    assert await everything(spool) == [*events, log(300)]
    assert spool.has_file


async def test_all_kinds_of_events_come_back_from_the_file_as_they_were(tmp_path: Path, threads: Threads) -> None:
    events: list[Progress] = [
        VertexProgress(digest=DIGEST, name="n", inputs=(DIGEST,), group=("g", "name", True), cost=Cost(cpu=1)),
        TransferProgress(id="layer", vertex=DIGEST, current=5, total=10),
        LogProgress(vertex=DIGEST, stream=2, data=b"\xff\x00", at=1),
        WarningProgress(vertex=DIGEST, level=1, short="s", detail=("d",), ranges=(SourceRange(1, 0, 1, 2),)),
        ShellProgress(DIGEST, "exit code: 1", 5),
    ]
    spool = Spool(tmp_path / "spool", threads)
    for event in events:
        spool.append(event)
    await spool.store()
    spool.close()
    assert await everything(await Spool.stored(tmp_path / "spool", threads)) == events


async def test_half_an_event_at_the_end_of_a_file_is_passed_over(tmp_path: Path, threads: Threads) -> None:
    spool = Spool(tmp_path / "spool", threads)
    for number in range(3):
        spool.append(log(number))
    await spool.store()
    data = spool.path.read_bytes()
    spool.path.write_bytes(data[:-3])
    assert await everything(await Spool.stored(spool.path, threads)) == [log(0), log(1)]


@pytest.mark.slow
async def test_a_reader_that_does_not_go_on_keeps_no_writer_waiting(tmp_path: Path, threads: Threads) -> None:
    spool = Spool(tmp_path / "spool", threads)
    reader = spool.read()
    events = [log(number, 1 << 18) for number in range(200)]
    for number, event in enumerate(events):
        spool.append(event)
        if not number:
            await anext(reader)
        async with asyncio.timeout(60):
            await spool.room()
    spool.close()
    assert [event async for event in reader] == events[1:]


async def test_a_build_without_events_has_a_log_and_not_that_of_an_earlier_one(
    tmp_path: Path, threads: Threads
) -> None:
    earlier = Spool(tmp_path / "spool", threads)
    earlier.append(log(0))
    await earlier.store()
    await Spool(tmp_path / "spool", threads).store()
    assert await everything(await Spool.stored(tmp_path / "spool", threads)) == []
    assert await everything(await Spool.stored(tmp_path / "none", threads)) == []


async def test_a_name_that_is_no_text_can_be_written(tmp_path: Path, threads: Threads) -> None:
    spool = Spool(tmp_path / "spool", threads)
    spool.append(
        VertexProgress(digest=DIGEST, name="COPY a\udcff", error="/a\udcff: not found", group=("i", "\udcff", False))
    )
    await spool.store()
    [event] = await everything(await Spool.stored(spool.path, threads))
    assert isinstance(event, VertexProgress)
    assert (event.name, event.error, event.group) == (r"COPY a\udcff", r"/a\udcff: not found", ("i", r"\udcff", False))


async def test_more_than_a_build_may_say_is_an_error_and_nothing_is_left_out(tmp_path: Path, threads: Threads) -> None:
    spool = Spool(tmp_path / "spool", threads, most=1000)
    spool.append(log(0, 1000))
    with pytest.raises(TooLarge, match="more than"):
        await spool.room()


async def test_a_full_disk_is_an_error_for_who_writes(
    tmp_path: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OutOfSpace("cannot write what happens in a build", cause="no space left on device")

    monkeypatch.setattr("wherry.build.history.spool._append", full)
    spool = Spool(tmp_path / "spool", threads, in_memory=10)
    spool.append(log(0))
    with pytest.raises(OutOfSpace):
        await spool.store()
    with pytest.raises(OutOfSpace):
        await spool.room()


async def test_a_write_that_fails_for_a_reason_of_our_own_is_an_error_for_who_writes(
    tmp_path: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise ValueError("nobody thought of this")

    monkeypatch.setattr("wherry.build.history.spool._append", fail)
    spool = Spool(tmp_path / "spool", threads, in_memory=10)
    spool.append(log(0, 5 << 20))
    with pytest.raises(SystemFault, match="cannot write what happens in a build"):
        async with asyncio.timeout(60):
            await spool.room()


async def test_what_is_removed_leaves_no_file(tmp_path: Path, threads: Threads) -> None:
    spool = Spool(tmp_path / "spool", threads, in_memory=10)
    spool.append(log(0))
    await spool.store()
    assert spool.path.exists()
    await spool.remove()
    assert not spool.path.exists()


@pytest.mark.slow
async def test_who_only_wants_what_there_is_does_not_wait_for_more(tmp_path: Path, threads: Threads) -> None:
    spool = Spool(tmp_path / "spool", threads, in_memory=500)
    events = [log(number) for number in range(300)]
    for event in events:
        spool.append(event)
        await asyncio.sleep(0)
    assert [event async for event in spool.read(follow=False)] == events
    following = spool.read()
    assert await anext(following) == events[0]  # and no more for now
    for number in range(100):
        spool.append(log(number, 1 << 20))
        async with asyncio.timeout(60):
            await spool.room()
    spool.close()
    async with asyncio.timeout(60):
        assert len([event async for event in following]) == 399


async def test_a_build_in_which_nothing_happened_has_nothing_to_tell(tmp_path: Path, threads: Threads) -> None:
    spool = Spool(tmp_path / "spool", threads)
    await spool.store()
    spool.close()
    assert await everything(await Spool.stored(tmp_path / "spool", threads)) == []
