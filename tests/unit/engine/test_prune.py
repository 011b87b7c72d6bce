"""A prune of containers, under a real engine, without root: `support.engine_harness`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.engine_harness import EngineHarness, create, harness
from wherry.engine.container.container import Container
from wherry.engine.lifecycle.lifecycle import Lifecycle
from wherry.errors import Conflict

__all__ = ["harness"]


def test_who_waits_for_something_keeps_the_others_from_nothing(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with receivers of logs that are gone: each removal gives them a second."""
    remove = Lifecycle.remove
    all_there = asyncio.Barrier(3)

    async def slow(self: Lifecycle, container: Container, **how: Any) -> None:
        await all_there.wait()
        if container.name == "started":
            raise Conflict("it runs")
        await remove(self, container, **how)

    monkeypatch.setattr(Lifecycle, "remove", slow)

    async def test() -> None:
        async with harness.engine() as engine:
            made = [await create(engine, name=name) for name in ("one", "started", "two")]
            pruned = await engine.containers.prune({})
            assert pruned.containers_deleted == [made[0].id, made[2].id]
            assert [one.id for one in engine.containers.store] == [made[1].id]

    harness.run(test)
