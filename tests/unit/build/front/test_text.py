"""Text as Go prints it."""

from __future__ import annotations

import pytest

from wherry.build.front.text import duration, table
from wherry.docker.quoting import quoted


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (2_000_000, "2ms"),
        (1_500_000_000, "1.5s"),
        (60_000_000_000, "1m0s"),
        (3_600_000_000_000, "1h0m0s"),
        (90_061_001_000_000, "25h1m1.001s"),
        (-1_000_000_000, "-1s"),
    ],
)
def test_durations(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b", '"a b"'), ('"\\', '"\\"\\\\"'), ("\n\t\x01", '"\\n\\t\\x01"'), ("é", '"é"'), ("\u200b", '"\\u200b"')],
)
def test_quoted_text(text: str, shown: str) -> None:
    assert quoted(text) == shown


def test_columns_are_as_wide_as_their_widest_cell_but_for_the_last() -> None:
    assert table([("A", "B", "C"), ("aaa", "b", "c")], 2) == "A    B  C\naaa  b  c\n"
