"""Times in the forms of the Engine API."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.engine import clock
from wherry.errors import InvalidInput


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000_000))
def test_a_time_survives_the_way_there_and_back(ns: int) -> None:
    assert clock.from_rfc3339(clock.rfc3339(ns)) == ns


def test_trailing_zeros_are_left_out_as_go_does() -> None:
    assert clock.rfc3339(1_500_000_000_120_000_000) == "2017-07-14T02:40:00.12Z"
    assert clock.rfc3339(1_500_000_000_000_000_000) == "2017-07-14T02:40:00Z"


def test_the_zero_time_is_far_in_the_past() -> None:
    assert clock.from_rfc3339(clock.ZERO_TIME) < 0


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000.5", 1_700_000_000_500_000_000),
        ("2017-07-14", 1_499_990_400_000_000_000),
        ("2017-07-14T02:40:00+01:00", 1_499_996_400_000_000_000),
    ],
)
def test_a_moment_may_be_seconds_or_rfc3339(text: str, ns: int) -> None:
    assert clock.parse_moment(text) == ns


def test_a_moment_may_be_a_duration_before_now() -> None:
    assert abs(clock.parse_moment("1h30m") - (time.time_ns() - 5_400_000_000_000)) < 1_000_000_000


@pytest.mark.parametrize("text", ["", "yesterday", "12h-", "2017-13-01", "1.2.3"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        clock.parse_moment(text)
