"""Who is started again, and when, under a real engine without root: `support.engine_harness`."""

from __future__ import annotations

import asyncio

import pytest

from support.engine_harness import EngineHarness, create, harness, raises, until
from wherry.docker.container_requests import RestartPolicy
from wherry.engine.container.state import Status
from wherry.engine.lifecycle import restart_policy
from wherry.errors import Conflict, SystemFault

__all__ = ["harness"]

ALWAYS = RestartPolicy("always", 0)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits 100 ms here."""
    monkeypatch.setattr(restart_policy, "_FIRST", 0.01)


def test_on_failure_starts_again_as_often_as_it_says(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "false", restart_policy=RestartPolicy("on-failure", 2))
            await engine.containers.start("web")
            await until(lambda: container.state.status is Status.EXITED and container.restart is None)
            assert container.state.restart_count == 2
        assert harness.actions("start", "die") == ["start", "die"] * 3

    harness.run(test)


def test_on_failure_does_not_start_again_what_succeeded(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "true", restart_policy=RestartPolicy("on-failure", 2))
            await engine.containers.start("web")
            await until(lambda: container.state.status is Status.EXITED)
            assert container.restart is None

    harness.run(test)


def test_always_starts_again_until_somebody_stops_it(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "sleep", "0.01", restart_policy=ALWAYS)
            await engine.containers.start("web")
            await until(lambda: container.state.restart_count >= 2)
            await engine.containers.stop("web")
            assert container.state.status is Status.EXITED
            assert container.restart is None

    harness.run(test)


def test_who_waits_for_its_next_start_is_restarting_and_can_be_stopped(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart_policy, "_FIRST", 1000.0)

    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "true", restart_policy=ALWAYS)
            await engine.containers.start("web")
            await until(lambda: container.state.status is Status.RESTARTING)
            assert isinstance(await raises(engine.containers.remove("web")), Conflict)
            await engine.containers.stop("web")
            assert container.state.status is Status.EXITED
            assert container.restart is None

    harness.run(test)


def test_each_wait_is_twice_the_last_one_and_a_long_run_begins_anew(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "true", restart_policy=ALWAYS)
            await engine.containers.start("web")
            delays = []
            for count in (1, 2, 3):
                await until(lambda count=count: container.state.restart_count >= count)  # type: ignore[misc]
                delays.append(container.restart_delay)
            await engine.containers.stop("web")
        assert delays == sorted(delays)
        assert delays[-1] <= 0.08

    harness.run(test)


def test_a_failed_start_that_the_policy_wanted_is_tried_again(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "sh", "-c", "sleep 0.05", restart_policy=ALWAYS)
            await engine.containers.start("web")
            harness.network.refuse += [SystemFault("the port is taken")] * 2
            await until(lambda: container.state.restart_count >= 3 and container.state.is_alive)
            assert not harness.network.refuse
            await engine.containers.stop("web")

    harness.run(test)


def test_a_container_comes_after_those_that_it_needs(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine, name="db", restart_policy=ALWAYS)
            await create(engine, pid_mode="container:db", restart_policy=ALWAYS)
            for name in ("db", "web"):
                await engine.containers.start(name)
        harness.keeper.close()
        harness.keeper.processes.clear()  # as after the machine was started again
        harness.events.clear()
        async with harness.engine() as engine:
            web, db = engine.containers.get("web"), engine.containers.get("db")
            await asyncio.wait_for(web.started.wait(), 5)
            assert db.started.is_set()
            assert web.state.started_at >= db.state.started_at

    harness.run(test)


@pytest.mark.parametrize(
    ("policy", "stopped", "comes_back"),
    [("always", False, True), ("always", True, True), ("unless-stopped", False, True), ("unless-stopped", True, False),
     ("no", False, False)],
)  # fmt: skip
def test_with_the_daemon_come_those_whose_policy_wants_it(
    harness: EngineHarness, policy: str, stopped: bool, comes_back: bool
) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, restart_policy=RestartPolicy(policy, 0))
            await engine.containers.start("web")
            if stopped:
                await engine.containers.stop("web", timeout=5)
        if not stopped:
            harness.keeper.close()
            harness.keeper.processes.clear()
        async with harness.engine() as engine:
            container = engine.containers.get("web")
            if comes_back:
                await asyncio.wait_for(container.started.wait(), 5)
            else:
                await until(lambda: not container.state.is_alive)
                assert container.restart is None

    harness.run(test)
