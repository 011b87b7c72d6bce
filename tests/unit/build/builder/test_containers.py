"""Containers of a build: what they mount, what runs in them, and that they end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.build_fakes import ClientSession, Workshop, image, request, run
from wherry.build.builder.running_build import Build
from wherry.build.cache.policy import BuilderSettings
from wherry.build.model.container import ContainerProcess, ContainerRequest
from wherry.build.model.errors import VertexFailed
from wherry.build.model.executor import Limits, Output, Step, StepResult
from wherry.build.model.failure import Console, StepStreams
from wherry.build.model.graph import (
    NO_INPUT,
    NO_OUTPUT,
    BuildMount,
    Cache,
    HostEntry,
    SecretEnv,
    SecurityMode,
)
from wherry.build.model.network import NetworkMode
from wherry.errors import Conflict, Forbidden, TooLarge, Unavailable

ROOT = BuildMount("/", input=0, output=NO_OUTPUT)
EMPTY_ROOT = BuildMount("/", input=NO_INPUT, output=NO_OUTPUT)
SHELL = ContainerProcess(args=("sh",), env=("A=b",), cwd="/work", user="me", console=Console(terminal=True))


class Visitor:
    """Somebody at the streams of a process."""

    def __init__(self, *, waits: bool = False) -> None:
        self.there = asyncio.Event()
        self.may_go = asyncio.Event()
        if not waits:
            self.may_go.set()

    async def __call__(self, _streams: StepStreams) -> None:
        self.there.set()
        await self.may_go.wait()


def begin(shop: Workshop, ref: str = "b", **options: object) -> Build:
    return shop.builder.begin(request(ref, None, **options))


async def test_its_first_process_is_a_step_and_others_join_it(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        client = ClientSession("me")
        client.secrets["token"] = b"s3cret"
        shop.builder.attach(client)
        build = begin(shop, session="me", limits=Limits(memory=64 << 20))
        mounts = (ROOT, BuildMount("/data", input=1, output=NO_OUTPUT, readonly=True))
        container = await build.container(
            ContainerRequest(
                mounts=mounts, inputs=(image("base"), run(image("base"), "make")), network=NetworkMode.NONE,
                hostname="h", extra_hosts=(HostEntry("a", "::1"),),
            )
        )  # fmt: skip
        assert shop.executor.ran["make"] == 1
        visitor = Visitor(waits=True)
        secret = ContainerProcess(args=("ps",), secret_env=(SecretEnv("token", "T"),))
        first = asyncio.create_task(container.run(SHELL, visitor))
        await visitor.there.wait()
        assert await container.run(secret, Visitor()) == 0
        [(step, console)], [(joined, process)] = shop.executor.attended, shop.executor.joined
        assert console == SHELL.console
        assert (step.op.args, step.env, step.op.cwd, step.op.user) == (("sh",), ("A=b",), "/work", "me")
        assert (step.op.network, step.op.hostname, step.op.extra_hosts) == ("none", "h", (HostEntry("a", "::1"),))
        assert step.limits.memory == 64 << 20
        assert [(mount.target, mount.readonly) for mount in step.mounts] == [("/data", True)]
        assert (joined, process.args, process.env) == (step.id, ("ps",), ("T=s3cret",))
        assert len(shop.drafts()) == 1
        visitor.may_go.set()
        assert await first == 0
        await container.release()
        assert shop.drafts() == []
        with pytest.raises(Conflict, match="released"):
            await container.run(SHELL, Visitor())
        await container.release()
        await build.fail(Unavailable("over"))


@pytest.mark.parametrize("by", ["release", "end", "cancel"])
async def test_what_runs_in_it_ends_with_it(tmp_path: Path, by: str) -> None:
    async with Workshop(tmp_path) as shop:
        build = begin(shop)
        container = await build.container(ContainerRequest(mounts=(EMPTY_ROOT,)))
        visitor = Visitor(waits=True)
        running = asyncio.create_task(container.run(SHELL, visitor))
        await visitor.there.wait()
        if by == "cancel":
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await container.release()
        else:
            await (container.release() if by == "release" else build.fail(Unavailable("gone")))
            with pytest.raises(Unavailable, match="released"):
                await running
        assert shop.drafts() == []


async def test_the_end_of_a_build_ends_a_container_that_is_being_made(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def for_ever(step: Step, output: Output) -> StepResult:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with Workshop(tmp_path) as shop:
        shop.executor.commands["make"] = for_ever
        build = begin(shop)
        asked = ContainerRequest(mounts=(ROOT,), inputs=(run(None, "make"),))
        making = asyncio.create_task(build.container(asked))
        await begun.wait()
        await build.fail(Unavailable("gone"))
        with pytest.raises(Unavailable):
            await making
        assert shop.drafts() == []
        with pytest.raises(Conflict, match="over"):
            await build.container(asked)


async def test_an_input_that_fails_says_so(tmp_path: Path) -> None:
    async def fails(step: Step, output: Output) -> StepResult:
        return StepResult(7)

    async with Workshop(tmp_path) as shop:
        shop.executor.commands["make"] = fails
        build = begin(shop)
        with pytest.raises(VertexFailed, match="exit code: 7"):
            await build.container(ContainerRequest(mounts=(ROOT,), inputs=(run(None, "make"),)))
        await build.fail(Unavailable("over"))


@pytest.mark.parametrize("entitlements", [frozenset[str](), frozenset({"network.host", "security.insecure"})])
async def test_what_it_may_do_is_what_a_step_may(tmp_path: Path, entitlements: frozenset[str]) -> None:
    settings = BuilderSettings(entitlements=frozenset({"network.host", "security.insecure"}))
    async with Workshop(tmp_path, settings) as shop:
        build = begin(shop, entitlements=entitlements)
        insecure = ContainerProcess(args=("sh",), security=SecurityMode.INSECURE)
        with_network = ContainerRequest(mounts=(EMPTY_ROOT,), network=NetworkMode.HOST)
        container = await build.container(ContainerRequest(mounts=(EMPTY_ROOT,)))
        if not entitlements:
            with pytest.raises(Forbidden, match=r"network\.host is not allowed"):
                await build.container(with_network)
            with pytest.raises(Forbidden, match=r"security\.insecure is not allowed"):
                await container.run(insecure, Visitor())
            assert shop.executor.attended == []
        else:
            await build.container(with_network)
            await container.run(insecure, Visitor())
            assert shop.executor.attended[0][0].op.security == SecurityMode.INSECURE
        await build.fail(Unavailable("over"))


async def test_containers_and_their_processes_have_a_bound(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        build = begin(shop)
        asked = ContainerRequest(mounts=(EMPTY_ROOT,))
        made = [await build.container(asked) for _ in range(100)]
        with pytest.raises(TooLarge, match="100 containers"):
            await build.container(asked)
        await made.pop().release()
        await build.container(asked)
        visitor = Visitor(waits=True)
        running = [asyncio.create_task(made[0].run(SHELL, visitor)) for _ in range(100)]
        while len(shop.executor.joined) < 99:  # noqa: ASYNC110
            await asyncio.sleep(0)
        with pytest.raises(TooLarge, match="100 processes"):
            await made[0].run(SHELL, visitor)
        await build.fail(Unavailable("over"))
        assert all(isinstance(one, Unavailable) for one in await asyncio.gather(*running, return_exceptions=True))
        assert shop.drafts() == []


async def test_cache_mounts_are_those_of_steps(tmp_path: Path) -> None:
    cache = BuildMount("/cache", Cache("mine"), input=NO_INPUT, output=NO_OUTPUT)
    async with Workshop(tmp_path) as shop:
        build = begin(shop)
        container = await build.container(ContainerRequest(mounts=(EMPTY_ROOT, cache)))
        await container.run(SHELL, Visitor())
        await build.evaluate(run(None, "make", cache))
        [(looked, _)], [made] = shop.executor.attended, shop.executor.steps
        assert looked.mounts[0].source == made.mounts[0].source
        await build.fail(Unavailable("over"))
