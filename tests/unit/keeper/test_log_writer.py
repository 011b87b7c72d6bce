"""What the writer leaves on disk: segments, rotation, repair, a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from wherry.keeper import log_writer
from wherry.keeper.lines import LineCutter
from wherry.keeper.log_reader import Chunk, LogReader
from wherry.keeper.log_writer import LogWriter, segments_of
from wherry.keeper.records import (
    BLOCK,
    NOTE,
    RECORD_HEADER,
    SEGMENT_HEADER,
    SMALLEST,
    STDERR,
    STDOUT,
    Position,
    segment_name,
    segment_number,
)


def append(writer: LogWriter, data: bytes, stream: int = STDOUT) -> None:
    assert writer.append(stream, memoryview(data)) == len(data)


def content(directory: Path, stream: int = STDOUT) -> bytes:
    return b"".join(bytes(chunk.data) for chunk in LogReader(directory, streams=frozenset({stream})).chunks())


def test_a_silent_process_has_no_log(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log")
    assert writer.position == Position(1, 0)
    writer.close()
    assert not (tmp_path / "log").exists()


def test_what_is_appended_is_read_back_by_stream(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log")
    append(writer, b"out\n")
    append(writer, b"err\n", STDERR)
    append(writer, b"\x00\xff raw\r\n")
    assert content(tmp_path / "log") == b"out\n\x00\xff raw\r\n"
    assert content(tmp_path / "log", STDERR) == b"err\n"
    writer.close()


def test_the_log_and_its_directory_are_the_owners_only(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log")
    append(writer, b"secret")
    writer.close()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "log/1.log").stat().st_mode & 0o777 == 0o600


def test_no_record_crosses_the_end_of_a_block(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    sent = b""
    for size in (100, BLOCK - 300, 50, BLOCK * 3, 1, BLOCK - SMALLEST, 7):
        piece = os.urandom(size)
        append(writer, piece)
        sent += piece
    writer.close()
    assert content(tmp_path) == sent
    segment = (tmp_path / "1.log").read_bytes()
    for block in range(BLOCK, len(segment), BLOCK):
        assert RECORD_HEADER.unpack_from(segment, block)[2] == 0x5EA1


@pytest.mark.parametrize("left", range(SMALLEST + 3))
def test_a_blocks_last_bytes_are_used_or_left_empty(tmp_path: Path, left: int) -> None:
    writer = LogWriter(tmp_path)
    first = b"a" * (BLOCK - SEGMENT_HEADER.size - RECORD_HEADER.size - left)
    append(writer, first)
    append(writer, b"next")
    writer.close()
    assert content(tmp_path) == first + b"next"
    assert LogWriter(tmp_path).position.offset == (tmp_path / "1.log").stat().st_size


def test_a_segment_is_followed_by_the_next_at_its_size_and_the_oldest_are_dropped(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, max_size=10_000, max_files=3)
    lines = [b"line %06d\n" % number for number in range(10_000)]
    for line in lines:
        append(writer, line)
    writer.close()
    assert len(segments_of(tmp_path)) == 3
    assert all((tmp_path / segment_name(n)).stat().st_size <= 10_000 for n in segments_of(tmp_path))
    kept = content(tmp_path)
    assert b"".join(lines).endswith(kept)
    assert kept.startswith(b"line ")


def test_one_large_write_is_spread_over_segments_at_line_ends(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, max_size=10_000)
    sent = b"".join(b"line %06d\n" % number for number in range(10_000))
    append(writer, sent)
    writer.close()
    assert content(tmp_path) == sent
    assert len(segments_of(tmp_path)) > 10
    assert max((tmp_path / segment_name(n)).stat().st_size for n in segments_of(tmp_path)) <= 10_000
    for number in segments_of(tmp_path):
        data = next(iter(LogReader(tmp_path, Position(number, 0)).chunks())).data
        assert bytes(data).startswith(b"line ")


def test_a_line_longer_than_a_segment_is_cut(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, max_size=5000, max_files=100)
    append(writer, b"x" * 30_000)
    writer.close()
    assert content(tmp_path) == b"x" * 30_000


def test_a_log_is_continued_where_it_ended(tmp_path: Path) -> None:
    first = LogWriter(tmp_path)
    append(first, b"one\n")
    end = first.position
    first.close()
    second = LogWriter(tmp_path)
    assert second.position == end
    append(second, b"two\n")
    second.close()
    assert content(tmp_path) == b"one\ntwo\n"


@pytest.mark.parametrize("cut", range(1, 21))
def test_of_a_torn_record_the_bytes_that_are_there_are_kept(tmp_path: Path, cut: int) -> None:
    writer = LogWriter(tmp_path)
    append(writer, b"whole\n")
    whole = writer.position.offset
    append(writer, b"torn")
    end = writer.position.offset
    writer.close()
    os.truncate(tmp_path / "1.log", end - cut)
    writer = LogWriter(tmp_path)
    kept = b"torn"[: max(4 - cut, 0)]
    assert writer.position == Position(1, end - cut if kept else whole)
    append(writer, b"after\n")
    writer.close()
    assert content(tmp_path) == b"whole\n" + kept + b"after\n"


def test_bytes_are_moved_from_a_pipe(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, max_size=BLOCK * 4)
    end, other = os.pipe()
    sent = b""
    for size in (1, 70, 4096, 60_000, 3, 50_000, 65_536, 65_536, 65_536, 65_536, 9):
        piece = os.urandom(size)
        os.write(other, piece)
        sent += piece
        left = size
        while left:
            moved = writer.append_from(STDOUT, end, left)
            if moved is None:
                moved = writer.append(STDOUT, memoryview(os.read(end, left)))
            assert moved > 0
            left -= moved
    assert content(tmp_path) == sent
    position = writer.position
    assert writer.append_from(STDOUT, end, 100) == 0, "somebody else has emptied it"
    os.write(other, b"less\n")
    assert writer.append_from(STDOUT, end, 100) == 5
    writer.close()
    assert content(tmp_path) == sent + b"less\n"
    assert LogWriter(tmp_path).position == writer.position > position
    os.close(end)
    os.close(other)


def test_bytes_that_do_not_fit_on_the_disk_stay_in_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(tmp_path)
    append(writer, b"before\n")
    end, other = os.pipe()
    os.write(other, b"waiting\n")
    disk = FullDisk(monkeypatch, left=5)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        writer.append_from(STDOUT, end, 8)
    assert (tmp_path / "1.log").stat().st_size == writer.position.offset
    disk.left = 1 << 30
    assert writer.append_from(STDOUT, end, 8) == 8
    writer.close()
    assert content(tmp_path) == b"before\nwaiting\n"
    os.close(end)
    os.close(other)


@pytest.mark.parametrize("size", range(SEGMENT_HEADER.size + 1))
def test_a_torn_segment_header_is_written_again(tmp_path: Path, size: int) -> None:
    writer = LogWriter(tmp_path)
    append(writer, b"lost")
    writer.close()
    os.truncate(tmp_path / "1.log", size)
    writer = LogWriter(tmp_path)
    append(writer, b"kept\n")
    writer.close()
    assert content(tmp_path) == b"kept\n"


def test_zeros_after_a_machines_crash_are_cut_off(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    append(writer, b"whole\n")
    end = writer.position
    writer.close()
    with (tmp_path / "1.log").open("ab") as file:
        file.write(bytes(5000))
    assert LogWriter(tmp_path).position == end
    assert (tmp_path / "1.log").stat().st_size == end.offset


def test_a_foreign_file_is_left_alone_and_the_log_goes_on_behind_it(tmp_path: Path) -> None:
    (tmp_path / "7.log").write_bytes(b"not a segment of ours, but somebody's file")
    (tmp_path / "notes.txt").write_text("nor this")
    writer = LogWriter(tmp_path)
    append(writer, b"kept\n")
    writer.close()
    assert writer.position.segment == 8
    assert content(tmp_path) == b"kept\n"
    assert (tmp_path / "7.log").read_bytes().startswith(b"not a segment")


def test_a_link_in_place_of_a_segment_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "log").mkdir()
    (tmp_path / "log/1.log").symlink_to(victim)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        LogWriter(tmp_path / "log")
    assert victim.read_text() == "precious"


def test_whether_a_stream_is_within_a_line_survives_reopening(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    append(writer, b"whole\n")
    append(writer, b"unfini", STDERR)
    writer.close()
    writer = LogWriter(tmp_path)
    append(writer, b"next\n")
    append(writer, b"shed\n", STDERR)
    writer.close()
    cutter = LineCutter()
    lines = [lines.data for chunk in LogReader(tmp_path).chunks() for lines in cutter.feed(chunk)]
    assert lines == [b"whole\n", b"next\n", b"unfinished\n"]


class FullDisk:
    """Makes the writer's system call behave as on a disk with so many bytes left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        self._write = os.pwritev
        monkeypatch.setattr(log_writer.os, "pwritev", self.write)

    def write(self, fd: int, parts: Sequence[bytes], offset: int) -> int:
        data = b"".join(parts)[: self.left]
        if not data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= len(data)
        return self._write(fd, [data], offset)


