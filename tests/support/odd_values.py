"""Values that a program may trip over, for every type that stands in a request's body or query."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

TEXTS = (
    "", " ", "\0", "\ud800", "\n", "-1", "0", "9" * 5000, "1e400", "1_0", "٣", "²", "../..", "/", ":", "=", ",", "*",
    "(", "%", "{", "[" * 3000, "null", "🦊", "a" * 70_000, "ctrl-", "container:", "sha256:x", "1970-01-01",
    "-99999999999d", "SIGRTMIN+400", "RTMIN-1", "999999999999999999999", "linux/", "65536/tcp", "1-99999", "::1",
    "1.2.3.4/33",
)  # fmt: skip
INTEGERS = (-1, 0, 1, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, -(1 << 63))
PLAIN = {str: "x", int: 1, bool: True, Any: {"a": 1}}


def odd(kind: Any, depth: int = 0) -> Iterator[Any]:
    """Values of a type, each odd in one place; now and then of another type."""
    origin, arguments = get_origin(kind), get_args(kind)
    yield None
    if origin in (Union, types.UnionType):
        for one in arguments:
            if one is not types.NoneType:
                yield from odd(one, depth)
    elif origin is Annotated:
        yield from odd(arguments[0], depth)
    elif origin is list:
        yield from ([], [None], "x")
        yield from ([value] for value in odd(arguments[0], depth + 1))
    elif origin is tuple:
        yield from ([], [1], [1, 2, 3], "x")
        yield from ([value, 1] for value in odd(arguments[0], depth + 1))
    elif origin is dict:
        yield from ({}, [], {"a": None})
        yield from ({text: plain(arguments[1])} for text in TEXTS)
        yield from ({"a": value} for value in odd(arguments[1], depth + 1))
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from ({}, [])
        yield from members(kind, depth + 1)
    elif kind is int:
        yield from INTEGERS
        yield "x"
    elif kind is bool:
        yield from (True, False, "x")
    else:
        yield from TEXTS
        yield 5


def members(kind: type[msgspec.Struct], depth: int = 0) -> Iterator[dict[str, Any]]:
    """Objects of a struct with one odd member each."""
    hints = get_type_hints(kind, include_extras=True)
    for name, wire in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        yield from ({wire: value} for value in odd(hints[name], depth))


def plain(kind: Any) -> Any:
    """An ordinary value of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType, Annotated):
        return plain(arguments[0])
    if origin in (list, tuple):
        return [plain(arguments[0])]
    if origin is dict:
        return {"a": plain(arguments[1])}
    return PLAIN.get(kind, {})
