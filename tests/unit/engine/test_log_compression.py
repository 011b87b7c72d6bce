"""The option ``compress``: segments that are compressed read as they were written."""

from __future__ import annotations

import asyncio
import errno
import shutil
from pathlib import Path

import pytest

from support.engine_harness import EngineHarness, create, harness
from wherry.docker.container_requests import LogConfig
from wherry.engine.streams import log_compression
from wherry.engine.streams.log_compression import LogCompression, compress_segments
from wherry.keeper.log_reader import LogReader, Segments, end_position, position_at
from wherry.keeper.log_writer import LogWriter, segments_of
from wherry.keeper.records import BLOCK, STDERR, STDOUT
from wherry.keeper.segment_file import compress
from wherry.keeper.tail import start_of_tail

__all__ = ["harness"]

OUT = frozenset({STDOUT})


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        return self.now


def append(writer: LogWriter, data: bytes, stream: int = STDOUT) -> None:
    assert writer.append(stream, memoryview(data)) == len(data)


def pieces(reader: LogReader) -> list[tuple[int, bytes]]:
    return [(chunk.stream, bytes(chunk.data)) for chunk in reader.chunks()]


def fill(directory: Path) -> None:
    """A log of several segments, each of several blocks, in two streams."""
    clock = Clock()
    writer = LogWriter(directory, now=clock, max_size=3 * BLOCK)
    for number in range(3000):
        clock.now += 1000
        append(writer, b"line %d %s\n" % (number, b"x" * (number % 700)), STDERR if number % 7 == 0 else STDOUT)
    writer.close()
    assert len(segments_of(directory)) > 1


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    fill(tmp_path / "log")
    return tmp_path / "log"


def test_compressed_segments_read_as_they_were_written(rotated: Path) -> None:
    def seen() -> list[object]:
        starts = [start_of_tail(rotated, lines) for lines in (1, 100, 2500)]
        since = [position_at(rotated, 1_000_000_000 + 1000 * number) for number in (1, 900, 2999)]
        with LogReader(rotated, since=1_000_500_000, until=1_001_500_000, streams=OUT) as part:
            some = pieces(part)
        with LogReader(rotated) as reader:
            return [pieces(reader), reader.position, some, starts, since, end_position(rotated)]

    before, size = seen(), sum(path.stat().st_size for path in rotated.iterdir())
    numbers = segments_of(rotated)
    assert compress_segments(rotated) == numbers[-2]
    assert sum(path.stat().st_size for path in rotated.iterdir()) < size / 2
    assert seen() == before
    assert compress_segments(rotated) == numbers[-2]
    assert segments_of(rotated) == numbers == [int(path.stem) for path in sorted(rotated.iterdir())]


def test_who_reads_a_segment_that_is_compressed_meanwhile_goes_on_in_it(rotated: Path) -> None:
    with LogReader(rotated) as whole:
        expected = b"".join(data for _, data in pieces(whole))
    with LogReader(rotated) as reader:
        found = b"".join(bytes(chunk.data) for chunk in reader.read())
        compress_segments(rotated)
        found += b"".join(data for _, data in pieces(reader))
    log = Segments(rotated)
    with LogReader(log) as kept:
        log.keep(0)
        shutil.rmtree(rotated)
        assert b"".join(data for _, data in pieces(kept)) == expected == found
    log.close()


def test_a_damaged_block_of_a_compressed_segment_costs_that_block(rotated: Path) -> None:
    with LogReader(rotated) as reader:
        before = [data for _, data in pieces(reader)]
    compress_segments(rotated)
    first = rotated / "1.log"
    with first.open("r+b") as file:
        file.seek(40 + 3 * 4 + 20)
        file.write(b"damage" * 10)
    with LogReader(rotated) as reader:
        after = [data for _, data in pieces(reader)]
    assert 0 < len(before) - len(after) < len(before) / 2
    assert after == before[-len(after) :]


def test_what_is_rotated_away_meanwhile_does_not_come_back(rotated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(source: int, target: int, size: int, time: int) -> int:
        (rotated / "1.log").unlink(missing_ok=True)
        return compress(source, target, size, time)

    monkeypatch.setattr(log_compression, "compress", gone)
    compress_segments(rotated)
    assert 1 not in segments_of(rotated)
    assert all(path.suffix == ".log" for path in rotated.iterdir())


def test_a_writer_never_goes_on_in_a_compressed_segment(rotated: Path) -> None:
    compress_segments(rotated)
    last = segments_of(rotated)[-1]
    (rotated / f"{last}.log").unlink()  # as somebody may do who tidies up
    stored = (rotated / f"{last - 1}.log").read_bytes()
    writer = LogWriter(rotated, max_size=3 * BLOCK)
    append(writer, b"further\n")
    writer.close()
    assert segments_of(rotated)[-1] == last
    assert (rotated / f"{last - 1}.log").read_bytes() == stored
    with LogReader(rotated) as reader:
        assert pieces(reader)[-1] == (STDOUT, b"further\n")


def test_a_full_disk_leaves_the_segment_as_it_is(rotated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> int:
        raise OSError(errno.ENOSPC, "full")

    before = {path.name: path.read_bytes() for path in rotated.iterdir()}
    monkeypatch.setattr(log_compression, "compress", full)
    with pytest.raises(OSError, match="full"):
        compress_segments(rotated)
    assert {path.name: path.read_bytes() for path in rotated.iterdir()} == before


@pytest.mark.parametrize(
    ("config", "is_compressed"),
    [
        (LogConfig("json-file", {"compress": "true"}), True),
        (LogConfig("local", {"compress": "true"}), True),
        (LogConfig("local", {}), False),
        (LogConfig("syslog", {"syslog-address": "udp://127.0.0.1:9", "cache-compress": "true"}), True),
    ],
)
def test_a_container_that_asks_for_it_has_its_finished_segments_compressed(
    harness: EngineHarness, config: LogConfig, *, is_compressed: bool
) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "sleep", "1000", log_config=config)
            await engine.containers.start("web")
            shutil.rmtree(container.log_directory, ignore_errors=True)
            fill(container.log_directory)
            before = (container.log_directory / "1.log").stat().st_size
            compression = LogCompression(interval=0)
            compression.watch(container)
            while is_compressed and (container.log_directory / "1.log").stat().st_size == before:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await compression.close()
            assert ((container.log_directory / "1.log").stat().st_size < before) == is_compressed

    harness.run(test)
