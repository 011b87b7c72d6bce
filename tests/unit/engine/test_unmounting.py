"""Roots are let go of together, and never while somebody needs them gone."""

import asyncio
import os

import pytest

from wherry.engine.lifecycle import unmount
from wherry.engine.lifecycle.unmount import LazyUnmount
from wherry.linux.fd import Fd


def root() -> Fd:
    return Fd(os.open("/", os.O_PATH | os.O_CLOEXEC))


async def test_roots_are_kept_for_a_while_and_then_let_go_of_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmount, "_DELAY", 0.02)
    parts, roots = LazyUnmount(), [root(), root()]
    for number, one in enumerate(roots):
        parts.later(str(number), one)
    assert not any(one.closed for one in roots)
    while not all(one.closed for one in roots):  # noqa: ASYNC110 - it happens in a thread
        await asyncio.sleep(0.01)


async def test_who_starts_again_waits_for_the_former_root_only() -> None:
    parts, mine, other = LazyUnmount(), root(), root()
    parts.later("mine", mine)
    parts.later("other", other)
    await parts.now("mine")
    assert mine.closed
    assert not other.closed
    await parts.finish()
    assert other.closed


async def test_who_starts_while_it_is_being_let_go_of_waits_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmount, "_DELAY", 0)
    parts, mine = LazyUnmount(), root()
    parts.later("mine", mine)
    while parts._waiting:  # noqa: ASYNC110 - until the timer has fired
        await asyncio.sleep(0)
    await parts.now("mine")
    assert mine.closed


async def test_a_container_without_a_former_root_does_not_wait() -> None:
    await asyncio.wait_for(LazyUnmount().now("new"), 1)
    await asyncio.wait_for(LazyUnmount().finish(), 1)
