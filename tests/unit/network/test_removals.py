"""Interfaces that go in the background: whoever waits for their end is let go, whatever happens."""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import Any

import pytest

from wherry.network.kernel_state.removals import Removals
from wherry.network.model import Network


async def test_where_no_thread_can_be_begun_nobody_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Thread) -> Any:
        raise RuntimeError("can't start new thread")

    removals = Removals("test")
    for number in range(20):
        removals.begin(Network(id=f"{number:064}", name=f"n{number}", driver="bridge", created=1))
    monkeypatch.setattr(Thread, "start", refuse)
    waiting = asyncio.ensure_future(removals.finished())
    for _ in range(1000):
        await asyncio.sleep(0)  # all that can happen happens in the event loop
    assert waiting.done()
    assert "n't start new thread" in caplog.text
