"""Limits and the restart policy are changed under a real engine, without root: `support.engine_harness`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from support.engine_harness import EngineHarness, create, harness, raises
from wherry.docker.container_requests import HostConfig, RestartPolicy
from wherry.engine.lifecycle import update
from wherry.errors import InvalidInput, OutOfSpace, SystemFault
from wherry.runtime import cgroups
from wherry.runtime.cgroups import Features

__all__ = ["harness"]

MEBIBYTE = 1 << 20


class Group:
    """Remembers the limits that it was given."""

    def __init__(self) -> None:
        self.applied: list[Any] = []
        self.error: Exception | None = None

    def apply(self, limits: Any) -> None:
        if self.error is not None:
            raise self.error
        self.applied.append(limits)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    made = Group()
    everything = Features(**dict.fromkeys(Features._fields, True))
    seen = SimpleNamespace(features=lambda: everything, open=lambda path: made, Resources=cgroups.Resources)
    monkeypatch.setattr(update, "cgroups", seen)
    return made


def test_limits_of_what_does_not_run_are_written_down(harness: EngineHarness, group: Group) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, memory=64 * MEBIBYTE)
            before = container.host
            assert await engine.containers.update("web", HostConfig(cpu_shares=512)) == []
            assert (container.host.cpu_shares, container.host.memory) == (512, 64 * MEBIBYTE)
            assert before.cpu_shares is None, "the former configuration is another value"
            assert group.applied == []
        async with harness.engine() as engine:
            assert engine.containers.get("web").host.cpu_shares == 512

    harness.run(test)


def test_what_makes_no_sense_changes_nothing(harness: EngineHarness, group: Group) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, memory=64 * MEBIBYTE, memory_swap=64 * MEBIBYTE)
            before = container.host
            for wanted in (
                HostConfig(memory=MEBIBYTE),
                HostConfig(memory=128 * MEBIBYTE),
                HostConfig(restart_policy=RestartPolicy("sometimes", 0)),
            ):
                assert isinstance(await raises(engine.containers.update("web", wanted)), InvalidInput)
            assert container.host is before

    harness.run(test)


def test_what_the_kernel_or_the_disk_refuses_is_taken_back(
    harness: EngineHarness, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine)
            monkeypatch.setattr(type(container.state), "is_alive", True)
            group.error = SystemFault("no room")
            assert isinstance(await raises(engine.containers.update("web", HostConfig(cpu_shares=5))), SystemFault)
            assert container.host.cpu_shares is None
            monkeypatch.undo()

            def full(*_: object) -> None:
                raise OutOfSpace("full")

            monkeypatch.setattr(type(engine.containers.store), "save_definition", full)
            assert isinstance(await raises(engine.containers.update("web", HostConfig(cpu_shares=5))), OutOfSpace)
            assert container.host.cpu_shares is None

    harness.run(test)


def test_a_restart_policy_does_not_go_with_automatic_removal(harness: EngineHarness, group: Group) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine, auto_remove=True)
            wanted = HostConfig(restart_policy=RestartPolicy("always", 0))
            assert isinstance(await raises(engine.containers.update("web", wanted)), InvalidInput)

    harness.run(test)
