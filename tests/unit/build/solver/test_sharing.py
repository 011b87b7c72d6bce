"""Two builds that need the same at the same time share one run; who leaves does not take it from the others."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from support.build_fakes import ClientSession, Workshop, copy, image, local, logs, request, run, states, write
from wherry.build.cache.cache import Held
from wherry.build.model.errors import VertexFailed
from wherry.build.model.executor import Output, Step, StepResult
from wherry.build.model.graph import BuildMount
from wherry.build.model.progress import LogProgress, Progress
from wherry.build.model.request import FrontResult, Ref
from wherry.build.model.service import PruneOptions
from wherry.build.model.session import NoSession
from wherry.build.model.snapshot import EMPTY, Snapshot
from wherry.build.snapshots.draft import Draft
from wherry.build.solver.drafts import Drafts
from wherry.build.solver.jobs import Job, Outcome
from wherry.errors import NotFound, OutOfSpace, TooLarge, Unavailable
from wherry.oci.digest import Digest


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


async def test_who_asks_while_what_he_needs_is_being_cancelled_gets_it(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        begun, ending, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def play(_step: Step, _output: Output) -> None:
            if not begun.is_set():
                begun.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ending.set()
                    await end.wait()

        shop.executor.commands["make"] = play
        build, edge = shop.builder.begin(request("b")), run(image("base"), "make")
        first = asyncio.create_task(build.evaluate(edge))
        await begun.wait()
        first.cancel()
        await ending.wait()
        second = asyncio.create_task(build.evaluate(edge))
        for _ in range(10):
            await asyncio.sleep(0)
        end.set()
        await asyncio.wait_for(second, 60)
        with pytest.raises(asyncio.CancelledError):
            await first
        assert shop.executor.ran["make"] == 2
        await build.finish(FrontResult(refs={"": Ref(edge=edge)}))


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


async def test_what_a_step_reads_stays_after_the_build_has_left_that_began_it(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = shop.executor.commands["make"] = Gate()

        async def play(step: Step, output: Output) -> StepResult:
            write(step, "out", "the same in both")
            return StepResult(0)

        shop.executor.commands["one"] = shop.executor.commands["other"] = play
        mounts = (BuildMount("/out", input=1, readonly=True), BuildMount("/context", input=2, readonly=True))
        edges = [
            run(image("base"), "make", *mounts, inputs=[run(image("base"), stage), local()])
            for stage in ("one", "other")
        ]
        for name in ("a", "b"):
            shop.builder.attach(ClientSession(name, context={"file": b"1"}))
        first = asyncio.create_task(shop.builder.build(request("first", edges[0], session="a")))
        await gate.begun.wait()
        second = asyncio.create_task(shop.builder.build(request("second", edges[1], session="b")))
        await joined(shop, 2)
        await shop.builder.cancel("first")
        with pytest.raises(Unavailable):
            await first
        _ = [entry async for entry in shop.builder.prune(PruneOptions(all=True))]
        [make] = [step for step in shop.executor.steps if step.op.args[-1] == "make"]
        out, context = (mount.overlay for mount in make.mounts)
        assert out is not None
        assert context is not None
        assert os.listdir(out.lower[0]) == ["out"]  # of the first build's stage
        [mine] = [fetch for fetch in shop.sources.fetches if str(fetch.directory) == context.lower[0]]
        assert not mine.is_closed
        gate.open.set()
        await second
        assert shop.executor.ran["make"] == 1
        assert all(fetch.is_closed for fetch in shop.sources.fetches)
        gone = [entry.description async for entry in shop.builder.prune(PruneOptions(all=True))]
        assert {"RUN one", "RUN other", "RUN make"} <= {*gone}


async def test_what_fails_fails_once_for_all_who_wait_for_it(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = Gate()

        async def fail(step: Step, output: Output) -> StepResult:
            await gate(step, output)
            return StepResult(3)

        shop.executor.commands["make"] = fail
        edge = run(image("base"), "make")
        builds = [asyncio.create_task(shop.builder.build(request(f"{n}", edge))) for n in range(5)]
        await gate.begun.wait()
        await joined(shop, 5)
        gate.open.set()
        errors = await asyncio.gather(*builds, return_exceptions=True)
        assert [type(error) for error in errors] == [VertexFailed] * 5
        assert shop.executor.ran["make"] == 1


@pytest.mark.parametrize(("failures", "good", "runs"), [(1, 4, 2), (9, 0, 2)])
async def test_what_fails_as_a_client_has_gone_is_tried_once_with_another_one(
    tmp_path: Path, failures: int, good: int, runs: int
) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = Gate()

        async def fail(step: Step, output: Output) -> None:
            await gate(step, output)
            if shop.executor.ran["make"] <= failures:
                raise Unavailable("the client of the build has gone")

        shop.executor.commands["make"] = fail
        edge = run(image("base"), "make")
        builds = [asyncio.create_task(shop.builder.build(request(f"{n}", edge))) for n in range(5)]
        await gate.begun.wait()
        await joined(shop, 5)
        gate.open.set()
        results = await asyncio.gather(*builds, return_exceptions=True)
        assert len([one for one in results if not isinstance(one, VertexFailed)]) == good
        assert shop.executor.ran["make"] == runs


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


async def test_a_session_that_comes_and_goes_in_a_moment_is_an_error(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        build = asyncio.create_task(
            shop.builder.build(request("b", copy(None, local(), "file", "/file"), session="brief"))
        )
        while "brief" not in shop.builder._sessions._waiting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        shop.builder.attach(ClientSession("brief"))
        await shop.builder.detach("brief")
        with pytest.raises((NotFound, Unavailable)):
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


def unrecorded(shop: Workshop) -> set[str]:
    """The layers on the disk that belong to no result."""
    shop.cache.records.flush()
    return shop.layer_directories() - {str(number) for one in shop.cache.records.all() for number in one.layers}


async def test_a_layer_that_is_made_while_its_build_is_cancelled_goes(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        loop, made, on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        await shop.build(image("base"))
        commit = shop.world.snapshots.commit

        def slowly(draft: Draft) -> Snapshot:
            found = commit(draft)
            loop.call_soon_threadsafe(made.set)
            on.wait(60)
            return found

        shop.world.snapshots.commit = slowly  # type: ignore[method-assign]
        build = asyncio.create_task(shop.builder.build(request("b", run(image("base"), "make"))))
        await made.wait()
        ending = asyncio.create_task(shop.builder.cancel("b"))
        for _ in range(10):
            await asyncio.sleep(0)
        on.set()
        await ending
        with pytest.raises(Unavailable):
            await build
        assert unrecorded(shop) == set()


@pytest.mark.parametrize("kind", ["a step with two outputs", "a record that cannot be written", "a source"])
async def test_layers_that_become_no_result_go(tmp_path: Path, kind: str) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        await shop.build(image("base"))
        shop.sources.images["other"] = {"file": b"2"}
        commit, add, count = shop.world.snapshots.commit, shop.cache.add, 0

        def fail_the_second_time(*given: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == 2:
                raise OutOfSpace("no space left on device")
            return (commit if kind.startswith("a step") else add)(*given, **options)

        out = BuildMount("/out", output=1)
        edge = run(image("other" if kind == "a source" else "base"), "make", out)
        if kind.startswith("a step"):
            shop.world.snapshots.commit = fail_the_second_time  # type: ignore[method-assign]
        else:
            shop.cache.add = fail_the_second_time  # type: ignore[method-assign]
            count = kind == "a source"
        with pytest.raises(VertexFailed, match="no space left"):
            await shop.build(edge)
        assert unrecorded(shop) == set()
        assert not any(entry.in_use for entry in await shop.builder.disk_usage())


async def test_what_a_source_commits_while_it_is_not_wanted_any_more_goes(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        drafts = Drafts(shop.world.snapshots, shop.threads)
        draft = await drafts.draft(EMPTY)
        task = asyncio.create_task(draft.commit())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert shop.layer_directories() == set()


async def test_a_build_that_may_say_no_more_fails_alone(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        gate = shop.executor.commands["make"] = Gate()
        edge = run(image("base"), "make")
        builds = [asyncio.create_task(shop.builder.build(request("0", edge)))]
        await gate.begun.wait()
        builds += [asyncio.create_task(shop.builder.build(request(f"{n}", edge))) for n in (1, 2)]
        await joined(shop, 3)
        shop.builder.running("0").spool._most = 10
        gate.open.set()
        results = await asyncio.gather(*builds, return_exceptions=True)
        assert "the output of the build is more than" in str(results[0])
        assert not any(isinstance(one, BaseException) for one in results[1:])
        assert shop.executor.ran["make"] == 1
        assert logs(await shop.events("2")) == b"begun\ndone\n"


class Full:
    """A build that may say no more."""

    session = NoSession()

    def show(self, event: Progress) -> None:
        pass

    async def room(self) -> None:
        raise TooLarge("the output of the build is more than 1 MiB")


async def test_what_comes_of_work_whose_build_fails_in_that_moment_is_given_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Workshop(tmp_path) as shop:
        held, released = shop.cache.add("identity", shop.world.layer({"a": b"1"})), list[Held]()
        jobs, release = shop.builder._parts.solver.jobs, shop.cache.release

        async def note(helds: Iterable[Held]) -> None:
            released.extend(some := list(helds))
            await release(some)

        async def work(job: Job) -> Outcome:
            await job.output(LogProgress(vertex=Digest.from_bytes(b""), stream=1, data=b"1", at=0))
            return {0: held}

        monkeypatch.setattr(shop.cache, "release", note)
        with pytest.raises(TooLarge):
            await jobs.do("key", Full(), work)
        await asyncio.sleep(0)
        await jobs.drain()
        assert released == [held]


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
