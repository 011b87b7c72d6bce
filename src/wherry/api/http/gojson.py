"""Decode JSON as Go's `encoding/json` does, because clients were written against dockerd.

That means: the name of a member may have any case; ``null`` means that it is not set, in lists and maps too, where it
stands for the zero value; members that nobody knows are ignored; half a surrogate pair, or a byte that is no UTF-8,
becomes U+FFFD. What is wrong is said in Go's words.

Types come from the annotations of msgspec's structs: the same that the database's rows have. (msgspec's own decoder is
an order of magnitude faster, but names have one case there, null is a type, and numbers have any size.)
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from wherry.api.http import gosyntax
from wherry.docker.container_requests import EMPTY_STRUCT, IntegerRange
from wherry.errors import InvalidInput, encodable

__all__ = ["decode"]

T = TypeVar("T")
_Reader = Any  # Callable[[Any], Any]; mypy would want a type for each

_INT64: Final = IntegerRange("int64", -(1 << 63), (1 << 63) - 1)
_ANY_DEPTH: Final = 64  #: levels in what is kept as it came
_DIGITS: Final = 19  #: of the largest int64; Python refuses to read numbers of more than 4300


class _Number(str):
    """A number as it was written; its type depends on its destination."""

    __slots__ = ()


class _Mismatch(Exception):
    """A value does not fit into its place.

    :param wanted: the place's type in Go.
    """

    def __init__(self, value: Any, wanted: str, *, literal: bool = False) -> None:
        super().__init__(value)
        self.found = _kind(value) + (f" {value}" if literal else "")
        self.wanted = wanted
        self.path: list[str] = []
        self.struct = ""

    def __str__(self) -> str:
        place = f"struct field {self.struct}.{'.'.join(self.path)} of" if self.path else "value of"
        return f"json: cannot unmarshal {self.found} into Go {place} type {self.wanted}"


def decode(data: bytes, kind: type[T]) -> T:
    """Return a value from its JSON.

    :param kind: its type, made of structs, lists, maps, strings, numbers and booleans.
    :raises InvalidInput: it is no JSON, or not of this type.
    """
    text = data.decode(errors="replace")
    try:
        value = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidInput(gosyntax.fault(data)) from None
    try:
        return _reader(kind)(value)  # type: ignore[no-any-return, arg-type]
    except _Mismatch as mismatch:
        raise InvalidInput("invalid JSON", cause=str(mismatch)) from None
    except RecursionError:
        raise InvalidInput(gosyntax.too_deep()) from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no JSON


@cache
def _reader(kind: Any) -> _Reader:
    """What turns a value as it was parsed into one of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _either(arguments)
    if maker := _MAKERS.get(origin):
        return maker(*arguments)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind)
    return {str: _text, int: _integer(_INT64), bool: _boolean, Any: _anything}[kind]


def _text(value: Any) -> str:
    if isinstance(value, str) and not isinstance(value, _Number):
        return value if value.isascii() else encodable(value)
    if value is None:
        return ""
    raise _Mismatch(value, "string")


