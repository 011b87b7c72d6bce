"""Points in time as people type and read them."""

from __future__ import annotations

import time

import pytest

from wherry.cli.output.times import ago, ellipsis, local_rfc3339, timestamp, unix_time
from wherry.errors import InvalidInput


def test_ago_counts_from_now() -> None:
    assert ago(time.time() - 125) == "2 minutes ago"


def test_points_in_time_become_seconds() -> None:
    assert timestamp("1136073845.000000001") == "1136073845.000000001"
    assert timestamp("2013-01-02T13:23:37Z") == "1357133017.000000000"
    assert timestamp("2013-01-02T13:23:37.5+01:00") == "1357129417.500000000"
    assert abs(float(timestamp("10m")) - (time.time() - 600)) < 5
    with pytest.raises(InvalidInput, match="failed to parse value as time or duration"):
        timestamp("yesterday")


def test_api_times_are_read_with_their_nanoseconds_cut() -> None:
    assert unix_time("2013-01-02T13:23:37.123456789Z") == pytest.approx(1357133017.123456)
    assert unix_time("") == 0


def test_a_stamp_is_rfc_3339_in_our_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    assert local_rfc3339(1357133017_000000005) == "2013-01-02T15:23:37.000000005+02:00"
    monkeypatch.undo()
    time.tzset()


def test_what_is_too_long_ends_in_an_ellipsis() -> None:
    assert ellipsis("abcdef", 6) == "abcdef"
    assert ellipsis("abcdef", 5) == "abcd…"
