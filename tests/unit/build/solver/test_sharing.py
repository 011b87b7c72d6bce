"""Two builds that need the same at the same time share one run; who leaves does not take it from the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.build_fakes import ClientSession, Workshop, copy, image, local, logs, request, run, states
from wherry.build.model.errors import VertexFailed
from wherry.build.model.executor import Output, Step, StepResult
from wherry.errors import NotFound, Unavailable


class Gate:
    """A command that begins, says so, and waits."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = False

    async def __call__(self, _step: Step, output: Output) -> None:
        await output(1, b"begun\n")
        self.begun.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await output(1, b"done\n")


async def joined(shop: Workshop, count: int) -> None:
    """Wait until some builds wait for the one job that there is."""
    while True:
        jobs = list(shop.builder._parts.solver.jobs._running.values())
        if jobs and len(jobs[0].members) == count:
            return
        await asyncio.sleep(0.01)


async def test_one_run_for_all_who_need_it_and_all_see_its_output(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = shop.executor.commands["make"] = Gate()
        edge = run(image("base"), "make")
        builds = [asyncio.create_task(shop.builder.build(request(f"{n}", edge))) for n in range(5)]
        await gate.begun.wait()
        await joined(shop, 5)
        gate.open.set()
        await asyncio.gather(*builds)
        assert shop.executor.ran["make"] == 1
        for number in range(5):
            events = await shop.events(str(number))
            assert logs(events) == b"begun\ndone\n"
            assert states(events)["RUN make"].completed is not None


async def test_who_leaves_does_not_cancel_it_for_the_others(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = shop.executor.commands["make"] = Gate()
        edge = run(image("base"), "make")
        first = asyncio.create_task(shop.builder.build(request("first", edge)))
        await gate.begun.wait()
        second = asyncio.create_task(shop.builder.build(request("second", edge)))
        await joined(shop, 2)
        await shop.builder.cancel("first")
        with pytest.raises(Unavailable, match="context canceled"):
            await first
        assert not gate.cancelled
        gate.open.set()
        await second
        assert shop.executor.ran["make"] == 1
        assert logs(await shop.events("second")) == b"begun\ndone\n"


async def test_the_last_one_who_leaves_ends_it(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = shop.executor.commands["make"] = Gate()
        edge = run(image("base"), "make")
        builds = [asyncio.create_task(shop.builder.build(request(f"{n}", edge))) for n in range(2)]
        await gate.begun.wait()
        await joined(shop, 2)
        await shop.builder.cancel("0")
        assert not gate.cancelled
        await shop.builder.cancel("1")
        assert gate.cancelled
        assert not shop.executor.running
        assert not shop.drafts()
        for build in builds:
            with pytest.raises(Unavailable):
                await build


async def test_a_step_that_failed_with_another_clients_secrets_is_tried_with_ones_own(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = Gate()
        results = [StepResult(1), StepResult(0)]

        async def play(step: Step, output: Output) -> StepResult:
            await gate(step, output)
            return results.pop(0)

        shop.executor.commands["make"] = play
        edge = run(image("base"), "make")
        first = asyncio.create_task(shop.builder.build(request("first", edge)))
        await gate.begun.wait()
        second = asyncio.create_task(shop.builder.build(request("second", edge)))
        await joined(shop, 2)
        await shop.builder.cancel("first")
        with pytest.raises(Unavailable):
            await first
        gate.open.set()
        await second
        assert shop.executor.ran["make"] == 2


async def test_a_session_that_goes_takes_its_builds_with_it(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = shop.executor.commands["make"] = Gate()
        shop.builder.attach(ClientSession("s"))
        build = asyncio.create_task(shop.builder.build(request("b", run(image("base"), "make"), session="s")))
        await gate.begun.wait()
        await shop.builder.detach("s")
        assert gate.cancelled
        with pytest.raises(Unavailable):
            await build
        with pytest.raises(NotFound):
            shop.builder.running("b")
        [record] = shop.builder.records()
        assert record.error == "context canceled"


async def test_a_session_that_is_to_come_is_waited_for(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        build = asyncio.create_task(
            shop.builder.build(request("b", copy(None, local(), "file", "/file"), session="late"))
        )
        await asyncio.sleep(0)
        shop.builder.attach(ClientSession("late", context={"file": b"1"}))
        await build


async def test_a_session_that_does_not_come_is_an_error(tmp_path: Path) -> None:
    async with Workshop(tmp_path, patience=0.01) as shop:
        with pytest.raises(NotFound, match="no active session for never"):
            await shop.builder.build(request("c", local(), session="never"))


async def test_fifty_builds_at_once(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        common = run(image("base"), "common")
        await asyncio.gather(*(shop.builder.build(request(f"{n}", run(common, f"own {n}"))) for n in range(50)))
        assert shop.executor.ran["common"] == 1
        assert len(shop.executor.ran) == 51
        assert not shop.drafts()
        assert all(not record.in_use for record in await shop.builder.disk_usage())


@pytest.mark.parametrize("phase", ["session", "key", "fetch", "step", "export"])
async def test_cancelled_in_each_phase_nothing_is_left(tmp_path: Path, phase: str) -> None:
    async with Workshop(tmp_path) as shop:
        reached = asyncio.Event()

        async def hang(*_: object) -> None:
            reached.set()
            await asyncio.Event().wait()

        shop.sources.images["base"] = {"file": b"1"}
        if phase == "key":
            shop.sources.key_hook = hang
        elif phase == "fetch":
            shop.sources.fetch_hook = hang
        elif phase == "step":
            shop.executor.commands["make"] = hang
        elif phase == "export":
            shop.exporter.hook = hang
        else:
            reached.set()
        wanted = request("b", run(image("base"), "make"), exports=(), session="none" if phase == "session" else "")
        if phase == "export":
            wanted = request("b", run(image("base"), "make"), exports=(shop.export,))
        build = asyncio.create_task(shop.builder.build(wanted))
        await reached.wait()
        await asyncio.sleep(0)
        build.cancel()
        with pytest.raises(asyncio.CancelledError):
            await build
        assert not shop.executor.running
        assert not shop.drafts()
        assert all(fetch.is_closed for fetch in shop.sources.fetches)
        assert all(not record.in_use for record in await shop.builder.disk_usage())
        shop.sources.key_hook = shop.sources.fetch_hook = shop.exporter.hook = None
        shop.executor.commands.clear()
        await shop.build(run(image("base"), "make"))


async def test_a_failed_build_leaves_the_others_alone(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = shop.executor.commands["make"] = Gate()

        async def fail(_step: Step, _output: Output) -> StepResult:
            return StepResult(3)

        shop.executor.commands["fail"] = fail
        shared = run(image("base"), "make")
        good = asyncio.create_task(shop.builder.build(request("good", shared)))
        await gate.begun.wait()
        bad = asyncio.create_task(
            shop.builder.build(request("bad", copy(shared, run(image("base"), "fail"), "file", "/f")))
        )
        with pytest.raises(VertexFailed, match="exit code: 3"):
            await bad
        assert not gate.cancelled
        gate.open.set()
        await good
