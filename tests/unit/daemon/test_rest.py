"""After work, and only then, memory goes back to the kernel."""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wherry.daemon import rest
from wherry.linux import memory


def anonymous() -> int:
    """How much memory this process has of its own, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1]) * 1024


def test_what_is_free_in_the_middle_of_the_heap_goes_back() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    size, count = 64 << 10, 500
    blocks = [library.malloc(ctypes.c_size_t(size)) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks[:-1]:
        library.free(ctypes.c_void_p(block))
    before = anonymous()
    given = memory.give_back_free_pages()
    after = anonymous()
    library.free(ctypes.c_void_p(blocks[-1]))
    if not given:
        pytest.skip("this C library has no such call")
    assert before - after > size * count // 2


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When it gave memory back."""
    found: list[float] = []
    monkeypatch.setattr(rest, "give_back_free_pages", lambda: found.append(time.process_time()))
    return found


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes when it is told to."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.call_soon(self.stop)
        self.run_forever()


@pytest.fixture
def clock() -> Iterator[Clock]:
    with closing(Clock()) as clock:
        yield clock


def work() -> None:
    end = time.process_time() + rest.LEAST_WORK + 0.01
    while time.process_time() < end:
        pass


def test_it_is_done_once_when_work_is_over(clock: Clock, given: list[float]) -> None:
    one = rest.Rest(clock, 10)
    work()
    one.after_work()
    clock.pass_by(6)
    one.after_work()
    clock.pass_by(6)
    assert given == []
    clock.pass_by(6)
    assert len(given) == 1
    one.after_work()  # too little
    clock.pass_by(60)
    assert len(given) == 1
    work()
    one.after_work()
    clock.pass_by(60)
    assert len(given) == 2


def test_after_its_end_nothing_is_done(clock: Clock, given: list[float]) -> None:
    one = rest.Rest(clock, 10)
    work()
    one.after_work()
    one.close()
    clock.pass_by(60)
    assert given == []
