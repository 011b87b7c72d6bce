"""Output while the disk is full or broken; and the loop that goes on whatever happens."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from wherry.keeper import loop as loop_module
from wherry.keeper.log_reader import LogReader
from wherry.keeper.log_writer import LogWriter
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
    assert capsys.readouterr().err.count("cannot write a log") == 1
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


def held_sink(directory: Path, loop: Loop, *, blocking: bool = True) -> Sink:
    writer = LogWriter(directory, max_size=4096, max_files=2)
    sink = Sink(writer, loop, blocking=blocking, grew=lambda: None)
    sink.hold(0)
    return sink


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(b"%099d\n" % number for number in range(first, first + count))


@pytest.mark.parametrize("blocking", [True, False])
def test_a_held_log_at_its_bound_waits_for_its_reader_and_for_nothing_else(
    tmp_path: Path, loop: Loop, blocking: bool
) -> None:
    sink = held_sink(tmp_path, loop, blocking=blocking)
    sent = lines(200)
    sink.take(STDOUT, memoryview(sent))
    assert sink.blocked
    loop.run_once(0.25)  # what was not written for want of the reader, might have been for want of room: one look
    assert loop._patience() == -1, "nobody looks again and again"
    seen = b""
    reader = LogReader(tmp_path)
    while sink.blocked:
        seen += b"".join(bytes(chunk.data) for chunk in reader.read())
        sink.hold(reader.held)
    assert seen + b"".join(bytes(chunk.data) for chunk in reader.chunks()) == sent
    assert sink.dropped == 0
    reader.close()
    sink.close()


@pytest.mark.parametrize("long", [1, 30, 5000])
def test_a_pipe_is_left_alone_while_its_log_is_held(tmp_path: Path, loop: Loop, long: int) -> None:
    sink = held_sink(tmp_path, loop)
    end, other = os.pipe()
    os.set_blocking(other, False)
    output = Output(Fd(end), STDOUT, sink, loop, memoryview(bytearray(1024 * 1024)))
    output.start()
    sent, seen = bytearray(), bytearray()
    reader = LogReader(tmp_path)
    for _ in range(100):
        with suppress(BlockingIOError):
            while True:
                line = b"%d" % len(sent) * long + b"\n"
                sent += line[: os.write(other, line)]
        while not sink.blocked:
            loop.run_once(0)
        loop.run_once(0)
        assert not sink.waiting, "it stays in the pipe, where a dying keeper does not lose it"
        assert loop._patience() == -1
        seen += b"".join(bytes(chunk.data) for chunk in reader.read())
        sink.hold(reader.held)
    while len(seen) < len(sent):
        loop.run_once(0)
        seen += b"".join(bytes(chunk.data) for chunk in reader.read())
        sink.hold(reader.held)
    assert seen == sent
    output.close()
    reader.close()
    sink.close()
    os.close(other)


def test_a_terminal_is_left_alone_while_its_log_is_held(tmp_path: Path, loop: Loop) -> None:
    sink = held_sink(tmp_path, loop)
    master, slave = os.openpty()
    os.set_blocking(slave, False)
    output = Output(Fd(master), STDOUT, sink, loop, memoryview(bytearray(1024 * 1024)))
    output.start()
    written = 0
    while not sink.blocked:
        with suppress(BlockingIOError):
            written += os.write(slave, lines(1, written // 100))
        loop.run_once(0)
    assert not sink.waiting, "it stays in the terminal"
    loop.run_once(0)
    assert loop._patience() == -1
    sink.hold(None)
    while not text_of(tmp_path)[-1][1].replace(b"\r", b"").endswith(lines(1, written // 100 - 1)):
        loop.run_once(1)
    output.close()
    sink.close()
    os.close(slave)


def test_letting_go_writes_what_waits(tmp_path: Path, loop: Loop) -> None:
    sink = held_sink(tmp_path, loop)
    sink.take(STDOUT, memoryview(lines(200)))
    sink.take(STDERR, memoryview(b"last\n"))
    resumed: list[bool] = []
    sink.on_room.append(lambda: resumed.append(True))
    sink.hold(None)
    assert resumed
    assert text_of(tmp_path)[-1] == (STDERR, b"last\n", 0)
    sink.close()


def test_the_rest_of_a_process_that_ended_is_written_at_once_and_costs_no_reader_anything(
    tmp_path: Path, loop: Loop
) -> None:
    sink = held_sink(tmp_path, loop)
    sink.take(STDOUT, memoryview(lines(200)))
    assert sink.blocked
    sink.finish()
    assert not sink.blocked
    assert b"".join(data for _, data, _ in text_of(tmp_path)) == lines(200)
    sink.close()


def test_a_hold_for_want_of_knowing_better_ends_by_itself(tmp_path: Path, loop: Loop) -> None:
    sink = held_sink(tmp_path, loop)
    sink.hold_all(0.01)
    sink.take(STDOUT, memoryview(lines(200)))
    while sink.blocked:
        loop.run_once(loop._patience())
    assert sink.held is None
    sink.hold_all(0.01)
    sink.hold(1)
    assert loop._patience() == -1, "who knows better has spoken"
    assert sink.held == 1
    sink.close()
