"""JSON through the interpreter's C half gives what the json module gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.client.codec import decode, encode
from wherry.client.ndjson import values

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(JSON)
def test_what_is_encoded_is_decoded_alike_by_both(value: Any) -> None:
    if "\ud800" <= max(json.dumps(value, ensure_ascii=False), default="") <= "\udfff":
        return  # lone surrogates have no UTF-8
    assert json.loads(encode(value)) == value
    assert decode(encode(value)) == value
    assert decode(json.dumps(value, indent=2)) == value


@pytest.mark.parametrize("text", ["", "  ", "{", "[1,", '{"a" 1}', "nope", "1 2", '"\\x"', "{'a': 1}"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(text)


def test_what_has_no_form_in_json_is_refused() -> None:
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        encode({"a": {1}})


@pytest.mark.slow
@given(st.lists(JSON.filter(lambda value: not isinstance(value, float)), max_size=3), st.integers(1, 7))
def test_values_one_after_the_other_are_cut_wherever_they_arrive_cut(messages: list[Any], size: int) -> None:
    data = b"".join(json.dumps(message).encode() + b"\r\n" for message in messages)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert list(values(pieces)) == messages
