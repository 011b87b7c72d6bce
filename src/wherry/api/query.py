"""Query parameters, read as dockerd reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from wherry.errors import InvalidInput
from wherry.oci.times import moment

if TYPE_CHECKING:
    from collections.abc import Mapping

Filters = dict[str, list[str]]

_FALSE: Final = frozenset(("", "0", "no", "false", "none"))
_either_filters = msgspec.json.Decoder(dict[str, list[str] | dict[str, bool]] | None)


def flag(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return a boolean: everything but an empty word, 0, no, false and none is true (moby's ``BoolValue``)."""
    if name not in query:
        return default
    return query[name].strip().lower() not in _FALSE


def integer(query: Mapping[str, str], name: str, *, default: int = 0) -> int:
    """Return a number.

    :raises InvalidInput: there is something that is not a number.
    """
    text = query.get(name, "").strip()
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f'invalid value "{text}" for "{name}": it must be a whole number') from None


def optional_integer(query: Mapping[str, str], name: str) -> int | None:
    """Return a number, or None where the client gave none.

    :raises InvalidInput: there is something that is not a number.
    """
    return integer(query, name) if query.get(name, "").strip() else None


def platform(text: str) -> str:
    """Return a platform as ``os/architecture[/variant]``; clients since API 1.46 send the JSON of an OCI platform.

    :raises InvalidInput: it is neither.
    """
    if not text.startswith("{"):
        return text
    try:
        given = _platform.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidInput("failed to parse platform", cause=str(error)) from error
    return "/".join(part for part in (given.os, given.architecture, given.variant) if part)


class _Platform(msgspec.Struct):
    os: str
    architecture: str
    variant: str = ""


_platform = msgspec.json.Decoder(_Platform)


def filters(query: Mapping[str, str]) -> Filters:
    """Return the filters, given as ``{"name": ["a"]}`` or, as old clients do, as ``{"name": {"a": true}}``.

    :raises InvalidInput: the text is neither.
    """
    text = query.get("filters", "")
    if not text:
        return {}
    try:
        given = _either_filters.decode(text) or {}
    except msgspec.DecodeError as error:
        raise InvalidInput("invalid filter", cause=str(error)) from error
    return {
        name: values if isinstance(values, list) else [value for value, on in values.items() if on]
        for name, values in given.items()
    }


def optional_moment(query: Mapping[str, str], name: str, *, now: int) -> int | None:
    """Return a point in time, or None where the client gave none (0 is none too).

    :raises InvalidInput: the text is no point in time.
    """
    text = query.get(name, "").strip()
    return None if text in {"", "0"} else moment(text, now=now)
