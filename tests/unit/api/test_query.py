"""Query parameters are read as dockerd reads them."""

from __future__ import annotations

import json

import pytest

from wherry.api.http import query
from wherry.docker.filters import FILTER_LIMIT
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
    for text in ("ten", "1.5", "1_000", "٣", "0x10", "²"):
        with pytest.raises(InvalidInput) as refusal:
            query.integer({"limit": text}, "limit")
        assert str(refusal.value) == f'strconv.Atoi: parsing "{text}": invalid syntax'


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "9" * 5000])
def test_a_number_that_is_too_large_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        query.integer({"limit": text}, "limit")
    assert str(refusal.value) == f'strconv.Atoi: parsing "{text}": value out of range'


@pytest.mark.parametrize(
    ("text", "fault"),
    [("", "invalid syntax"), ("+1", "invalid syntax"), ("-x", "invalid syntax"), ("-1", "value out of range"),
     ("4294967296", "value out of range"), ("9" * 5000, "value out of range")],
)  # fmt: skip
def test_a_terminals_size_is_refused_as_dockerd_does(text: str, fault: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        query.side({"h": text}, "h", "height")
    assert str(refusal.value) == f'invalid resize height "{text}": {fault}'


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


def test_a_filter_without_values_comes_as_null() -> None:
    assert query.filters({"filters": '{"status": null, "label": ["a", null]}'}) == {"status": [], "label": ["a", ""]}


def test_there_is_a_limit_to_filters() -> None:
    text = json.dumps({"name": ["a"] * (FILTER_LIMIT + 1)})
    with pytest.raises(InvalidInput, match="more than 10000 values"):
        query.filters({"filters": text})


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "failed to parse platform: invalid JSON: unexpected EOF"),
     ("{}", "both OS and Architecture must be provided"),
     ('{"os": 5}', "failed to parse platform: json: cannot unmarshal number into Go struct field")],
)  # fmt: skip
def test_what_is_no_platform_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        query.platform(text)
    assert said in str(refusal.value)


def test_a_platform_comes_in_two_forms() -> None:
    assert query.platform("linux/arm64") == "linux/arm64"
    assert query.platform('{"OS": "linux", "architecture": "arm", "variant": "v7"}') == "linux/arm/v7"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": 1}', '{"a": "b"}', '{"a": [1]}', '{"a": {"b": 1}}', '"', "[" * 20000]
)
def test_filters_that_are_neither_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid filter"):
        query.filters({"filters": text})


def test_zero_is_the_epoch_and_nothing_no_point_in_time() -> None:
    assert query.optional_moment({"until": "0"}, "until", now=NOW) == 0
    assert query.optional_moment({"until": ""}, "until", now=NOW) is None
