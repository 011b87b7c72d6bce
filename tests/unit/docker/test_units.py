"""Sizes, durations and numbers of processors: both ways."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.docker.units import (
    bytes_size,
    duration_text,
    human_duration,
    human_size,
    parse_cpus,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("100", 100), ("1b", 1), ("2k", 2048), ("1KB", 1024), ("1kib", 1024), ("1.5g", 3 << 29),
     ("1 m", 1 << 20), ("2GiB", 2 << 30), ("3t", 3 << 40), (".5k", 512), ("1p", 1 << 50), ("1e3", 1000)],
)  # fmt: skip
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "1x", "1kbb", "1kx", "b", "inf", "nan", "1  m", " 1", "1.2.3", "1mib1", "1_000", "\uff11k", "1e400",
     "1e300p"],
)  # fmt: skip
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid (size|suffix)"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1s", 10**9), ("1m30s", 90 * 10**9), ("1.5h", 5400 * 10**9), ("-2ms", -2_000_000), ("+3us", 3000),
     ("7µs", 7000), ("1h0m0.5s", 3600 * 10**9 + 5 * 10**8), (".5s", 5 * 10**8), ("1.s", 10**9)],
)  # fmt: skip
def test_durations_are_go_s(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "-", "5", "s", "1x", "1m2", ".s", "1..5s", "1 s", "--1s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time: "):
        parse_duration(text)


@pytest.mark.parametrize(("text", "expected"), [("1.5", 1_500_000_000), ("2", 2 * 10**9), ("1/4", 250_000_000)])
def test_processors_are_counted_in_billionths(text: str, expected: int) -> None:
    assert parse_cpus(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1/0", "0.0000000001", "1,5"])
def test_what_is_no_number_of_processors_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"failed to parse|too precise"):
        parse_cpus(text)


@given(st.text(max_size=12))
def test_nothing_typed_breaks_a_reader(text: str) -> None:
    for reader in (parse_size, parse_duration, parse_cpus):
        with contextlib.suppress(ValueError):
            assert isinstance(reader(text), int)


@pytest.mark.parametrize(
    ("size", "decimal", "binary"),
    [(0, "0B", "0B"), (999, "999B", "999B"), (1910, "1.91kB", "1.865KiB"), (4_430_000, "4.43MB", "4.225MiB"),
     (123_456_789_000, "123GB", "115GiB"), (1024**5, "1.13PB", "1PiB")],
)  # fmt: skip
def test_sizes_read_as_docker_shows_them(size: int, decimal: str, binary: str) -> None:
    assert human_size(size) == decimal
    assert bytes_size(size) == binary


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "Less than a second"), (0.9, "Less than a second"), (1, "1 second"), (59, "59 seconds"),
     (60, "About a minute"), (120, "2 minutes"), (3600, "About an hour"), (3 * 3600, "3 hours"),
     (47.4 * 3600, "47 hours"), (49 * 3600, "2 days"), (15 * 86400, "2 weeks"), (61 * 86400, "2 months"),
     (800 * 86400, "2 years")],
)  # fmt: skip
def test_spans_read_as_docker_shows_them(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "500ms"), (30, "30s"), (90, "1m30s"), (3600, "1h0m0s"), (1.5, "1.5s")]
)
def test_a_duration_is_printed_as_go_does(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_duration_is_an_int64() -> None:
    assert parse_duration("2562047h") > 0
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration("2562048h")
