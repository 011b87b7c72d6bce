"""Query parameters, read as dockerd reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from wherry.api.http import gojson
from wherry.docker.filters import parse_filters
from wherry.docker.times import moment
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

Filters = dict[str, list[str]]

_FALSE: Final = frozenset(("", "0", "no", "false", "none"))
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[0-9]+")
_DIGITS: Final = 40  #: Python refuses to read numbers of more than 4300 digits


def flag(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return a boolean: everything but an empty word, 0, no, false and none is true (moby's ``BoolValue``)."""
    if name not in query:
        return default
    return query[name].strip().lower() not in _FALSE


def integer(query: Mapping[str, str], name: str, *, default: int = 0) -> int:
    """Return a number.

    :raises InvalidInput: there is something that is not a number, or none of 64 bits; in Go's words.
    """
    text = query.get(name, "").strip()
    if not text:
        return default
    if not _INTEGER.fullmatch(text):
        raise InvalidInput(f'strconv.Atoi: parsing "{text}": invalid syntax')
    if len(text) > _DIGITS or not -(1 << 63) <= int(text) < 1 << 63:
        raise InvalidInput(f'strconv.Atoi: parsing "{text}": value out of range')
    return int(text)


def optional_integer(query: Mapping[str, str], name: str) -> int | None:
    """Return a number, or None where the client gave none.

    :raises InvalidInput: there is something that is not a number.
    """
    return integer(query, name) if query.get(name, "").strip() else None


def side(query: Mapping[str, str], name: str, what: str) -> int:
    """Return the height or width of a terminal, which has to be there.

    :raises InvalidInput: it is no number, or out of range, as dockerd says it.
    """
    text = query.get(name, "")
    digits = text.removeprefix("-")
    fault = ""
    if not _NUMBER.fullmatch(digits):
        fault = "invalid syntax"
    elif text.startswith("-") or len(digits) > _DIGITS or int(digits) >= 1 << 32:
        fault = "value out of range"
    if fault:
        raise InvalidInput(f'invalid resize {what} "{text}": {fault}')
    return int(digits)


def platform(text: str) -> str:
    """Return a platform as ``os/architecture[/variant]``; clients since API 1.46 send the JSON of an OCI platform.

    :raises InvalidInput: it is neither.
    """
    if not text.startswith("{"):
        return text
    try:
        given = gojson.decode(text.encode(errors="replace"), _Platform)
    except InvalidInput as error:
        raise InvalidInput("failed to parse platform", cause=error.cause or error.message) from None
    if not (given.os and given.architecture):
        raise InvalidInput("both OS and Architecture must be provided")
    return "/".join(part for part in (given.os, given.architecture, given.variant) if part)


class _Platform(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""


def filters(query: Mapping[str, str]) -> Filters:
    """Return the filters, given as ``{"name": ["a"]}`` or, as old clients do, as ``{"name": {"a": true}}``.

    :raises InvalidInput: the text is neither, or longer than anybody needs.
    """
    text = query.get("filters", "")
    if not text:
        return {}
    try:
        given = gojson.decode(text.encode(errors="replace"), dict[str, Any])
    except InvalidInput:
        raise InvalidInput("invalid filter") from None
    return parse_filters(given)


def optional_moment(query: Mapping[str, str], name: str, *, now: int) -> int | None:
    """Return a point in time, or None where the client gave none; 0 is the epoch.

    :raises InvalidInput: the text is no point in time.
    """
    text = query.get(name, "").strip()
    return moment(text, now=now) if text else None
