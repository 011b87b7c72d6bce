"""Reading a log back: which part, how its lines are marked, and whether something older was dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.containers import container_of
from wherry.docker.container_requests import ContainerConfig, HostConfig, LogConfig
from wherry.docker.streams import LogOptions
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.state import State
from wherry.engine.log_drivers.tag import FIELDS
from wherry.engine.streams.logs import lacks_older, read_logs
from wherry.keeper.log_writer import LogWriter
from wherry.keeper.records import STDERR, STDOUT

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def container(root: Path, options: dict[str, str] | None = None, **config: Any) -> Container:
    definition = Definition(
        id="c0ffee" + "0" * 58, created="2024-01-01T00:00:00Z", image="app:1", image_id="sha256:" + "1" * 64,
        argv=["sh"], mounts=[], config=ContainerConfig(**config),
        host=HostConfig(log_config=LogConfig("json-file", options or {})),
    )  # fmt: skip
    return container_of("web", definition, State(), root, root / "run")


def write(root: Path, *lines: tuple[int, bytes], max_size: int | None = None) -> None:
    """A line a second."""
    now = START
    writer = LogWriter(root / "logs", max_size=max_size, max_files=2, now=lambda: now)
    for stream, line in lines:
        now += SECOND
        writer.append(stream, memoryview(line))
    writer.close()


async def text(one: Container, **options: Any) -> str:
    return b"".join([chunk.data async for chunk in read_logs(one, LogOptions(**options))]).decode()


LINES = ((STDOUT, b"one\n"), (STDERR, b"two\n"), (STDOUT, b"three\n"), (STDOUT, b"four"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "one\ntwo\nthree\nfour"),
        ({"stderr": False}, "one\nthree\nfour"),
        ({"stdout": False}, "two\n"),
        ({"tail": 2}, "three\nfour"),
        ({"tail": 0}, ""),
        ({"tail": 1, "stdout": False}, "two\n"),
        ({"since": START + 3 * SECOND}, "three\nfour"),
        ({"until": START + 2 * SECOND}, "one\ntwo\n"),
        ({"since": START + 2 * SECOND, "until": START + 2 * SECOND}, "two\n"),
        ({"tail": 3, "until": START + 2 * SECOND}, "two\n"),
        ({"follow": True}, "one\ntwo\nthree\nfour"),  # it does not run: nothing more comes
    ],
)
async def test_the_wanted_part_is_read(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    write(tmp_path, *LINES)
    assert await text(container(tmp_path), **options) == expected


async def test_lines_are_marked_with_their_times(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    marked = await text(container(tmp_path), timestamps=True, tail=2)
    assert marked == "2023-11-14T22:13:23.000000000Z three\n2023-11-14T22:13:24.000000000Z four"


async def test_details_are_labels_variables_and_the_tag_in_order_and_quoted(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    options = {
        "labels": "tier,missing", "labels-regex": "^x", "env": "A", "env-regex": "B$", "tag": "{{.Name}}/{{.ID}}",
    }  # fmt: skip
    one = container(
        tmp_path, options, labels={"tier": "a b", "xyz": "1", "not": "2"}, env=["A=x=y", "AB=3", "C=4", "bare"]
    )
    details = "A=x%3Dy,AB=3,tag=web%2Fc0ffee000000,tier=a+b,xyz=1"
    assert await text(one, details=True, tail=1) == f"{details} four"
    assert await text(one, details=True, timestamps=True, tail=1) == f"2023-11-14T22:13:24.000000000Z {details} four"
    assert await text(container(tmp_path), details=True, tail=1) == " four"


async def test_every_placeholder_of_a_tag_is_filled_in(tmp_path: Path) -> None:
    write(tmp_path, (STDOUT, b"x"))
    tag = "|".join(f"{{{{.{name}}}}}" for name in FIELDS[:7])
    shown = await text(container(tmp_path, {"tag": tag}), details=True)
    for part in ("{", "Name"):
        assert part not in shown
    assert "%7Cweb%7C" in shown
    assert "app%3A1%7Cdocker x" in shown


async def test_there_is_no_log_before_the_first_start(tmp_path: Path) -> None:
    assert await text(container(tmp_path)) == ""
    assert not await lacks_older(container(tmp_path).log, LogOptions())


async def test_who_asks_for_what_rotation_dropped_can_know(tmp_path: Path) -> None:
    line = b"x" * 999 + b"\n"
    write(tmp_path, *[(STDOUT, line)] * 20, max_size=4096)
    log = container(tmp_path).log
    kept = (await text(container(tmp_path))).count("\n")
    assert 0 < kept < 20
    oldest = START + (21 - kept) * SECOND
    for options, lacks in [
        ({}, True),
        ({"tail": kept}, False),
        ({"tail": kept + 1}, True),
        ({"since": START}, True),
        ({"since": oldest + 1}, False),
    ]:
        assert await lacks_older(log, LogOptions(**options)) is lacks, options
