"""Times in RFC 3339."""

from hypothesis import given
from hypothesis import strategies as st

from wherry.docker.times import ZERO_TIME
from wherry.oci import times


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000_000))
def test_a_time_survives_the_way_there_and_back(ns: int) -> None:
    assert times.from_rfc3339(times.rfc3339(ns)) == ns


def test_trailing_zeros_are_left_out_as_go_does() -> None:
    assert times.rfc3339(1_500_000_000_120_000_000) == "2017-07-14T02:40:00.12Z"
    assert times.rfc3339(1_500_000_000_000_000_000) == "2017-07-14T02:40:00Z"


def test_the_zero_time_is_far_in_the_past() -> None:
    assert times.from_rfc3339(ZERO_TIME) < 0
