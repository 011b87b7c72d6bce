"""Query parameters are read as dockerd reads them."""

from __future__ import annotations

import pytest

from wherry.api import query
from wherry.errors import InvalidInput

NOW = 1_700_000_000_000_000_000


@pytest.mark.parametrize("text", ["1", "true", "True", "TRUE", "yes", "anything", " 1 "])
def test_everything_but_the_words_for_no_is_true(text: str) -> None:
    assert query.flag({"all": text}, "all")


@pytest.mark.parametrize("text", ["", "0", "no", "false", "False", "none", " 0 "])
def test_the_words_for_no_are_false_even_where_the_default_is_true(text: str) -> None:
    assert not query.flag({"stream": text}, "stream", default=True)


def test_a_boolean_that_is_missing_has_its_default() -> None:
    assert query.flag({}, "stream", default=True)
    assert not query.flag({}, "stream")


def test_a_number_that_is_none_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidInput, match='"ten" for "limit"'):
        query.integer({"limit": "ten"}, "limit")


def test_an_absent_number_can_be_told_from_a_zero() -> None:
    assert query.optional_integer({}, "t") is None
    assert query.optional_integer({"t": "0"}, "t") == 0


@pytest.mark.parametrize("text", ['{"status": ["running", "paused"]}', '{"status": {"running": true, "paused": true}}'])
def test_filters_come_as_lists_or_as_maps(text: str) -> None:
    assert query.filters({"filters": text}) == {"status": ["running", "paused"]}


@pytest.mark.parametrize("text", ["", "{}", "null"])
def test_no_filters_come_in_three_forms(text: str) -> None:
    assert query.filters({"filters": text}) == {}


def test_a_filter_that_is_switched_off_in_a_map_is_left_out() -> None:
    assert query.filters({"filters": '{"status": {"running": true, "paused": false}}'}) == {"status": ["running"]}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": "b"}'])
def test_filters_that_are_neither_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid filter"):
        query.filters({"filters": text})


@pytest.mark.parametrize("text", ["", "0"])
def test_zero_is_no_point_in_time(text: str) -> None:
    assert query.optional_moment({"until": text}, "until", now=NOW) is None
