"""``docker cp``: one large file, and many small ones, into a container and out of it, with the stock client."""

from __future__ import annotations

import itertools
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.image import NAME
from bench.measure import Bench, Row, seconds
from bench.sides import ROOT, Side

ROUNDS = 3
LARGE = 1 << 30
MANY = 10_000
PER_DIRECTORY = 100
_CONTAINER = "wherry-bench-copies"


def measure(bench: Bench) -> list[Row]:
    """All rows; the limits are Docker's time in the same run, as far as there is a Docker."""
    (ROOT / ".bench").mkdir(exist_ok=True)
    for side in bench.sides:
        side.docker("run", "-d", "--name", _CONTAINER, "--network", "none", NAME, "sleep", "100000")
    try:
        with tempfile.TemporaryDirectory(prefix="copies-", dir=ROOT / ".bench") as place:
            size, count = bench.amount(LARGE), bench.amount(MANY)
            large, many = _large(Path(place) / "large", size), _many(Path(place) / "many", count)
            what = f"one file of {size >> 20} MiB"
            return [*_rows(bench, large, what, 1.0), *_rows(bench, many, f"{count:,} files of 1 KiB", 0.5)]
    finally:
        for side in bench.sides:
            side.docker("rm", "-f", _CONTAINER)


def _rows(bench: Bench, source: Path, what: str, share: float) -> list[Row]:
    """In and out. Many files stay where they are until all is measured.

    For half a minute ext4 takes no inode again that it has freed, and looks past each of them for every new file: that
    would be measured, and not the copy.

    :param share: of Docker's time, which is the limit.
    """
    numbers = itertools.count()

    def put(side: Side) -> float:
        there = f"/{source.name}-{next(numbers)}"
        took = seconds(lambda: side.docker("cp", str(source), f"{_CONTAINER}:{there}"))
        if source.is_file():
            side.docker("exec", _CONTAINER, "rm", there)
        return took

    def take(side: Side) -> float:
        target = source.with_name(f"{source.name}-back-{next(numbers)}")
        took = seconds(lambda: side.docker("cp", f"{_CONTAINER}:/{source.name}", str(target)))
        if target.is_file():
            target.unlink()
        return took

    for side in bench.sides:
        side.docker("cp", str(source), f"{_CONTAINER}:/{source.name}")
    made = []
    for title, work in ((f"cp of {what} into a container", put), (f"cp of {what} out of it", take)):
        row = Row(title, "s", bench.alternating(work, rounds=ROUNDS, warm_up=1))
        docker = row.value("docker")
        made.append(row if docker is None else replace(row, limit=docker * share))
    return made


def _large(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    return path


def _many(path: Path, count: int) -> Path:
    for number in range(count):
        directory = path / str(number // PER_DIRECTORY)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / str(number)).write_bytes(os.urandom(1024))
    return path
