"""What is carried out, and what is not: the cache, side by side, and only what is needed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.build_fakes import (
    ClientSession,
    Workshop,
    copy,
    image,
    local,
    logs,
    make_file,
    request,
    run,
    states,
    write,
)
from wherry.build.model.errors import VertexFailed
from wherry.build.model.executor import Output, Step, StepResult
from wherry.build.model.graph import Edge, MergeOp, Vertex
from wherry.build.model.service import PruneOptions


async def test_a_step_is_run_once_and_comes_from_the_cache_then(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"etc/passwd": b"root"}
        edge = run(run(image("base"), "one"), "two")
        events = await shop.build(edge)
        assert shop.executor.ran == {"one": 1, "two": 1}
        assert not states(events)["RUN two"].cached
        events = await shop.build(edge)
        assert shop.executor.ran == {"one": 1, "two": 1}
        assert all(state.cached for state in states(events).values())
        assert shop.sources.fetched == {"base": 1}


async def test_a_changed_command_runs_and_what_lies_upon_it(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        await shop.build(run(run(image("base"), "one"), "two"))
        await shop.build(run(run(image("base"), "other"), "two"))
        assert shop.executor.ran == {"one": 1, "other": 1, "two": 2}


async def test_a_file_that_is_not_copied_changes_nothing(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        edge = run(copy(image("base"), local(), "src", "/src"), "make")
        for number, files in enumerate(
            [{"src/a": b"1", "other": b"1"}, {"src/a": b"1", "other": b"2"}, {"src/a": b"2", "other": b"2"}]
        ):
            session = ClientSession(f"s{number}", context=files)
            shop.builder.attach(session)
            await shop.build(edge, session=session.id)
            await shop.builder.detach(session.id)
            assert shop.executor.ran["make"] == (1, 1, 2)[number]


async def test_copies_side_by_side_need_each_others_results_only_at_the_end(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        edge: Edge = image("base")
        everybody = asyncio.Barrier(4)

        async def meet(step: Step, _output: Output) -> None:
            await everybody.wait()
            write(step, "out", step.op.args[-1])

        for number in range(4):
            shop.executor.commands[f"sleep {number}"] = meet
            edge = copy(edge, run(image("base"), f"sleep {number}"), "out", f"/out{number}")
        await shop.build(edge)
        assert sum(shop.executor.ran.values()) == 4


async def test_what_nobody_needs_is_not_run(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        run(image("base"), "unused")
        await shop.build(run(image("base"), "used"))
        assert shop.executor.ran == {"used": 1}


async def test_a_stage_whose_result_was_pruned_is_not_built_again_for_a_copy_that_is_there(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        edge = copy(image("base"), run(image("base"), "make"), "file", "/file")
        await shop.build(edge)
        [record] = [one for one in await shop.builder.disk_usage() if one.description == "RUN make"]
        gone = [one async for one in shop.builder.prune(PruneOptions(filters=(f"id=={record.id}",)))]
        assert [one.id for one in gone] == [record.id]
        await shop.build(edge)
        assert shop.executor.ran == {"make": 1}


async def test_a_failure_has_buildkits_words_and_ends_the_other_steps(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        started = asyncio.Event()
        cancelled = asyncio.Event()

        async def hang(_step: Step, _output: Output) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def fail(_step: Step, output: Output) -> StepResult:
            await started.wait()
            await output(2, b"no\n")
            return StepResult(1)

        shop.executor.commands |= {"hang": hang, "false": fail}
        edge = copy(run(image("base"), "hang"), run(image("base"), "false"), "file", "/file")
        with pytest.raises(VertexFailed) as caught:
            await shop.build(edge, "build")
        assert str(caught.value) == 'process "/bin/sh -c false" did not complete successfully: exit code: 1'
        assert caught.value.exit_code == 1
        assert cancelled.is_set()
        events = await shop.events("build")
        assert states(events)["RUN hang"].error == "context canceled"
        assert "exit code: 1" in states(events)["RUN false"].error
        assert logs(events) == b"no\n"
        assert not shop.drafts()
        [record] = shop.builder.records()
        assert "exit code: 1" in record.error


@pytest.mark.slow
async def test_thousands_of_vertices_upon_each_other(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        edge = image("base")
        for number in range(3000):  # more than Python recurses
            edge = run(edge, f"step {number}")
        hanging = asyncio.Event()

        async def hang(_step: Step, _output: Output) -> None:
            hanging.set()
            await asyncio.Event().wait()

        shop.executor.commands["step 0"] = hang
        task = asyncio.create_task(shop.builder.build(request("deep", edge)))
        await hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not shop.executor.running
        assert not shop.drafts()


async def test_merges_of_merges_are_looked_through_once(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        edge = run(image("base"), "below")
        for _ in range(60):
            edge = Vertex.of(MergeOp((0, 1)), (edge, edge)).output()
        await shop.build(run(edge, "above"))
        [above] = [one for one in await shop.builder.disk_usage() if one.description == "RUN above"]
        [below] = [one for one in await shop.builder.disk_usage() if one.description == "RUN below"]
        assert above.parents == (below.id,)


async def test_a_directory_of_the_clients_can_be_a_root(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        for number, files in enumerate([{"a": b"1"}, {"a": b"1"}, {"a": b"2"}]):
            shop.builder.attach(ClientSession(f"s{number}", context=files))
            await shop.build(run(local(), "make"), session=f"s{number}")
            assert shop.executor.ran["make"] == (1, 1, 2)[number]


async def test_no_cache_runs_again_and_its_result_is_the_one_that_is_used_from_then_on(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        await shop.build(run(run(image("base"), "one"), "two"))
        await shop.build(run(run(image("base"), "one", ignore_cache=True), "two"))
        assert shop.executor.ran == {"one": 2, "two": 2}
        await shop.build(run(run(image("base"), "one"), "two"))
        assert shop.executor.ran == {"one": 2, "two": 2}


async def test_a_linked_copy_does_not_depend_on_its_base(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images |= {"old": {"file": b"1"}, "new": {"file": b"2"}}
        for base in ("old", "new"):
            linked = copy(None, make_file("/data", b"x"), "data", "/data")
            await shop.build(Vertex.of(MergeOp((0, 1)), [image(base), linked]).output())
        assert shop.files.executed == 2  # the file, and its copy
