"""Watching for lack of memory: no container keeps the daemon busy, whatever becomes of its cgroup."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.engine.lifecycle import oom
from wherry.engine.lifecycle.oom import MemoryWatch
from wherry.linux.fd import Fd
from wherry.runtime.cgroups.contract import Watch


class Group:
    """A cgroup whose descriptor stays ready, as that of a removed one does (kernfs)."""

    path = "/test"

    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        self.acknowledged = 0
        self.asked = False
        self.watch = Watch(Fd(reading), select.EPOLLIN, self._acknowledge)
        self.fault: Exception | None = None

    def oom_events(self) -> Watch:
        self.asked = True
        return self.watch

    def _acknowledge(self) -> None:
        self.acknowledged += 1
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    group = Group()
    monkeypatch.setattr(oom.cgroups, "open", lambda _: group)
    monkeypatch.setattr(oom, "_LOOKS", (0.0,))
    monkeypatch.setattr(oom, "_BEGIN", 0.0)
    monkeypatch.setattr(oom, "oom_kills", lambda _: group.acknowledged)
    yield group
    os.close(group.writing)


def container() -> Any:
    return SimpleNamespace(id="c", oom_kills=0)


@pytest.mark.parametrize("fault", [None, OSError(19, "No such device")])
async def test_a_descriptor_that_stays_ready_is_looked_at_once_for_each_event(
    group: Group, fault: Exception | None
) -> None:
    told: asyncio.Queue[int] = asyncio.Queue()
    watch, group.fault = MemoryWatch(lambda _: "/test", lambda one: told.put_nowait(one.oom_kills)), fault
    watch.started(container())
    for number in (1, 2):
        os.write(group.writing, b"x")
        assert await asyncio.wait_for(told.get(), 20) == number
        for _ in range(50):
            await asyncio.sleep(0)
        assert (group.acknowledged, told.empty()) == (number, True)
    watch.close()


async def test_who_cannot_be_watched_starts_all_the_same(group: Group) -> None:
    watch = MemoryWatch(lambda _: "/test", lambda _: None)
    group.watch.fd.close()
    plain = Fd(os.open("/etc/passwd", os.O_RDONLY | os.O_CLOEXEC))  # no file that can be waited for
    group.watch = Watch(plain, select.EPOLLIN, lambda: None)
    watch.started(container())
    begun = asyncio.Event()
    asyncio.get_running_loop().call_later(0, begun.set)  # after the watch's own timer
    await asyncio.wait_for(begun.wait(), 20)
    assert plain.closed
    watch.ended(container())
    watch.close()


async def test_who_has_ended_before_is_never_watched(group: Group) -> None:
    watch = MemoryWatch(lambda _: "/test", lambda _: None)
    watch.started(container())
    watch.ended(container())
    for _ in range(5):
        await asyncio.sleep(0)
    watch.close()
    assert not group.asked


async def test_what_was_killed_before_the_watch_is_told(group: Group) -> None:
    told: asyncio.Queue[int] = asyncio.Queue()
    watch = MemoryWatch(lambda _: "/test", lambda one: told.put_nowait(one.oom_kills))
    group.acknowledged = 1
    watch.started(container())
    assert await asyncio.wait_for(told.get(), 20) == 1
    watch.close()
