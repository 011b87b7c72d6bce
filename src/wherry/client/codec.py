"""JSON through the interpreter's own C scanner and encoder.

``import json`` costs three milliseconds, most of them for regular expressions that only its pure-Python half needs. The
C half is used directly here; the ``json`` module is the fallback for interpreters where it is missing or different.
"""

from __future__ import annotations

__all__ = ["decode", "decode_prefix", "encode"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_WHITESPACE = " \t\n\r"


class _ScannerSettings:
    """The decoder attributes that ``_json.make_scanner`` reads."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012  the C scanner never looks into it


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def _scanner() -> Callable[[str, int], tuple[Any, int]]:
    try:
        from _json import make_scanner

        scan: Callable[[str, int], tuple[Any, int]] = make_scanner(_ScannerSettings)  # type: ignore[arg-type]
        if scan('{"a": [1]} ', 0) == ({"a": [1]}, 10):
            return scan
    except (ImportError, TypeError, AttributeError, ValueError):
        pass  # another interpreter or version: use the fallback
    import json

    return json.JSONDecoder(strict=False).raw_decode


def _encoder() -> Callable[[Any], str]:
    try:
        from _json import encode_basestring, make_encoder

        iterate = make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)
        if "".join(iterate({"a": [1]}, 0)) == '{"a":[1]}':
            return lambda value: "".join(iterate(value, 0))
    except (ImportError, TypeError, AttributeError, ValueError):
        pass  # as above
    import json

    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


_scan = _scanner()
_encode = _encoder()


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITESPACE:
        at += 1
    return at


def decode_prefix(text: str, at: int = 0) -> tuple[Any, int]:
    """Decode the JSON value at a position.

    :param text: text with a JSON value in it, white space before it allowed.
    :param at: where to begin.
    :returns: the value, and the position behind it and the white space that follows.
    :raises ValueError: there is no whole JSON value.
    """
    try:
        value, end = _scan(text, _skip(text, at))
    except StopIteration:
        raise ValueError(f"no JSON value at position {at}") from None
    return value, _skip(text, end)


def decode(data: bytes | str) -> Any:
    """Decode one JSON value.

    :raises ValueError: the data is not UTF-8, not JSON, or more than one value.
    """
    text = data.decode() if isinstance(data, bytes) else data
    value, end = decode_prefix(text)
    if end != len(text):
        raise ValueError(f"extra data at position {end}")
    return value


def encode(value: object) -> bytes:
    """Encode one JSON value in UTF-8 without white space. Surrogates (from invalid bytes) become U+FFFD, as in Go.

    :raises TypeError: the value is not JSON serializable.
    """
    text = _encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text).encode()