def _boolean(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _Mismatch(value, "bool")


def _integer(limits: IntegerRange) -> _Reader:
    def read(value: Any) -> int:
        if isinstance(value, _Number):
            if value.lstrip("-").isdecimal() and len(value) <= _DIGITS + 1 and limits.low <= int(value) <= limits.high:
                return int(value)
            raise _Mismatch(value, limits.name, literal=True)
        if value is None:
            return 0
        raise _Mismatch(value, limits.name)

    return read


def _anything(value: Any, depth: int = 0) -> Any:
    """A value of any type; numbers become Python's."""
    if depth > _ANY_DEPTH:
        raise RecursionError
    if isinstance(value, _Number):
        return int(value) if value.lstrip("-").isdecimal() and len(value) <= _DIGITS + 1 else float(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [_anything(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_text(name): _anything(item, depth + 1) for name, item in value.items()}
    return value


def _empty_struct(value: Any) -> dict[str, Any]:
    """Go's ``struct{}``, the value of what is a set."""
    if value is None or isinstance(value, dict):
        return {}
    raise _Mismatch(value, "struct {}")


def _annotated(kind: Any, what: object) -> _Reader:
    if isinstance(what, IntegerRange):
        return _integer(what)
    return _empty_struct if what is EMPTY_STRUCT else _reader(kind)


def _list_of(kind: Any) -> _Reader:
    item, name = _reader(kind), f"[]{_go_name(kind)}"

    def read(value: Any) -> list[Any]:
        if isinstance(value, list):
            return [item(one) for one in value]
        if value is None:
            return []
        raise _Mismatch(value, name)

    return read


def _array_of(*kinds: Any) -> _Reader:
    """Go's arrays have their length: what is missing is zero, what is too much is not read."""
    items, name = [_reader(kind) for kind in kinds], f"[{len(kinds)}]{_go_name(kinds[0])}"

    def read(value: Any) -> tuple[Any, ...]:
        if value is None or isinstance(value, list):
            given = [*(value or ()), *[None] * len(items)]
            return tuple(item(one) for item, one in zip(items, given, strict=False))
        raise _Mismatch(value, name)

    return read


def _map_of(_name: Any, kind: Any) -> _Reader:
    item, name = _reader(kind), f"map[string]{_go_name(kind)}"

    def read(value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return {_text(key): item(one) for key, one in value.items()}
        if value is None:
            return {}
        raise _Mismatch(value, name)

    return read


def _either(kinds: tuple[Any, ...]) -> _Reader:
    """A type, or null; or a list of words where one word will do (Docker's ``strslice``)."""
    readers = [_reader(kind) for kind in kinds if kind is not types.NoneType]
    if len(readers) == 1:
        optional = readers[0]
        return lambda value: None if value is None else optional(value)

    def read(value: Any) -> Any:
        if value is None or (isinstance(value, list) and all(word is None or _is_text(word) for word in value)):
            return None if value is None else [_text(word) for word in value]
        return _text(value)

    return read


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, _Number)


def _struct(kind: type[msgspec.Struct]) -> _Reader:
    hints = get_type_hints(kind, include_extras=True)
    exact = {
        wire: (name, _reader(hints[name]))
        for name, wire in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    }
    folded = {wire.casefold(): entry for wire, entry in exact.items()}
    required = [exact[one.encode_name] for one in msgspec.structs.fields(kind) if one.required]

    def read(value: Any) -> Any:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise _Mismatch(value, _go_name(kind))
        members = {}
        for wire, member in value.items():
            entry = exact.get(wire) or folded.get(wire.casefold())
            if entry is None or member is None:
                continue
            try:
                members[entry[0]] = entry[1](member)
            except _Mismatch as mismatch:
                mismatch.path.insert(0, _shown(kind, entry[0]))
                mismatch.struct = mismatch.struct or kind.__name__
                raise
        for name, reader in required:  # Go has a value for what is not there
            if name not in members:
                members[name] = reader(None)
        return kind(**members)

    return read


def _shown(kind: type[msgspec.Struct], name: str) -> str:
    return kind.__struct_encode_fields__[kind.__struct_fields__.index(name)]


def _go_name(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _go_name(next(one for one in arguments if one is not types.NoneType))
    if origin is Annotated:
        return arguments[1].name if isinstance(arguments[1], IntegerRange) else "struct {}"
    if origin is list:
        return f"[]{_go_name(arguments[0])}"
    if origin is tuple:
        return f"[{len(arguments)}]{_go_name(arguments[0])}"
    if origin is dict:
        return f"map[string]{_go_name(arguments[1])}"
    return {str: "string", int: "int64", bool: "bool", Any: "interface {}"}.get(kind) or f"container.{kind.__name__}"


def _kind(value: Any) -> str:
    """What JSON calls a value."""
    if isinstance(value, _Number):
        return "number"
    return {str: "string", bool: "bool", list: "array", dict: "object"}[type(value)]


#: What makes the reader of a compound type, by that type's origin.
_MAKERS: Final[dict[Any, Callable[..., _Reader]]] = {
    Annotated: _annotated, list: _list_of, tuple: _array_of, dict: _map_of
}  # fmt: skip
