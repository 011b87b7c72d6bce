"""``cp``: one large file, and many small ones, into a container and out of it.

With the stock client, and with each engine's own. The stock client needs more than half of Docker's time for itself
where the files are many: against a socket that throws the archive away, which the remark has.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.image import NAME
from bench.measure import Bench, Row, seconds
from bench.sides import ROOT, Side, Wherry, checked, client
from bench.sink import sink

Client = Callable[..., object]

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
    """In and out, with both clients. Many files stay where they are until all is measured.

    For half a minute ext4 takes no inode again that it has freed, and looks past each of them for every new file: that
    would be measured, and not the copy.

    :param share: of Docker's time, which is the limit.
    """
    for side in bench.sides:
        side.docker("cp", str(source), f"{_CONTAINER}:/{source.name}")
    numbers = itertools.count()
    made = []
    for program, whose in ((_stock, ""), (_own, ", each engine's own CLI")):
        remark = f"the client alone: {_alone(source):.2f} s" if program is _stock else ""
        for title, work in (
            (f"cp of {what} into a container{whose}", partial(_put, program, source, numbers)),
            (f"cp of {what} out of it{whose}", partial(_take, program, source, numbers)),
        ):
            row = Row(title, "s", bench.alternating(work, rounds=ROUNDS, warm_up=1), remark=remark)
            docker = row.value("docker")
            made.append(row if docker is None else replace(row, limit=docker * share))
            remark = ""
    return made


def _put(program: Client, source: Path, numbers: Iterator[int], side: Side) -> float:
    there = f"/{source.name}-{next(numbers)}"
    took = seconds(lambda: program(side, "cp", "-q", str(source), f"{_CONTAINER}:{there}"))
    if source.is_file():
        side.docker("exec", _CONTAINER, "rm", there)
    return took


def _take(program: Client, source: Path, numbers: Iterator[int], side: Side) -> float:
    target = source.with_name(f"{source.name}-back-{next(numbers)}")
    took = seconds(lambda: program(side, "cp", "-q", f"{_CONTAINER}:/{source.name}", str(target)))
    if target.is_file():
        target.unlink()
    return took


def _stock(side: Side, *words: str) -> str:
    return side.docker(*words)


def _own(side: Side, *words: str) -> str:
    return side.wherry(*words) if isinstance(side, Wherry) else side.docker(*words)


def _alone(source: Path) -> float:
    """Seconds that docker's client needs for a copy when nothing is done with it."""
    with sink(source.with_name("sink")) as address:
        command, environment = [client(), "cp", "-q", str(source), "any:/place"], {**os.environ, "DOCKER_HOST": address}
        took = [seconds(lambda: checked(command, environment)) for _ in range(ROUNDS)]
    source.with_name("sink").unlink()
    return statistics.median(took)


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
