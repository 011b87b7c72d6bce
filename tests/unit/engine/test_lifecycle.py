"""The moves of a container's life under a real engine, without root: `support.engine_harness`."""

from __future__ import annotations

import signal

import pytest
from msgspec.structs import replace

from support.engine_harness import EngineHarness, FakeAttachments, create, harness, raises, until
from wherry.docker.container_answers import WaitStatus
from wherry.engine.container.container import Container
from wherry.engine.container.state import Status
from wherry.engine.network.attachments import Attachment
from wherry.errors import CommandNotExecutable, CommandNotFound, Conflict, NotFound, NotModified, SystemFault

__all__ = ["harness"]


def test_a_container_is_created_started_stopped_and_removed(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "sleep", "1000")
            assert container.state.status is Status.CREATED
            await engine.containers.start("web")
            assert container.state.status is Status.RUNNING
            assert container.state.pid == harness.keeper.processes[container.id].popen.pid
            assert isinstance(await raises(engine.containers.start("web")), NotModified)
            await engine.containers.stop("web", timeout=5)
            assert (container.state.status, container.state.exit_code) == (Status.EXITED, 128 + signal.SIGTERM)
            assert isinstance(await raises(engine.containers.stop("web")), NotModified)
            await engine.containers.remove("web")
            assert isinstance(await raises(engine.containers.start("web")), NotFound)
            await until(lambda: not container.directory.exists())
        assert harness.actions() == ["create", "start", "kill", "die", "stop", "destroy"]
        assert ("forget", container.id) in harness.keeper.requests

    harness.run(test)


def test_a_container_that_ignores_its_signal_is_killed_after_the_timeout(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            ready = harness.settings.data_root / "ready"
            script = f"trap '' TERM; touch {ready}; while :; do sleep 0.01; done"
            container = await create(engine, "sh", "-c", script)
            await engine.containers.start("web")
            await until(ready.exists)
            await engine.containers.stop("web", timeout=0)
            assert container.state.exit_code == 128 + signal.SIGKILL

    harness.run(test)


def test_an_exit_is_recorded_with_its_code_and_told_to_who_waits(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "sh", "-c", "exit 3")
            exited = engine.containers.waiter("web", "next-exit")
            await engine.containers.start("web")
            assert await exited == WaitStatus(status_code=3)
            assert await engine.containers.waiter("web", "not-running") == WaitStatus(status_code=3)
            assert container.pidfd is None
            removed = engine.containers.waiter("web", "removed")
            await engine.containers.remove("web")
            assert await removed == WaitStatus(status_code=3)
        assert ("release", "web") in harness.network.calls

    harness.run(test)


def test_a_start_right_after_an_end_comes_after_what_that_left_is_gone(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "true")
            for _ in range(3):
                exited = engine.containers.waiter("web", "next-exit")
                await engine.containers.start("web")
                await exited
        moves = [op for op, key in harness.keeper.requests if key == container.id and op in ("launch", "forget")]
        assert moves == ["launch", "forget"] * 3

    harness.run(test)


def test_of_a_life_of_milliseconds_only_the_end_is_written(harness: EngineHarness) -> None:
    written: list[bytes] = []

    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "sleep", "1000")
            write = engine._database.set_state

            def noted(identifier: str, state: bytes) -> None:
                written.append(state)
                write(identifier, state)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(engine._database, "set_state", noted)
                await engine.containers.start("web")
                assert not written
                await until(lambda: written)  # by itself
                assert b"running" in written[0]
                await engine.containers.kill("web", "KILL")
                await engine.containers.start("web")
                await engine.containers.remove("web", force=True)
                await until(lambda: not container.directory.exists())
        assert not [state for state in written[1:] if b"running" in state]

    harness.run(test)


def test_a_program_that_is_not_there_leaves_the_container_created_with_dockers_code(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "/no/such/program")
            assert isinstance(await raises(engine.containers.start("web")), CommandNotFound)
            assert (container.state.status, container.state.exit_code) == (Status.CREATED, 127)
            other = await create(engine, "/etc/passwd", name="other")
            assert isinstance(await raises(engine.containers.start("other")), CommandNotExecutable)
            assert other.state.exit_code == 126
        assert harness.network.calls.count(("release", "web")) == 1

    harness.run(test)


def test_a_network_that_refuses_keeps_a_container_from_starting(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine)
            harness.network.refuse.append(SystemFault("the port is taken"))
            assert "the port is taken" in str(await raises(engine.containers.start("web")))
            assert container.state.exit_code == 128
            assert "the port is taken" in container.state.error
            assert not harness.keeper.processes
            await engine.containers.start("web")
            assert container.state.error == ""

    harness.run(test)


def test_what_is_removed_by_itself_goes_with_its_exit(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "true", auto_remove=True)
            removed = engine.containers.waiter("web", "removed")
            await engine.containers.start("web")
            assert await removed == WaitStatus(status_code=0)
            await until(lambda: engine.images.released)
            assert not container.directory.exists()

    harness.run(test)


def test_a_running_container_is_removed_by_force_only(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine)
            await engine.containers.start("web")
            assert isinstance(await raises(engine.containers.remove("web")), Conflict)
            await engine.containers.remove("web", force=True)
            assert len(engine.containers.store) == 0

    harness.run(test)


def test_a_restart_stops_and_starts_even_what_is_removed_by_itself(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, auto_remove=True)
            await engine.containers.start("web")
            first = container.state.pid
            await engine.containers.restart("web", timeout=5)
            assert container.state.is_alive
            assert container.state.pid != first
            await engine.containers.remove("web", force=True)
        assert harness.actions("start", "die", "restart") == ["start", "die", "start", "restart", "die"]

    harness.run(test)


def test_a_name_is_given_once_and_changed(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine)
            assert isinstance(await raises(create(engine)), Conflict)
            await engine.containers.rename("web", "other")
            assert engine.containers.get("other").name == "other"
            await create(engine)
        async with harness.engine() as engine:
            assert {container.name for container in engine.containers.store} == {"web", "other"}

    harness.run(test)


def test_what_fails_in_the_background_is_logged_with_its_container(harness: EngineHarness, caplog) -> None:  # type: ignore[no-untyped-def]
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine)

            async def fail() -> None:
                raise RuntimeError("for a test")

            engine._tasks.start(fail(), "exit", container)
            await engine._tasks.drain()
            assert f"background task failed container={container.id} operation=exit" in caplog.text

    harness.run(test)


def test_the_host_name_that_a_container_takes_over_is_remembered(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def attach(attachments: FakeAttachments, container: Container, before: object = None) -> Attachment:
        return Attachment(None, replace(container.config, hostname="db"))

    async def test() -> None:
        engine = await harness.open()
        await create(engine)
        await engine.containers.start("web")
        await harness.kill(engine)
        async with harness.engine() as engine:
            assert engine.containers.get("web").config.hostname == "db"
            await engine.containers.remove("web", force=True)

    monkeypatch.setattr(FakeAttachments, "attach", attach)
    harness.run(test)
