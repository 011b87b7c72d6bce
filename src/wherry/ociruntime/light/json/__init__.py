"""`json`, with the C code that the module itself uses, and nothing that a caller could adjust."""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner
from json import decoder as decoder  # where that code looks for the error to raise

__all__ = ["dumps", "loads"]


class _Rules:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict = {}

    @staticmethod
    def parse_constant(name):
        raise ValueError(f"{name} is no JSON")


_scan = make_scanner(_Rules())
_BLANK = " \t\n\r"


def loads(text):
    """Read JSON.

    :raises ValueError: it is none.
    """
    if not isinstance(text, str):
        text = str(text, "utf-8")
    text = text.strip(_BLANK)
    try:
        value, end = _scan(text, 0)
    except StopIteration as stop:
        raise ValueError(f"JSON is malformed: expected a value at character {stop.value}") from None
    if end != len(text):
        raise ValueError(f"JSON is malformed: trailing characters at character {end}")
    return value


def dumps(value, sort_keys=False):
    """Write JSON."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if value is None or value is True or value is False:
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, dict):
        items = sorted(value.items()) if sort_keys else value.items()
        inner = [f"{encode_basestring_ascii(key)}: {dumps(one, sort_keys)}" for key, one in items]
        return f"{{{', '.join(inner)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join([dumps(one, sort_keys) for one in value])}]"
    raise TypeError(f"{type(value).__name__} is no JSON")
