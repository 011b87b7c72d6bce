"""Another engine finds what one that was killed at any point has left; without root: `support.engine_harness`."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from support.engine_harness import EngineHarness, create, harness, until
from wherry.docker.container_requests import RestartPolicy
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.engine import Engine
from wherry.engine.lifecycle.trash import Trash

__all__ = ["harness"]


async def started_by_a_killed_engine(harness: EngineHarness) -> int:
    """Leaves a running container; returns its process ID."""
    engine = await harness.open()
    container = await create(engine)
    await engine.containers.start("web")
    engine._store.save_unsaved()  # it has run for some milliseconds
    await harness.kill(engine)
    return container.state.pid


def test_what_runs_is_adopted_with_its_process_and_its_networks(harness: EngineHarness) -> None:
    async def test() -> None:
        pid = await started_by_a_killed_engine(harness)
        async with harness.engine() as engine:
            container = engine.containers.get("web")
            assert (container.state.status, container.state.pid) == (Status.RUNNING, pid)
            assert ("adopt", "web") in harness.network.calls
            await engine.containers.stop("web", timeout=5)
            assert container.state.exit_code == 128 + signal.SIGTERM

    harness.run(test)


def test_an_exit_that_nobody_heard_of_is_recorded_once(harness: EngineHarness) -> None:
    async def test() -> None:
        pid = await started_by_a_killed_engine(harness)
        os.kill(pid, signal.SIGKILL)
        async with harness.engine() as engine:
            container = engine.containers.get("web")
            await until(lambda: container.state.status is Status.EXITED)
            assert container.state.exit_code == 128 + signal.SIGKILL
            finished = container.state.finished_at
            await until(lambda: container.id not in harness.keeper.processes)
        async with harness.engine() as engine:
            assert engine.containers.get("web").state.finished_at == finished
        assert harness.actions("die") == ["die"]

    harness.run(test)


def test_what_the_keeper_does_not_know_has_ended_and_nobody_knows_how(harness: EngineHarness) -> None:
    async def test() -> None:
        await started_by_a_killed_engine(harness)
        harness.keeper.close()
        harness.keeper.processes.clear()
        async with harness.engine() as engine:
            container = engine.containers.get("web")
            await until(lambda: container.state.status is Status.EXITED)
            assert container.state.exit_code == 255

    harness.run(test)


def test_a_start_whose_end_was_not_written_down_is_found_running(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        engine = await harness.open()
        await create(engine)
        with monkeypatch.context() as patch:
            patch.setattr(ContainerStore, "save_state", lambda store, container: None)  # killed before it
            await engine.containers.start("web")
        await harness.kill(engine)
        async with harness.engine() as engine:
            container = engine.containers.get("web")
            assert container.state.status is Status.RUNNING
            assert container.state.pid == harness.keeper.processes[container.id].popen.pid
            await engine.containers.remove("web", force=True)

    harness.run(test)


def test_a_launch_that_was_never_answered_is_found_running(harness: EngineHarness) -> None:
    async def test() -> None:
        engine = await harness.open()
        container = await create(engine)
        harness.keeper.silent.add("launch")
        starting = asyncio.ensure_future(engine.containers.start("web"))
        await until(lambda: container.id in harness.keeper.processes)
        await harness.kill(engine)
        assert starting.cancelled()
        harness.keeper.silent.clear()
        async with harness.engine() as engine:
            assert engine.containers.get("web").state.status is Status.RUNNING
            await engine.containers.remove("web", force=True)

    harness.run(test)


KilledIn = Callable[[pytest.MonkeyPatch], None]


def _before_the_files_are_put_aside(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Trash, "put", _killed)


def _before_the_row_goes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ContainerStore, "forget", _killed)
    patch.setattr(Trash, "take_back", lambda *_: None)


def _before_the_files_are_deleted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Trash, "delete", _never)


class Killed(BaseException):
    """The engine ends here."""


def _killed(*_: object) -> None:
    raise Killed


async def _never(*_: object) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("kill", "stays"),
    [(_before_the_files_are_put_aside, True), (_before_the_row_goes, True), (_before_the_files_are_deleted, False)],
)
def test_a_removal_is_undone_before_its_point_of_no_return_and_finished_after_it(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, kill: KilledIn, stays: bool
) -> None:
    async def test() -> None:
        engine = await harness.open()
        container = await create(engine)
        (container.directory / "upper").mkdir()
        with monkeypatch.context() as patch:
            kill(patch)
            with suppress(Killed):
                await engine.containers.remove("web")
            await harness.kill(engine)
        async with harness.engine() as engine:
            assert (len(engine.containers.store) == 1) is stays
            assert (container.directory / "upper").exists() is stays
            leftovers = harness.settings.data_root / "tmp"
            await until(lambda: not list(leftovers.iterdir()))

    harness.run(test)


def test_a_wait_for_the_next_start_begins_again(harness: EngineHarness) -> None:
    async def test() -> None:
        engine = await harness.open()
        container = await create(engine, "true", restart_policy=RestartPolicy("always", 0))
        await engine.containers.start("web")
        await until(lambda: container.state.status is Status.RESTARTING)
        await harness.kill(engine)
        async with harness.engine() as engine:
            container = engine.containers.get("web")
            await asyncio.wait_for(container.started.wait(), 5)
            await engine.containers.stop("web")

    harness.run(test)


def test_a_process_that_the_database_does_not_know_is_left_alone(harness: EngineHarness) -> None:
    async def test() -> None:
        pid = await started_by_a_killed_engine(harness)
        (harness.settings.data_root / "wherry.db").unlink()
        async with harness.engine() as engine:
            assert len(engine.containers.store) == 0
            os.kill(pid, 0)
            assert list((harness.settings.data_root / "containers").iterdir()), "its files stay"

    harness.run(test)


def test_a_keeper_that_dies_is_replaced_and_given_what_runs(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine)
            await engine.containers.start("web")
            pid = container.state.pid
            harness.keeper.die()
            await asyncio.wait_for(engine._keeper.reconciled.wait(), 5)
            assert ("adopt", container.id) in harness.keeper.requests
            assert (container.state.status, container.state.pid) == (Status.RUNNING, pid)
            await engine.containers.stop("web", timeout=5)
            assert container.state.exit_code == 255, "the new keeper is not its parent"

    harness.run(test)


def test_what_ended_between_two_keepers_is_lost_not_forgotten(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine)
            await engine.containers.start("web")
            harness.keeper.die()
            harness.keeper.processes[container.id].end()
            await until(lambda: container.state.status is Status.EXITED)
            assert container.state.exit_code == 255

    harness.run(test)


def test_an_engine_that_ends_leaves_what_runs(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            pid = (await started(engine)).state.pid
        os.kill(pid, 0)
        async with harness.engine() as engine:
            assert engine.containers.get("web").state.pid == pid

    async def started(engine: Engine):  # type: ignore[no-untyped-def]
        container = await create(engine)
        await engine.containers.start("web")
        return container

    harness.run(test)
