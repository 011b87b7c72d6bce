"""Output while the disk is full or broken; and the loop that goes on whatever happens."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.keeper import loop as loop_module
from wherry.keeper.logreader import LogReader
from wherry.keeper.logs import LogWriter
from wherry.keeper.loop import Loop
from wherry.keeper.records import STDERR, STDOUT
from wherry.keeper.sink import Sink
from wherry.keeper.streams import Output
from wherry.linux.fd import Fd


class MoodyWriter(LogWriter):
    """A log on a disk that the test fills and empties."""

    trouble = 0

    def append(self, stream: int, data: memoryview) -> int:
        self._fail_if_asked()
        return super().append(stream, data)

    def append_from(self, stream: int, pipe: int, count: int) -> int | None:
        self._fail_if_asked()
        return super().append_from(stream, pipe, count)

    def note_dropped(self, count: int) -> None:
        self._fail_if_asked()
        super().note_dropped(count)

    def _fail_if_asked(self) -> None:
        if self.trouble:
            raise OSError(self.trouble, os.strerror(self.trouble))


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def sink_in(directory: Path, loop: Loop, *, blocking: bool = True) -> tuple[Sink, MoodyWriter]:
    writer = MoodyWriter(directory)
    return Sink(writer, loop, blocking=blocking, grew=lambda: None), writer


def text_of(directory: Path) -> list[tuple[int, bytes, int]]:
    return [(chunk.stream, bytes(chunk.data), chunk.dropped) for chunk in LogReader(directory).chunks()]


def test_a_blocking_sink_keeps_what_it_took_and_writes_it_in_order(tmp_path: Path, loop: Loop) -> None:
    sink, writer = sink_in(tmp_path, loop)
    sink.take(STDOUT, memoryview(b"one\n"))
    writer.trouble = errno.ENOSPC
    sink.take(STDOUT, memoryview(b"two\n"))
    sink.take(STDERR, memoryview(b"three\n"))
    assert sink.blocked
    resumed: list[bool] = []
    sink.on_room.append(lambda: resumed.append(True))
    loop.run_once(loop._patience())
    assert not resumed, "the disk is still full"
    writer.trouble = 0
    while not resumed:
        loop.run_once(loop._patience())
    assert not sink.blocked
    assert text_of(tmp_path) == [(STDOUT, b"one\n", 0), (STDOUT, b"two\n", 0), (STDERR, b"three\n", 0)]
    sink.close()


def test_streams_are_not_read_while_the_disk_is_full(tmp_path: Path, loop: Loop) -> None:
    sink, writer = sink_in(tmp_path, loop)
    end, other = os.pipe()
    output = Output(Fd(end), STDOUT, sink, loop, memoryview(bytearray(4096)))
    output.start()
    writer.trouble = errno.EDQUOT
    os.write(other, b"first\n")
    loop.run_once(1)
    os.write(other, b"second\n")
    for _ in range(3):
        loop.run_once(0)
    assert sink.blocked
    assert not sink.waiting, "it stays in the pipe, where a dying keeper cannot lose it"
    writer.trouble = 0
    while not text_of(tmp_path):
        loop.run_once(loop._patience())
    assert b"".join(data for _, data, _ in text_of(tmp_path)) == b"first\nsecond\n"
    output.close()
    sink.close()
    os.close(other)


def test_a_sink_that_does_not_block_counts_what_it_drops(tmp_path: Path, loop: Loop) -> None:
    sink, writer = sink_in(tmp_path, loop, blocking=False)
    sink.take(STDOUT, memoryview(b"one\n"))
    writer.trouble = errno.ENOSPC
    sink.take(STDOUT, memoryview(b"lost\n"))
    sink.take(STDERR, memoryview(b"lost too\n"))
    assert not sink.blocked
    assert sink.dropped == 14
    writer.trouble = 0
    sink.take(STDOUT, memoryview(b"two\n"))
    assert text_of(tmp_path) == [(STDOUT, b"one\n", 0), (0, b"", 14), (STDOUT, b"two\n", 0)]
    sink.close()


def test_a_broken_disk_blocks_nobody_and_is_told_once(
    tmp_path: Path, loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    sink, writer = sink_in(tmp_path, loop)
    writer.trouble = errno.EIO
    for _ in range(3):
        sink.take(STDOUT, memoryview(b"lost\n"))
    assert not sink.blocked
    assert sink.dropped == 15
    assert capsys.readouterr().err.count("cannot be written") == 1
    writer.trouble = 0
    sink.take(STDOUT, memoryview(b"works again\n"))
    sink.close()
    assert [dropped for _, _, dropped in text_of(tmp_path)] == [15, 0]


def test_giving_up_leaves_a_note(tmp_path: Path, loop: Loop) -> None:
    sink, writer = sink_in(tmp_path, loop)
    writer.trouble = errno.ENOSPC
    sink.take(STDOUT, memoryview(b"waits\n"))
    writer.trouble = 0
    sink.give_up()
    assert text_of(tmp_path) == [(0, b"", 6)]


# --- the loop -----------------------------------------------------------------------------------------------------


def test_a_fault_in_a_handler_is_written_down_and_others_are_served(
    loop: Loop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "PAUSE_AFTER_FAULT", 0.01)
    pipes = [os.pipe() for _ in range(2)]
    calls: list[str] = []

    def faulty(_events: int) -> None:
        calls.append("faulty")
        raise ZeroDivisionError

    def sound(_events: int) -> None:
        calls.append("sound")
        os.read(pipes[1][0], 10)

    loop.watch(pipes[0][0], faulty)
    loop.watch(pipes[1][0], sound)
    for _, end in pipes:
        os.write(end, b"x")
    for _ in range(3):
        loop.run_once(0)
    assert sorted(calls[:2]) == ["faulty", "sound"]
    assert calls.count("faulty") == 1, "it is left alone for a while"
    assert "ZeroDivisionError" in capsys.readouterr().err
    while calls.count("faulty") < 2:
        loop.run_once(loop._patience())
    for fd in (fd for pipe in pipes for fd in pipe):
        loop.unwatch(fd)
        os.close(fd)


def test_a_handler_that_closes_its_descriptor_and_fails_is_survived(loop: Loop) -> None:
    end, other = os.pipe()

    def faulty(_events: int) -> None:
        os.close(end)
        raise ZeroDivisionError

    loop.watch(end, faulty)
    os.write(other, b"x")
    loop.run_once(1)
    loop.run_once(0)
    os.close(other)


def test_what_was_ready_on_a_closed_descriptor_is_not_told_to_its_numbers_next_owner(loop: Loop) -> None:
    pipes = [os.pipe() for _ in range(2)]
    told: list[str] = []

    def replace_other(mine: int) -> None:
        """Whoever comes first closes the other's descriptor, whose event waits in this round, and takes its number."""
        os.read(mine, 1)
        other = pipes[0][0] if mine == pipes[1][0] else pipes[1][0]
        loop.unwatch(other)
        os.close(other)
        fresh, end = os.pipe()
        assert fresh == other
        pipes.append((end, end))
        loop.watch(fresh, lambda _: told.append("stale"))

    for reading, writing in list(pipes):
        loop.watch(reading, lambda _, fd=reading: replace_other(fd))
        os.write(writing, b"x")
    loop.run_once(1)
    assert told == []
    for fd in {fd for pipe in pipes for fd in pipe}:
        loop.unwatch(fd)
        os.close(fd)


def test_timers_run_in_order_and_can_be_cancelled(loop: Loop) -> None:
    order: list[int] = []
    loop.later(0.02, lambda: order.append(2))
    loop.later(0.01, lambda: order.append(1))
    loop.later(0.0, lambda: order.append(0)).cancel()
    while len(order) < 2:
        loop.run_once(loop._patience())
    assert order == [1, 2]
    assert loop._patience() == -1, "without timers there is no reason to wake up"


def test_stop_ends_the_loop_after_its_round(loop: Loop) -> None:
    rounds: list[int] = []
    loop.after_round = lambda: rounds.append(1)
    loop.later(0, loop.stop)
    loop.run()
    assert rounds == [1]
