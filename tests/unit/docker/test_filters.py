"""Filters of lists and prunes."""

from __future__ import annotations

import time

import pytest

from wherry.docker.filters import check_prune, has_label, may_be_pruned
from wherry.errors import InvalidInput

HOUR = 3600 * 10**9


@pytest.mark.parametrize(("wanted", "has"), [("a", True), ("a=b", True), ("a=c", False), ("b", False), ("e=", True)])
def test_a_label_is_compared_with_its_value_or_without(wanted: str, has: bool) -> None:
    assert has_label({"a": "b", "e": ""}, wanted) is has


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"until": ["30m"]}, True),
        ({"until": ["2h"]}, False),
        ({"label": ["a", "a=b"]}, True),
        ({"label": ["a", "c"]}, False),
        ({"label!": ["c"]}, True),
        ({"label!": ["c", "a"]}, False),
    ],
)
def test_an_unused_object_is_pruned_by_age_and_labels(filters: dict[str, list[str]], passes: bool) -> None:
    assert may_be_pruned(time.time_ns() - HOUR, {"a": "b"}, filters) is passes


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"x": ["y"]}, "invalid filter 'x'"),
        ({"until": ["1h", "2h"]}, "more than one until filter specified"),
        ({"until": ["soon"]}, "failed to parse value as time or duration"),
    ],
)
def test_filters_of_a_prune_are_checked_first(filters: dict[str, list[str]], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        check_prune(filters)
    check_prune({"label": [], "dangling": ["true"]}, "dangling")
