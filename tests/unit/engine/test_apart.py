"""Work on what containers control: in threads that wait for it, used again when nothing held them up."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from wherry.engine.threads import bounded_call as module
from wherry.engine.threads import workers
from wherry.engine.threads.bounded_call import call_bounded
from wherry.engine.threads.workers import Workers
from wherry.errors import Unavailable
from wherry.linux.process import CLONE, unshare


async def test_results_and_errors_come_back() -> None:
    assert await call_bounded("add", lambda: 1 + 1) == 2
    with pytest.raises(ZeroDivisionError):
        await call_bounded("divide", lambda: 1 // 0)


async def test_a_thread_that_was_not_held_up_takes_the_next_piece() -> None:
    first = await call_bounded("look", threading.get_ident)
    again = [await call_bounded("look", threading.get_ident) for _ in range(20)]
    assert set(again) == {first}


async def test_one_that_leaves_traces_is_not_used_again() -> None:
    marked = await call_bounded("leave", threading.current_thread, leaves_traces=True)
    later = [await call_bounded("look", threading.current_thread) for _ in range(5)]
    assert marked not in later
    marked.join(20)
    assert not marked.is_alive()


async def test_what_follows_one_that_leaves_traces_finds_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new thread is where the one is that begins it; the working directory stands for the namespaces."""
    monkeypatch.setattr(module, "_workers", Workers(1, "one"))
    home, begun, release = Path.cwd(), threading.Event(), threading.Event()

    def leave() -> None:
        unshare(CLONE.FS)
        os.chdir(tmp_path)
        begun.set()
        release.wait(60)

    leaving = asyncio.ensure_future(call_bounded("leave", leave, 60, leaves_traces=True))
    await asyncio.to_thread(begun.wait, 60)
    following = [asyncio.ensure_future(call_bounded(f"look {n}", Path.cwd, 60)) for n in range(3)]
    await asyncio.sleep(0)  # they wait for their turn
    release.set()
    await leaving
    assert await asyncio.gather(*following) == [home] * 3


async def test_what_is_held_up_is_given_up_and_holds_nobody_up() -> None:
    release = threading.Event()
    stuck = [asyncio.ensure_future(call_bounded("wait", release.wait, 0.05)) for _ in range(10)]
    try:
        assert await asyncio.wait_for(call_bounded("look", lambda: 5), 20) == 5
        for attempt in stuck:
            with pytest.raises(Unavailable, match="cannot wait: a container holds it up"):
                await attempt
    finally:
        release.set()


async def test_as_many_as_may_be_are_held_up_and_the_rest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_workers", Workers(3, "few"))
    release = threading.Event()
    stuck = [asyncio.ensure_future(call_bounded(f"wait for {n}", release.wait, 20)) for n in range(3)]
    await asyncio.sleep(0)  # they begin
    with pytest.raises(Unavailable):
        await call_bounded("look", lambda: 5, 0.05)
    release.set()
    assert await asyncio.gather(*stuck) == [True] * 3
    assert await call_bounded("look", lambda: 6, 20) == 6


async def test_a_thread_ends_when_there_was_nothing_to_do_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_LINGERING", 0.05)
    monkeypatch.setattr(module, "_workers", Workers(3, "few"))
    thread = await call_bounded("look", threading.current_thread)
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()
    assert await call_bounded("look", lambda: 7) == 7


async def test_who_is_held_up_and_asks_again_does_not_use_up_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_workers", Workers(3, "few"))
    release, begun = threading.Event(), []

    def wait() -> None:
        begun.append(threading.get_ident())
        release.wait(20)

    for _ in range(6):
        with pytest.raises(Unavailable, match="cannot join web: a container holds it up"):
            await call_bounded("join web", wait, 0.02)
    assert await call_bounded("join db", lambda: 5, 20) == 5
    assert len(begun) == 2, "and those that waited for their turn need not begin any more"
    release.set()
    assert await call_bounded("join web", lambda: 6, 20) == 6
    assert len(begun) == 2


async def test_a_server_that_is_gone_is_no_container_that_holds_it_up() -> None:
    def fail() -> None:
        raise TimeoutError(110, "Connection timed out")

    with pytest.raises(TimeoutError, match="Connection timed out"):
        await call_bounded("look", fail)


async def test_threads_that_cannot_be_begun_are_not_missed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_workers", Workers(2, "few"))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    done = []
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(Unavailable, match="cannot look: can't start new thread"):
                await call_bounded("look", lambda: done.append(1))
    assert await call_bounded("look", lambda: 5, 20) == 5
    assert not done


async def test_work_is_done_by_whoever_is_there_when_no_thread_can_be_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_workers", Workers(3, "few"))
    release = threading.Event()
    busy = asyncio.ensure_future(call_bounded("wait", release.wait, 20))
    await asyncio.sleep(0)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    later = asyncio.ensure_future(call_bounded("look", lambda: 5, 20))
    await asyncio.sleep(0)
    release.set()
    assert await later == 5
    assert await busy
