"""The engine's builder: how its parts are opened and closed, and what it tells."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.build.builder.builder import Builder
from wherry.build.model.service import CacheRecord, PruneOptions
from wherry.build.model.snapshot import Snapshot
from wherry.build.sources.table import SourceTable
from wherry.database.disk_reserve import Reserve
from wherry.engine.builds import BuilderParts, Builds, _Sources
from wherry.engine.events import EventBus
from wherry.engine.images.transfers import Distribution
from wherry.engine.settings import Settings
from wherry.errors import CorruptData, Unavailable
from wherry.images.store import ImageStore


class Bench:
    """The builder of an engine that has no images."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(data_root=root / "data", exec_root=root / "run")
        self.images = ImageStore(self.settings.data_root)
        self.pruned: list[int] = []
        self.builds = Builds(
            BuilderParts(
                settings=self.settings,
                reserve=Reserve(self.settings.data_root / "reserve"),
                images=self.images,
                distribution=Distribution(self.images, self.settings, EventBus()),
                executor=SimpleNamespace,  # type: ignore[arg-type]
                tagged=lambda _identifier, _name: None,
                pruned=self.pruned.append,
            )
        )

    def connections(self) -> int:
        """How many there are to the database. SQLite keeps a database open for a while, but not its log."""
        paths = (Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
        log = str(self.settings.data_root / "wherry.db-wal")
        return sum(os.readlink(path) == log for path in paths if os.path.lexists(path))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "data").mkdir()
    found = Bench(tmp_path)
    yield found
    found.images.close()


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


# --- beginning and end ----------------------------------------------------------------------------


async def test_all_is_closed_when_it_is_closed(bench: Bench) -> None:
    connections, threads = bench.connections(), _threads()
    await bench.builds.ready()
    assert bench.connections() > connections
    await bench.builds.close()
    assert bench.connections() == connections
    assert _threads() <= threads  # of tests before, one may have ended
    with pytest.raises(Unavailable):
        await bench.builds.ready()


@pytest.mark.parametrize("part", [(Builder, "__init__"), (Builder, "start"), (SourceTable, "__init__")])
async def test_what_was_opened_is_closed_when_the_next_part_cannot_be(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, part: tuple[type, str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise CorruptData("damaged")

    connections, threads = bench.connections(), _threads()
    with monkeypatch.context() as patched:
        patched.setattr(*part, refuse)
        with pytest.raises(CorruptData, match="damaged"):
            await bench.builds.ready()
    assert bench.connections() == connections
    assert _threads() <= threads  # of tests before, one may have ended
    await bench.builds.ready()
    await bench.builds.close()


async def test_a_part_that_cannot_be_closed_keeps_no_other_one_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise CorruptData("damaged")

    connections, threads = bench.connections(), _threads()
    monkeypatch.setattr(SourceTable, "close", refuse)
    await bench.builds.ready()
    with pytest.raises(CorruptData, match="damaged"):
        await bench.builds.close()
    assert bench.connections() == connections
    assert _threads() <= threads  # of tests before, one may have ended


async def test_the_event_loop_goes_on_while_threads_are_waited_for(bench: Bench) -> None:
    await bench.builds.ready()
    assert bench.builds._workshop is not None
    may_end, was_told = threading.Event(), []
    bench.builds._workshop._threads.begin(lambda: was_told.append(may_end.wait(60)))
    closing = asyncio.create_task(bench.builds.close())
    asyncio.get_running_loop().call_later(0.05, may_end.set)
    await closing
    assert was_told == [True]


# --- what it tells --------------------------------------------------------------------------------


class _Pruning:
    """In place of the builder: some entries go, then perhaps there is an error."""

    def __init__(self, sizes: list[int], error: Exception | None = None) -> None:
        self._sizes = sizes
        self._error = error

    async def prune(self, _: PruneOptions) -> AsyncIterator[CacheRecord]:
        for size in self._sizes:
            yield CacheRecord(id="1", kind="regular", size=size)
        if self._error is not None:
            raise self._error


def _pruning(bench: Bench, sizes: list[int], error: Exception | None = None) -> AsyncIterator[CacheRecord]:
    bench.builds._workshop = SimpleNamespace(builder=_Pruning(sizes, error))  # type: ignore[assignment]
    return bench.builds.prune(PruneOptions())


async def test_who_has_pruned_is_told_how_much_that_gave_back(bench: Bench) -> None:
    assert [record.size async for record in _pruning(bench, [1, 2])] == [1, 2]
    assert [record.size async for record in _pruning(bench, [])] == []
    assert bench.pruned == [3, 0]


async def test_what_has_gone_is_told_when_nobody_takes_the_rest(bench: Bench) -> None:
    records = _pruning(bench, [1, 2])
    await anext(records)
    await records.aclose()  # type: ignore[attr-defined]
    assert bench.pruned == [1]


async def test_what_has_gone_before_an_error_is_told_and_nothing_where_nothing_went(bench: Bench) -> None:
    for sizes in ([4], []):
        with pytest.raises(CorruptData):
            [record async for record in _pruning(bench, sizes, CorruptData("damaged"))]
    assert bench.pruned == [4]


# --- sources --------------------------------------------------------------------------------------


def test_a_snapshot_without_layers_holds_no_image() -> None:
    class Store:
        held: list[Snapshot] = []  # noqa: RUF012

        def hold(self, snapshot: Snapshot) -> None:
            self.held.append(snapshot)

    store, images = Store(), SimpleNamespace(list=lambda: [SimpleNamespace(layers=[SimpleNamespace(number=1)])])
    sources = _Sources(SimpleNamespace(), images, store, SimpleNamespace())  # type: ignore[arg-type]
    empty = Snapshot(())
    assert sources._hold(empty) is empty
    assert store.held == [empty]
