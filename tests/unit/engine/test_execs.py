"""Execs and health checks under a real engine, without root: `support.engine_harness`."""

from __future__ import annotations

import asyncio
import signal

import pytest

from support.engine_harness import EngineHarness, create, harness, raises, until
from wherry.docker.container_answers import HealthStatus
from wherry.docker.container_requests import ExecConfig, Healthcheck
from wherry.engine.container.state import Status
from wherry.engine.lifecycle import exec as execs
from wherry.errors import CommandNotFound, Conflict, NotFound

__all__ = ["harness"]

MILLISECOND = 1_000_000


def test_an_exec_runs_beside_the_container_and_leaves_its_exit_code(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine)
            await engine.containers.start("web")
            identifier = engine.execs.create("web", ExecConfig(cmd=["sh", "-c", "exit 4"]))
            assert engine.execs.inspect(identifier).exit_code is None
            await engine.execs.start(identifier, detach=True, tty=False, size=None)
            await until(lambda: not engine.execs.inspect(identifier).running)
            assert engine.execs.inspect(identifier).exit_code == 4
            assert isinstance(await raises(started(identifier, engine)), Conflict)
            assert container.exec_ids == []
            await engine.containers.remove("web", force=True)
        assert harness.actions("exec_die") == ["exec_die"]

    harness.run(test)


async def started(identifier: str, engine) -> None:  # type: ignore[no-untyped-def]
    await engine.execs.start(identifier, detach=True, tty=False, size=None)


def test_an_exec_of_a_program_that_is_not_there_has_dockers_code(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine)
            await engine.containers.start("web")
            identifier = engine.execs.create("web", ExecConfig(cmd=["/no/such/program"]))
            assert isinstance(await raises(started(identifier, engine)), CommandNotFound)
            assert engine.execs.inspect(identifier).exit_code == 127
            await engine.containers.remove("web", force=True)

    harness.run(test)


def test_nothing_is_executed_in_what_does_not_run(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine)
            with pytest.raises(Conflict):
                engine.execs.create("web", ExecConfig(cmd=["true"]))
            await engine.containers.start("web")
            identifier = engine.execs.create("web", ExecConfig(cmd=["true"]))
            await engine.containers.stop("web", timeout=5)
            assert isinstance(await raises(started(identifier, engine)), NotFound), "it was forgotten with the run"

    harness.run(test)


def test_what_is_remembered_of_execs_is_bounded(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execs, "_KEPT", 3)

    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine)
            await engine.containers.start("web")
            made = [engine.execs.create("web", ExecConfig(cmd=["true"])) for _ in range(5)]
            with pytest.raises(NotFound):
                engine.execs.inspect(made[0])
            engine.execs.inspect(made[-1])
            await engine.containers.remove("web", force=True)

    harness.run(test)


def test_an_exec_that_is_ended_is_killed(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine)
            await engine.containers.start("web")
            identifier = engine.execs.create("web", ExecConfig(cmd=["sleep", "1000"]))
            await started(identifier, engine)
            await engine.execs.end(identifier, 5)
            assert engine.execs.inspect(identifier).exit_code == 128 + signal.SIGKILL
            await engine.containers.remove("web", force=True)

    harness.run(test)


def test_an_exec_ends_that_ended_while_there_was_no_keeper(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine)
            await engine.containers.start("web")
            seen, gone = (engine.execs.create("web", ExecConfig(cmd=["sleep", "1000"])) for _ in range(2))
            for identifier in (seen, gone):
                await started(identifier, engine)
            for identifier in (seen, gone):  # while nobody listens
                process = harness.keeper.processes[identifier]
                process.end()
                process.exited = {"status": 7, "at": 1, "oom": False}
            del harness.keeper.processes[gone]  # and before it was written down
            harness.keeper.die()
            await until(lambda: not any(engine.execs.inspect(each).running for each in (seen, gone)))
            assert [engine.execs.inspect(each).exit_code for each in (seen, gone)] == [7, 255]
            await until(lambda: seen not in harness.keeper.processes)
            await engine.containers.remove("web", force=True)

    harness.run(test)


# --- health ---------------------------------------------------------------------------------------


def check(command: str, **more: int) -> dict[str, Healthcheck]:
    return {"healthcheck": Healthcheck(["CMD-SHELL", command], interval=10 * MILLISECOND, retries=2, **more)}


def test_a_container_is_healthy_until_its_check_fails_often_enough(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            working = harness.settings.data_root / "working"
            working.touch()
            container = await create(engine, config=check(f"test -e {working}"))
            await engine.containers.start("web")
            assert container.state.health is not None
            assert container.state.health.status is HealthStatus.STARTING
            await until(lambda: container.state.health.status is HealthStatus.HEALTHY)
            working.unlink()
            await until(lambda: container.state.health.status is HealthStatus.UNHEALTHY)
            assert container.state.health.failing_streak >= 2
            await engine.containers.stop("web", timeout=5)
            assert container.state.health.status is HealthStatus.UNHEALTHY
        assert harness.actions("health_status: healthy", "health_status: unhealthy") == [
            "health_status: healthy", "health_status: unhealthy",
        ]  # fmt: skip

    harness.run(test)


def test_a_check_that_takes_too_long_has_failed_and_is_ended(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, config=check("sleep 1000", timeout=20 * MILLISECOND))
            await engine.containers.start("web")
            await until(lambda: container.state.health.log)
            assert "exceeded timeout" in container.state.health.log[0].output
            await engine.containers.remove("web", force=True)

    harness.run(test)


def test_checks_go_on_under_the_next_engine(harness: EngineHarness) -> None:
    async def test() -> None:
        engine = await harness.open()
        container = await create(engine, config=check("true"))
        await engine.containers.start("web")
        await until(lambda: container.state.health.status is HealthStatus.HEALTHY)
        await harness.kill(engine)
        async with harness.engine() as engine:
            container = engine.containers.get("web")
            assert container.state.status is Status.RUNNING
            last = container.state.health.log[-1]
            await until(lambda: container.state.health.log[-1] != last)
            await engine.containers.remove("web", force=True)

    harness.run(test)


def test_a_container_that_has_exited_is_checked_no_more(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, config=check("true"))
            await engine.containers.start("web")
            await until(lambda: container.state.health.log)
            await engine.containers.stop("web", timeout=5)
            launches = len(harness.keeper.requests)
            await asyncio.sleep(0.05)
            assert [op for op, _ in harness.keeper.requests[launches:] if op == "launch"] == []

    harness.run(test)