def test_on_a_full_disk_nothing_is_stored_twice_or_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(tmp_path)
    append(writer, b"before\n")
    disk = FullDisk(monkeypatch, left=10)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        writer.append(STDOUT, memoryview(b"a longer line\n"))
    assert content(tmp_path) == b"before\n"
    disk.left = 1 << 30
    append(writer, b"a longer line\n")
    writer.close()
    assert content(tmp_path) == b"before\na longer line\n"


def test_of_a_large_write_the_records_that_fit_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(tmp_path)
    disk = FullDisk(monkeypatch, left=BLOCK + BLOCK // 2)
    sent = os.urandom(3 * BLOCK)
    stored = writer.append(STDOUT, memoryview(sent))
    assert stored == BLOCK - SEGMENT_HEADER.size - RECORD_HEADER.size
    assert content(tmp_path) == sent[:stored]
    disk.left = 1 << 30
    append(writer, sent[stored:])
    writer.close()
    assert content(tmp_path) == sent


def test_a_full_disk_takes_the_oldest_segment_only_if_rotation_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_after_two(files: int | None) -> tuple[LogWriter, FullDisk]:
        writer = LogWriter(tmp_path / str(files), max_size=4096, max_files=files)
        append(writer, b"x" * 6000)
        with monkeypatch.context() as patch:
            return writer, FullDisk(patch, left=0)

    writer, _ = full_after_two(2)
    disk = FullDisk(monkeypatch, left=0)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        writer.append(STDOUT, memoryview(b"more"))
    assert segments_of(tmp_path / "2") == [2], "it was made room for, and that did not help here"
    disk.left = 1 << 30
    unlimited, _ = full_after_two(None)
    disk.left = 0
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        unlimited.append(STDOUT, memoryview(b"more"))
    assert segments_of(tmp_path / "None") == [1, 2]
    disk.left = 1 << 30
    writer.close()
    unlimited.close()


def test_a_note_says_how_much_was_dropped(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    append(writer, b"before\n")
    writer.note_dropped(12345)
    append(writer, b"after\n")
    writer.close()
    found = [Chunk(c.stream, 0, c.data, c.dropped) for c in LogReader(tmp_path).chunks()]
    assert [(c.stream, bytes(c.data), c.dropped) for c in found] == [
        (STDOUT, b"before\n", 0),
        (NOTE, b"", 12345),
        (STDOUT, b"after\n", 0),
    ]


def test_a_log_whose_directory_was_removed_is_begun_again(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", max_size=4096)
    append(writer, b"x" * 3000)
    for path in (tmp_path / "log").iterdir():
        path.unlink()
    (tmp_path / "log").rmdir()
    append(writer, b"y" * 3000)
    writer.close()
    assert b"y" in content(tmp_path / "log")


@pytest.mark.parametrize("name", ["0.log", "01.log", "-1.log", "1.log.gz", "x.log", ".log", "1", "٣.log", "1.0.log"])
def test_other_files_are_no_segments(name: str) -> None:
    assert segment_number(name) is None


def test_a_segments_name_has_its_number() -> None:
    assert segment_number(segment_name(12)) == 12


def test_a_segment_that_a_reader_has_not_come_to_is_not_dropped(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, max_size=4096, max_files=2)
    writer.held = 1
    line = memoryview(b"x" * 999 + b"\n")
    for _ in range(9):
        append(writer, bytes(line))
    with pytest.raises(BlockingIOError) as refused:
        writer.append(STDOUT, line)
    assert refused.value.errno == log_writer.HELD
    assert segments_of(tmp_path) == [2, 3], "the first one the reader has open; it may go"
    assert len(content(tmp_path)) == 6000, "and not one line of what is held was cut"
    writer.held = 2
    assert writer.append(STDOUT, line) == len(line), "he has come along"
    writer.held = None
    for _ in range(20):
        append(writer, bytes(line))
    assert len(segments_of(tmp_path)) == 2
    writer.close()


@pytest.mark.parametrize("files", [1, 2, 5])
def test_a_log_that_may_not_wait_grows_beyond_its_bound_instead(tmp_path: Path, files: int) -> None:
    writer = LogWriter(tmp_path, max_size=4096, max_files=files)
    writer.held, writer.may_wait = 0, False
    sent = b"".join(b"%07d" % number + b"x" * 992 + b"\n" for number in range(50))
    append(writer, sent)
    assert content(tmp_path) == sent
    writer.held = None
    append(writer, b"y" * 4000)
    assert len(segments_of(tmp_path)) == files, "the surplus goes with the next segment"
    writer.close()


def test_what_is_in_the_pipe_stays_there_while_the_log_is_held(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, max_size=4096, max_files=1)
    writer.held = 0
    end, other = os.pipe()
    os.write(other, b"x" * 3000)
    assert writer.append_from(STDOUT, end, 3000) == 3000
    os.write(other, b"y" * 3000)
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            writer.append_from(STDOUT, end, 3000)
    writer.held = 1
    assert writer.append_from(STDOUT, end, 3000) is None, "now it may be read and cut at a line's end"
    assert os.read(end, 4000) == b"y" * 3000
    os.close(end)
    os.close(other)
    writer.close()


def test_a_full_disk_does_not_cost_what_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(tmp_path, max_size=4096, max_files=2)
    for _ in range(5):
        append(writer, b"x" * 999 + b"\n")
    assert segments_of(tmp_path) == [1, 2]
    writer.held = 0

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="full"):
        writer.append(STDOUT, memoryview(b"more\n"))
    assert segments_of(tmp_path) == [1, 2]
    writer.held = 1
    with pytest.raises(OSError, match="full"):
        writer.append(STDOUT, memoryview(b"more\n"))
    assert segments_of(tmp_path) == [2]
    monkeypatch.undo()
    writer.close()


@pytest.mark.parametrize("left", [0, 5, SEGMENT_HEADER.size, 100, 3000])
def test_a_log_that_somebody_cuts_goes_on_where_it_ends_now(tmp_path: Path, left: int) -> None:
    writer = LogWriter(tmp_path)
    for number in range(1000):
        append(writer, b"line %d\n" % number)
    os.truncate(tmp_path / "1.log", left)
    append(writer, b"after\n")
    end, other = os.pipe()
    os.write(other, b"spliced\n")
    os.truncate(tmp_path / "1.log", left)
    assert writer.append_from(STDOUT, end, 8) == 8
    append(writer, b"and more\n")
    kept = content(tmp_path)
    assert kept.endswith(b"spliced\nand more\n")
    assert kept[:-17] == b"".join(b"line %d\n" % n for n in range(1000))[: len(kept) - 17], "whole records before it"
    assert LogWriter(tmp_path).position == writer.position
    writer.close()
    os.close(end)
    os.close(other)
