"""Points in time as filters and options of the Engine API take them."""

import time

import pytest

from wherry.docker import times
from wherry.errors import InvalidInput

NOW = 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000.5", 1_700_000_000_500_000_000),
        ("1700000000.000000001", 1_700_000_000_000_000_001),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000_000_000_000),
        ("2023-11-14", 1_699_920_000_000_000_000),
        ("10m", NOW - 600 * 10**9),
        ("1h30m", NOW - 5400 * 10**9),
        ("1.5s", NOW - 1_500_000_000),
    ],
)
def test_points_in_time_come_in_all_of_dockers_forms(text: str, expected: int) -> None:
    assert times.moment(text, now=NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "10x", "12h-", "2023-13-01", "1.2.3", "m"])
def test_what_is_no_point_in_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="failed to parse value as time or duration"):
        times.moment(text, now=NOW)


def test_how_long_ago_is_counted_back_from_the_present() -> None:
    assert abs(times.moment("1h30m") - (time.time_ns() - 5_400_000_000_000)) < 1_000_000_000
