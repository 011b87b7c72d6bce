"""The functions that a template can call: Go's own, and those that Docker adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wherry.docker.gotemplate.go_types import Map, NilPointer
from wherry.docker.gotemplate.printing import go_json, go_print, go_printf, go_string, go_type

__all__ = ["FUNCTIONS", "is_true"]

_LONGEST = 1 << 24  # characters between the parts that are joined


def is_true(value: Any) -> bool:
    """Whether ``if`` treats a value as true: it is not false, 0, nil or empty."""
    return callable(value) or bool(value)


def _comparable(left: Any, right: Any) -> None:
    both_numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (left, right))
    if not (both_numbers or type(left) is type(right) or left is None or right is None):
        raise ValueError("incompatible types for comparison")


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    for other in others:
        _comparable(first, other)
    return any(first == other for other in others)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def function(left: Any, right: Any) -> bool:
        _comparable(left, right)
        if isinstance(left, dict | list | bool) or left is None:
            raise ValueError("invalid type for comparison")
        return compare(left, right)

    return function


def _index(base: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(base, dict):
            if not isinstance(key, str):
                raise ValueError(f"value has type {go_type(key)}; should be string")
            base = base.get(key, base.zero if isinstance(base, Map) else None)
        elif isinstance(base, list | tuple | str):
            base = _item(base, key)
        elif base is None or isinstance(base, NilPointer):
            raise ValueError("index of untyped nil")
        else:
            raise ValueError(f"can't index item of type {go_type(base)}")
    return base


def _item(base: Any, key: Any) -> Any:
    if isinstance(key, bool) or not isinstance(key, int):
        raise ValueError(f"cannot index slice/array with type {go_type(key)}")
    if not 0 <= key < len(base):
        raise ValueError(f"index out of range: {key}")
    return base[key]


def _slice(base: Any, *bounds: int) -> Any:
    if not isinstance(base, str | list | tuple):
        raise ValueError(f"can't slice item of type {go_type(base)}")
    low, high = (*bounds, *((0, len(base))[len(bounds) :]))[:2]
    if not 0 <= low <= high <= len(base):
        raise ValueError(f"index out of range: {high}")
    return base[low:high]


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict | list | tuple):
        return len(value)
    raise ValueError("len of nil pointer" if value is None else f"len of type {go_type(value)}")


def _join(items: Any, separator: str) -> str:
    if items and len(items) * len(separator) > _LONGEST:
        raise ValueError("the result is too long")
    return separator.join(go_string(item) for item in items or ())


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _title(text: str) -> str:
    return "".join(
        letter.upper() if not at or not (text[at - 1].isalnum() or text[at - 1] in "_'") else letter
        for at, letter in enumerate(text)
    )


def _pad(text: str, before: int, after: int) -> str:
    return text if not text else " " * min(before, 10_000) + text + " " * min(after, 10_000)


def _truncate(text: str, length: int) -> str:
    return text[:length] if length >= 0 else text


def _html(*values: Any) -> str:
    import html

    return html.escape(go_print(values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(go_print(values))


def _call(function: Any, *values: Any) -> Any:
    if not callable(function):
        raise ValueError("call of something that is no function")
    return function(*values)


# ``and`` and ``or`` are not here: they leave arguments unevaluated, see wherry.docker.gotemplate.template.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "call": _call,
    "eq": _eq,
    "ge": _ordered(lambda left, right: left >= right),
    "gt": _ordered(lambda left, right: left > right),
    "html": _html,
    "index": _index,
    "join": _join,
    "json": go_json,
    "le": _ordered(lambda left, right: left <= right),
    "len": _len,
    "lower": lambda text: go_string(text).lower(),
    "lt": _ordered(lambda left, right: left < right),
    "ne": lambda left, right: not _eq(left, right),
    "not": lambda value: not is_true(value),
    "pad": _pad,
    "print": lambda *values: go_print(values),
    "printf": lambda template, *values: go_printf(template, values),
    "println": lambda *values: " ".join(go_string(value) for value in values) + "\n",
    "slice": _slice,
    "split": _split,
    "title": _title,
    "truncate": _truncate,
    "upper": lambda text: go_string(text).upper(),
    "urlquery": _urlquery,
}
