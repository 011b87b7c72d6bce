"""What a reader sees: following, rotation, tail, since, until, damage, a race with the writer."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.keeper import log_reader
from wherry.keeper.lines import LineCutter, Lines, timestamp
from wherry.keeper.log_reader import BOTH, Chunk, LogReader, Overtaken, Segments, end_position, position_at
from wherry.keeper.log_writer import LogWriter, segments_of
from wherry.keeper.records import BLOCK, STDERR, STDOUT, Position
from wherry.keeper.tail import start_of_tail
from wherry.linux.fd import Fd

OUT = frozenset({STDOUT})
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        return self.now


def writer_of(directory: Path, clock: Clock | None = None, **options: int) -> LogWriter:
    return LogWriter(directory, now=clock or Clock(), **options)


def append(writer: LogWriter, data: bytes, stream: int = STDOUT) -> None:
    assert writer.append(stream, memoryview(data)) == len(data)


def pieces(reader: LogReader) -> list[tuple[int, bytes]]:
    return [(chunk.stream, bytes(chunk.data)) for chunk in reader.chunks()]


def lines_of(reader: LogReader) -> list[tuple[int, bytes]]:
    """All lines, in the order in which they ended."""
    cutter = LineCutter()
    runs = [run for chunk in reader.chunks() for run in cutter.feed(chunk)] + list(cutter.flush())
    return [(run.stream, line) for run in runs for line in run.split()]


def test_a_log_that_does_not_exist_yet_is_empty_and_can_be_followed(tmp_path: Path) -> None:
    with LogReader(tmp_path / "log") as reader:
        assert pieces(reader) == []
        writer = writer_of(tmp_path / "log")
        append(writer, b"first\n")
        assert pieces(reader) == [(STDOUT, b"first\n")]
        assert pieces(reader) == []
        append(writer, b"second\n", STDERR)
        assert pieces(reader) == [(STDERR, b"second\n")]
        assert reader.position == writer.position
        writer.close()


def test_a_reader_begins_at_a_position(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    append(writer, b"before\n")
    position = writer.position
    append(writer, b"after\n")
    assert pieces(LogReader(tmp_path, position)) == [(STDOUT, b"after\n")]
    assert end_position(tmp_path) == writer.position
    assert pieces(LogReader(tmp_path, end_position(tmp_path))) == []
    writer.close()


def test_following_goes_on_across_rotation(tmp_path: Path) -> None:
    writer = writer_of(tmp_path, max_size=4096)
    reader = LogReader(tmp_path)
    seen = b""
    for number in range(3000):
        append(writer, b"line %d\n" % number)
        if number % 7 == 0:
            seen += b"".join(data for _, data in pieces(reader))
    seen += b"".join(data for _, data in pieces(reader))
    assert seen == b"".join(b"line %d\n" % number for number in range(3000))
    assert len(segments_of(tmp_path)) > 5
    writer.close()


def test_a_segment_that_is_deleted_is_read_to_its_end(tmp_path: Path) -> None:
    writer = writer_of(tmp_path, max_size=4096, max_files=2)
    append(writer, b"a" * 1000 + b"\n")
    reader = LogReader(tmp_path)
    assert len(pieces(reader)) == 1
    append(writer, b"b" * 1000 + b"\n")
    append(writer, b"".join(b"%04d" % n + b"c" * 996 + b"\n" for n in range(20)))
    rest = reader.read()
    assert bytes(rest[0].data) == b"b" * 1000 + b"\n"
    with pytest.raises(Overtaken):
        reader.read()
    assert pieces(reader)[-1][1].endswith(b"0019" + b"c" * 996 + b"\n")
    writer.close()


def test_a_position_that_was_rotated_away_means_the_oldest_that_is_left(tmp_path: Path) -> None:
    writer = writer_of(tmp_path, max_size=4096, max_files=2)
    for number in range(1000):
        append(writer, b"line %d\n" % number)
    seen = b"".join(data for _, data in pieces(LogReader(tmp_path, Position(1, 500))))
    assert seen.endswith(b"line 999\n")
    assert seen.startswith(b"line ")
    writer.close()


def test_streams_are_selected(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    append(writer, b"o1\n")
    append(writer, b"e1\n", STDERR)
    append(writer, b"o2\n")
    assert pieces(LogReader(tmp_path, streams=OUT)) == [(STDOUT, b"o1\n"), (STDOUT, b"o2\n")]
    assert pieces(LogReader(tmp_path, streams=frozenset({STDERR}))) == [(STDERR, b"e1\n")]
    writer.close()


def test_since_and_until_choose_by_time(tmp_path: Path) -> None:
    clock = Clock()
    writer = writer_of(tmp_path, clock, max_size=4096)
    for second in range(1, 2000):
        clock.now = second * 1_000_000_000
        append(writer, b"%d\n" % second)
    since, until = 700_000_000_000, 720_000_000_000
    start = position_at(tmp_path, since)
    assert start > Position(2, 0), "segments before are not read"
    reader = LogReader(tmp_path, start, since=since, until=until)
    assert [data for _, data in pieces(reader)] == [b"%d\n" % second for second in range(700, 721)]
    assert reader.finished
    assert position_at(tmp_path, 0) <= Position(1, 0)
    assert position_at(tmp_path, clock.now + 1).segment == segments_of(tmp_path)[-1]
    writer.close()


def test_since_finds_its_block_within_a_segment(tmp_path: Path) -> None:
    clock = Clock()
    writer = writer_of(tmp_path, clock)
    for second in range(100):
        clock.now = second * 1_000_000_000
        append(writer, b"%08d" % second * 8192)
    start = position_at(tmp_path, 50_000_000_000)
    assert 40 * 65536 < start.offset <= 50 * 65560
    reader = LogReader(tmp_path, start, since=50_000_000_000)
    assert sum(len(data) for _, data in pieces(reader)) == 50 * 65536
    assert position_at(tmp_path / "none", 5) == Position(0, 0)
    writer.close()


class Write(NamedTuple):
    stream: int
    data: bytes


WRITES = st.lists(
    st.builds(Write, st.sampled_from([STDOUT, STDERR]), st.text("ab\n", min_size=1, max_size=12).map(str.encode)),
    max_size=40,
)


def written(directory: Path, writes: list[Write], **options: int) -> None:
    for path in directory.iterdir():
        path.unlink()
    writer = writer_of(directory, **options)
    for write in writes:
        append(writer, write.data, write.stream)
    writer.close()


@QUICK
@given(writes=WRITES, wanted=st.integers(0, 12), streams=st.sampled_from([BOTH, OUT, frozenset({STDERR})]))
def test_tail_gives_exactly_the_last_lines(
    tmp_path: Path, writes: list[Write], wanted: int, streams: frozenset[int]
) -> None:
    written(tmp_path, writes)
    expected = by_order_of_end(writes, streams)[-wanted:] if wanted else []
    found = lines_of(LogReader(tmp_path, start_of_tail(tmp_path, wanted, streams), streams=streams))
    for stream in streams:
        assert [line for of, line in found if of == stream] == [line for of, line in expected if of == stream]


def by_order_of_end(writes: list[Write], streams: frozenset[int]) -> list[tuple[int, bytes]]:
    """What the reader should find, by a simpler way: all lines, ordered by where their last byte was written."""
    lines: list[tuple[int, int, bytes]] = []
    for stream in streams:
        text = b"".join(write.data for write in writes if write.stream == stream)
        places = [at for at, write in enumerate(writes) if write.stream == stream for _ in write.data]
        end = 0
        for line in text.splitlines(keepends=True):
            end += len(line)
            lines.append((places[end - 1], stream, line))
    return [(stream, line) for _, stream, line in sorted(lines, key=lambda line: line[0])]


def test_tail_finds_a_line_that_began_long_before(tmp_path: Path) -> None:
    writer = writer_of(tmp_path, max_size=8192)
    append(writer, b"nothing to do with it\n", STDERR)
    append(writer, b"the beginning ", STDERR)
    for number in range(2000):
        append(writer, b"line %d\n" % number)
    append(writer, b"and the end\n", STDERR)
    reader = LogReader(tmp_path, start_of_tail(tmp_path, 2))
    assert lines_of(reader) == [(STDOUT, b"line 1999\n"), (STDERR, b"the beginning and the end\n")]
    writer.close()


def test_tail_of_a_large_log_reads_only_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writer_of(tmp_path)
    for _ in range(40):
        append(writer, (b"x" * 70 + b"\n") * 4000)
    writer.close()
    read = 0
    pread = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        data = pread(fd, size, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    start = start_of_tail(tmp_path, 1000)
    assert read <= 2 * BLOCK
    monkeypatch.undo()
    assert len(lines_of(LogReader(tmp_path, start))) == 1000


def test_tail_of_everything_begins_at_the_beginning(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    append(writer, b"1\n2\n3\n")
    writer.close()
    assert len(lines_of(LogReader(tmp_path, start_of_tail(tmp_path, 100)))) == 3
    assert lines_of(LogReader(tmp_path / "none", start_of_tail(tmp_path / "none", 3))) == []


@QUICK
@given(writes=WRITES, damage=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8))
def test_damage_is_survived_by_reader_tail_and_writer(
    tmp_path: Path, writes: list[Write], damage: list[tuple[int, int]]
) -> None:
    written(tmp_path, writes)
    segment = tmp_path / "1.log"
    if segment.exists():
        data = bytearray(segment.read_bytes())
        for at, value in damage:
            data[at % len(data)] = value
        segment.write_bytes(data)
    size = segment.stat().st_size if segment.exists() else 0
    assert sum(len(data) for _, data in pieces(LogReader(tmp_path))) <= size
    lines_of(LogReader(tmp_path, start_of_tail(tmp_path, 3)))
    position_at(tmp_path, 5)
    writer = writer_of(tmp_path)
    append(writer, b"after the damage\n")
    writer.close()
    assert pieces(LogReader(tmp_path))[-1][1].endswith(b"after the damage\n")


@QUICK
@given(garbage=st.binary(max_size=3000))
def test_garbage_in_place_of_a_segment_is_survived(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "1.log").write_bytes(garbage)
    pieces(LogReader(tmp_path))
    start_of_tail(tmp_path, 5)
    position_at(tmp_path, 5)
    end_position(tmp_path)


def test_damage_costs_no_more_than_the_rest_of_its_block(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    for number in range(20_000):
        append(writer, b"%069d\n" % number)
    writer.close()
    with (tmp_path / "1.log").open("r+b") as file:
        file.seek(BLOCK // 2)
        file.write(os.urandom(200))
    seen = len(lines_of(LogReader(tmp_path)))
    assert 20_000 - BLOCK // 80 < seen < 20_000


def test_bytes_that_look_like_records_are_only_bytes(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    append(writer, b"x\n")
    record = (tmp_path / "1.log").read_bytes()
    for _ in range(3):
        append(writer, record * (BLOCK // len(record)))
    writer.close()
    sent = b"x\n" + record * (BLOCK // len(record)) * 3
    assert b"".join(data for _, data in pieces(LogReader(tmp_path))) == sent
    assert LogWriter(tmp_path).position == end_position(tmp_path)


def test_a_reader_that_races_the_writer_sees_every_byte_once(tmp_path: Path) -> None:
    sent = [b"%06d " % number + b"y" * (number * 37 % 3000) + b"\n" for number in range(4000)]

    def write() -> None:
        writer = LogWriter(tmp_path, max_size=1024 * 1024)
        for line in sent:
            append(writer, line)
        writer.close()

    thread = threading.Thread(target=write)
    seen: list[bytes] = []
    reader = LogReader(tmp_path)
    thread.start()
    while thread.is_alive():
        seen += [data for _, data in pieces(reader)]
        start_of_tail(tmp_path, 3)
    thread.join()
    seen += [data for _, data in pieces(reader)]
    assert b"".join(seen) == b"".join(sent)


@QUICK
@given(cuts=st.lists(st.integers(1, 30), max_size=30), longest=st.integers(3, 50))
def test_lines_do_not_depend_on_how_they_arrived(cuts: list[int], longest: int) -> None:
    text = b"first\n\nthird\r\nfourth is rather long, as lines go\nlast"
    cutter = LineCutter(longest=longest)
    runs: list[Lines] = []
    at = 0
    for cut in [*cuts, len(text)]:
        runs += cutter.feed(Chunk(STDOUT, at, memoryview(text[at : at + cut]))) if text[at : at + cut] else []
        at += cut
    runs += cutter.flush()
    assert b"".join(run.data for run in runs) == text
    for former, run in pairwise(runs):
        assert run.continues == (not former.data.endswith(b"\n"))


def test_lines_are_joined_by_stream_and_have_the_time_of_their_beginning() -> None:
    cutter = LineCutter()
    fed = [(STDOUT, 1, b"he"), (STDERR, 2, b"wor"), (STDOUT, 3, b"llo\nmore\nand"), (STDERR, 4, b"ld\n")]
    runs = [run for stream, at, data in fed for run in cutter.feed(Chunk(stream, at, memoryview(data)))]
    assert runs == [Lines(STDOUT, 1, b"hello\n"), Lines(STDOUT, 3, b"more\n"), Lines(STDERR, 2, b"world\n")]
    assert list(cutter.flush()) == [Lines(STDOUT, 3, b"and")]
    assert list(cutter.flush()) == []


def test_a_timestamp_stands_before_every_line_and_no_part_of_one() -> None:
    stamp = b"1970-01-01T00:00:01.000000005Z "
    assert timestamp(1_000_000_005) == stamp
    assert Lines(STDOUT, 1_000_000_005, b"a\nb\n").stamped() == stamp + b"a\n" + stamp + b"b\n"
    assert Lines(STDOUT, 1_000_000_005, b"rest\n", continues=True).stamped() == b"rest\n"
    assert Lines(STDOUT, 1_000_000_005, b"no end").stamped() == stamp + b"no end"


def test_a_carriage_return_ends_no_line() -> None:
    assert Lines(STDOUT, 0, b"10%\r20%\r\ndone\n").split() == [b"10%\r20%\r\n", b"done\n"]
    assert Lines(STDOUT, 0, b"a\rb").split() == [b"a\rb"]


def test_who_is_overtaken_is_told_and_may_go_on(tmp_path: Path) -> None:
    writer = writer_of(tmp_path, max_size=4096, max_files=2)
    append(writer, b"first\n")
    reader = LogReader(tmp_path)
    assert pieces(reader) == [(STDOUT, b"first\n")]
    append(writer, b"".join(b"%04d" % n + b"c" * 995 + b"\n" for n in range(20)))
    with pytest.raises(Overtaken, match="dropped by the rotation"):
        pieces(reader)
    assert pieces(reader)[-1][1].endswith(b"0019" + b"c" * 995 + b"\n")
    writer.close()


@pytest.mark.parametrize("before", [0, 5, 10])
def test_who_began_before_he_read_is_told_of_all_that_was_dropped_since(tmp_path: Path, before: int) -> None:
    writer = writer_of(tmp_path, max_size=4096, max_files=2)
    if before:
        append(writer, b"".join(b"%04d" % n + b"b" * 995 + b"\n" for n in range(before)))
    reader = LogReader(tmp_path, end_position(tmp_path))
    reader.begin()
    append(writer, b"".join(b"%04d" % n + b"c" * 995 + b"\n" for n in range(20)))
    with pytest.raises(Overtaken, match="dropped by the rotation"):
        pieces(reader)
    assert pieces(reader)[-1][1].endswith(b"0019" + b"c" * 995 + b"\n")
    reader.close()
    writer.close()


def test_who_began_before_anything_was_written_misses_nothing_when_nothing_was_dropped(tmp_path: Path) -> None:
    reader = LogReader(tmp_path / "log", end_position(tmp_path / "log"))
    reader.begin()
    writer = writer_of(tmp_path / "log", max_size=4096, max_files=9)
    sent = b"".join(b"%04d" % n + b"c" * 995 + b"\n" for n in range(20))
    append(writer, sent)
    assert b"".join(data for _, data in pieces(reader)) == sent
    reader.close()
    writer.close()


def test_a_file_of_somebody_elses_between_the_segments_is_no_loss(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    append(writer, b"before\n")
    writer.close()
    reader = LogReader(tmp_path)
    assert pieces(reader) == [(STDOUT, b"before\n")]
    (tmp_path / "2.log").write_bytes(b"something else altogether, and long enough\n")
    writer = writer_of(tmp_path)
    append(writer, b"after\n")
    assert segments_of(tmp_path) == [1, 2, 3]
    assert pieces(reader) == [(STDOUT, b"after\n")]
    writer.close()


@pytest.mark.parametrize("seen", [0, 1, 500])
def test_what_is_kept_is_read_after_the_directory_has_gone(tmp_path: Path, seen: int) -> None:
    writer = writer_of(tmp_path / "log", max_size=4096)
    sent = b"".join(b"line %d\n" % number for number in range(3000))
    for line in sent.splitlines(keepends=True):
        append(writer, line)
    writer.close()
    log = Segments(tmp_path / "log")
    reader = LogReader(log)
    got = b"".join(bytes(chunk.data) for _ in range(seen) for chunk in reader.read())
    log.keep(reader.held)
    shutil.rmtree(tmp_path / "log")
    assert got + b"".join(data for _, data in pieces(reader)) == sent
    reader.close()
    log.close()


def test_what_could_not_be_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writer_of(tmp_path / "log", max_size=4096)
    for number in range(3000):
        append(writer, b"line %d\n" % number)
    writer.close()
    log = Segments(tmp_path / "log")
    reader = LogReader(log)
    reader.read()
    real = log_reader.open_segment

    def few(directory: str, number: int) -> Fd:
        if number > 3:
            raise OSError(errno.EMFILE, "too many")
        return real(directory, number)

    monkeypatch.setattr(log_reader, "open_segment", few)
    log.keep(reader.held)
    with pytest.raises(Overtaken):
        pieces(reader)
    assert reader.held == 3
    reader.close()
    log.close()


def test_who_follows_a_log_that_is_cut_begins_it_anew(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    reader = LogReader(tmp_path)
    append(writer, b"a long line before it was cut\n" * 20)
    assert len(pieces(reader)) == 1
    os.truncate(tmp_path / "1.log", 0)
    assert pieces(reader) == []
    append(writer, b"after\n")
    assert pieces(reader) == [(STDOUT, b"after\n")]
    assert pieces(LogReader(tmp_path)) == [(STDOUT, b"after\n")]
    writer.close()


def test_a_log_cut_at_the_moment_of_a_write_is_lost_for_a_block_and_not_for_good(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    append(writer, b"x" * 100_000 + b"\n")
    end = writer.position.offset
    os.truncate(tmp_path / "1.log", 0)
    os.truncate(tmp_path / "1.log", end)  # as if what came next had been written there: zeros before it
    for number in range(20_000):
        append(writer, b"line %d\n" % number)
    assert lines_of(LogReader(tmp_path))[-1] == (STDOUT, b"line 19999\n")
    writer.close()
