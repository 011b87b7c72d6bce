"""A step that has failed is there, with all that it was given, for as long as somebody looks at it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from support.build_fakes import ClientSession, Workshop, image, request, run, states, write
from wherry.build.builder.running_build import Build
from wherry.build.model.container import ContainerProcess, ContainerRequest
from wherry.build.model.errors import VertexFailed
from wherry.build.model.executor import Output, Step, StepResult
from wherry.build.model.failure import Console, FailedStep, StepStreams
from wherry.build.model.graph import NO_INPUT, NO_OUTPUT, BuildMount, Cache, Edge, ExecOp, SecretEnv
from wherry.build.model.progress import ShellProgress
from wherry.build.model.snapshot import Snapshot
from wherry.build.solver.failed_run import FailedRun
from wherry.errors import CommandNotFound, Conflict, InvalidInput, OutOfSpace, Unavailable
from wherry.layers.overlay_paths import OverlayMount
from wherry.oci.digest import Digest

TERMINAL = Console(terminal=True, size=(24, 80))


async def fails(step: Step, output: Output) -> StepResult:
    """It leaves something, and fails."""
    write(step, "left", "by it")
    return StepResult(7)


def left(step: Step) -> str | None:
    """What is there of what it has left."""
    path = Path(step.root.upper, "left")
    return path.read_text() if path.exists() else None


class Visitor:
    """Somebody who looks at what has failed."""

    def __init__(self, *, waits: bool = False) -> None:
        self.steps: list[FailedStep] = []
        self.there = asyncio.Event()
        self.may_go = asyncio.Event()
        if not waits:
            self.may_go.set()

    async def __call__(self, step: FailedStep) -> None:
        self.steps.append(step)
        step.announce()
        await step.run(step.shell, TERMINAL, self.attend)

    async def attend(self, _streams: StepStreams) -> None:
        self.there.set()
        await self.may_go.wait()


async def test_a_shell_runs_where_the_step_did_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.executor.commands["make"] = fails
        before = shop.layer_directories()
        client = ClientSession("me")
        client.secrets["token"] = b"s3cret"
        shop.builder.attach(client)
        visitor = Visitor()
        edge = run(None, "make", cwd="/work", user="me", network="none", secret_env=(SecretEnv("token", "T"),))
        with pytest.raises(VertexFailed, match="exit code: 7"):
            await shop.build(edge, "b", on_failure=visitor, session="me")
        [failed], [(step, console)] = shop.executor.steps, shop.executor.attended
        assert console == TERMINAL
        assert step.op.args == ("/bin/sh",)
        assert (step.op.cwd, step.op.user, step.op.network) == ("/work", "me", "none")
        assert step.id != failed.id
        assert (step.root, step.mounts, step.env, step.limits) == (
            failed.root,
            failed.mounts,
            failed.env,
            failed.limits,
        )
        assert "T=s3cret" in step.env
        assert shop.drafts() == []
        assert shop.layer_directories() == before
        events = await shop.events("b")
        vertex = edge.vertex.digest
        [shown] = [event for event in events if isinstance(event, ShellProgress)]
        assert shown.vertex == vertex
        assert "exit code: 7" in shown.error
        assert "exit code: 7" in states(events)["RUN make"].error
        assert visitor.steps[0].vertex == vertex
        with pytest.raises(VertexFailed):
            await shop.build(edge, session="me")
        assert shop.executor.ran["make"] == 2, "a failed step is in no cache"


async def test_what_the_step_has_left_is_there_until_the_shell_is_over(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.executor.commands["make"] = fails
        visitor = Visitor(waits=True)
        build = asyncio.create_task(shop.build(run(None, "make"), on_failure=visitor))
        await visitor.there.wait()
        [(step, _)] = shop.executor.attended
        assert left(step) == "by it"
        assert not build.done()
        visitor.may_go.set()
        with pytest.raises(VertexFailed):
            await build
        assert left(step) is None


async def test_the_end_of_a_build_ends_the_shell(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.executor.commands["make"] = fails
        visitor = Visitor(waits=True)
        build = asyncio.create_task(shop.build(run(None, "make"), "b", on_failure=visitor))
        await visitor.there.wait()
        await shop.builder.cancel("b")
        with pytest.raises(Unavailable, match="context canceled"):
            await build
        assert shop.drafts() == []


async def test_a_build_with_a_shell_shares_its_steps_with_nobody(tmp_path: Path) -> None:
    """Neither waits another client for this one's person, nor gets that person what is another client's."""
    async with Workshop(tmp_path) as shop:
        shop.executor.commands["make"] = fails
        edge, visitor = run(None, "make"), Visitor(waits=True)
        looked_at = asyncio.create_task(shop.build(edge, on_failure=visitor))
        await visitor.there.wait()
        with pytest.raises(VertexFailed, match="exit code: 7"):
            await shop.build(edge)
        assert not looked_at.done()
        assert shop.executor.ran["make"] == 2
        visitor.may_go.set()
        with pytest.raises(VertexFailed):
            await looked_at


async def test_a_shell_takes_no_steps_turn(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.executor.commands["make"] = fails
        shop.builder._parts.solver.operations._running = asyncio.Semaphore(1)
        visitor = Visitor(waits=True)
        looked_at = asyncio.create_task(shop.build(run(None, "make"), on_failure=visitor))
        await visitor.there.wait()
        await shop.build(run(None, "other"))
        visitor.may_go.set()
        with pytest.raises(VertexFailed):
            await looked_at


async def test_a_program_that_is_not_there_is_a_failure_too(tmp_path: Path) -> None:
    async def missing(step: Step, output: Output) -> StepResult:
        raise CommandNotFound("exec: no such program")

    async with Workshop(tmp_path) as shop:
        shop.executor.commands["make"] = missing
        visitor = Visitor()
        with pytest.raises(VertexFailed, match="no such program"):
            await shop.build(run(None, "make"), on_failure=visitor)
        assert len(visitor.steps) == 1


# --- what it leaves -------------------------------------------------------------------------------


def begin(shop: Workshop, ref: str, **options: Any) -> Build:
    return shop.builder.begin(request(ref, None, keeps_failed=True, **options))


async def failure(build: Build, edge: Edge) -> VertexFailed:
    with pytest.raises(VertexFailed, match="exit code: 7") as caught:
        await build.evaluate(edge)
    return caught.value


async def test_what_a_failed_step_has_left_stays_to_the_end_of_a_build_that_keeps_it(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        shop.executor.commands["make"] = fails
        build = begin(shop, "b")
        await build.evaluate(image("base"))
        before = shop.layer_directories()
        cache = BuildMount("/cache", kind=Cache("c"), input=NO_INPUT, output=NO_OUTPUT)
        data = BuildMount("/data", input=1, output=NO_OUTPUT)
        edge = run(image("base"), "make", cache, data, inputs=(image("base"),))
        error = await failure(build, edge)
        assert error.step == edge.vertex
        root, kept, writable = error.mounts
        views = [shop.files.view(one.snapshot) if one else None for one in (root.before, root.after, writable.after)]
        assert views == [{"file": b"1"}, {"file": b"1", "left": b"by it"}, {"file": b"1"}]
        assert root.after is not None
        assert kept.after is not None
        mounts = (BuildMount("/", input=0, output=NO_OUTPUT), replace(cache, input=1))
        asked = ContainerRequest(mounts=mounts, inputs=(root.after, kept.after))
        container = await build.container(asked)
        assert await container.read_file(0, "/left") == b"by it"
        [failed] = shop.executor.steps
        await container.run(ContainerProcess(args=("sh",)), Visitor().attend)
        assert shop.executor.attended[0][0].mounts[0].source == failed.mounts[0].source, "the step's own cache mount"
        with pytest.raises(InvalidInput, match="mount 2"):
            await container.read_file(2, "/left")
        await container.release()
        with pytest.raises(Conflict, match="released"):
            await container.stat_file(0, "/left")
        await build.fail(error)
        assert shop.drafts() == []
        assert shop.layer_directories() == before


async def test_several_builds_keep_what_one_step_has_left(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        may_fail = asyncio.Event()

        async def fails_later(step: Step, output: Output) -> StepResult:
            await may_fail.wait()
            return await fails(step, output)

        shop.executor.commands["make"] = fails_later
        edge, before = run(None, "make"), shop.layer_directories()
        builds = [begin(shop, "a"), begin(shop, "b"), shop.builder.begin(request("c"))]
        failing = [asyncio.create_task(failure(one, edge)) for one in builds]
        jobs = shop.builder._parts.solver.jobs._running
        while [len(job.members) for job in jobs.values()] != [3]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        may_fail.set()
        first, second, other = await asyncio.gather(*failing)
        assert shop.executor.ran["make"] == 1
        assert other.mounts == ()
        assert first.mounts == second.mounts
        await builds[2].fail(other)
        await builds[0].fail(first)
        [root] = second.mounts
        assert root.after is not None
        assert shop.files.view(root.after.snapshot) == {"left": b"by it"}
        await builds[1].fail(second)
        assert shop.layer_directories() == before


async def test_a_build_that_has_no_room_for_what_a_step_has_left_fails_as_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(draft: object) -> Snapshot:
        raise OutOfSpace("the disk is full")

    async with Workshop(tmp_path) as shop:
        shop.executor.commands["make"] = fails
        monkeypatch.setattr(shop.world.snapshots, "commit", full)
        build = begin(shop, "b")
        error = await failure(build, run(None, "make"))
        assert error.mounts == ()
        await build.fail(error)
        assert shop.drafts() == []


@pytest.mark.parametrize(
    ("args", "shell"),
    [
        (("/bin/sh", "-c", "make"), ("/bin/sh",)),
        (("/bin/bash", "-eo", "pipefail", "-c", "make"), ("/bin/bash",)),
        (("/bin/ash", "-ec", "make"), ("/bin/ash",)),
        (("/usr/bin/env", "bash", "-c", "make"), ("/usr/bin/env", "bash")),
        (("python3", "-c", "make"), ("/bin/sh",)),
        (("make",), ("/bin/sh",)),
        (("-c", "make"), ("/bin/sh",)),
        (("/bin/sh", "make"), ("/bin/sh",)),
        (("bash",), ("/bin/sh",)),
    ],
)
def test_a_steps_shell_is_the_one_that_its_command_was_given_to(args: tuple[str, ...], shell: tuple[str, ...]) -> None:
    class Prepared:
        step = Step(id="1" * 64, op=ExecOp(args=args, mounts=()), root=OverlayMount("/", (), "/u", "/w"), env=())

    nothing: Any = None
    prepared: Any = Prepared()
    assert FailedRun(prepared, nothing, Digest.from_bytes(b"x"), "", lambda _: None).shell == shell
