"""Query parameters, read as dockerd reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

Filters = dict[str, list[str]]

_FALSE: Final = frozenset(("", "0", "no", "false", "none"))
_SECOND: Final = 1_000_000_000
_UNIX_TIME: Final = re.compile(r"-?(\d+)(?:\.(\d{1,9})\d*)?\Z")
_GO_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND}
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


def moment(text: str, *, now: int) -> int:
    """Return a point in time, in nanoseconds since the epoch.

    Seconds since the epoch with or without a fraction, RFC 3339 (a date alone will do), or a Go duration that is
    counted back from now, as moby's ``GetTimestamp`` has it.

    :param text: ``"1700000000.5"``, ``"2024-01-02T03:04:05Z"``, ``"2024-01-02"``, ``"10m"``.
    :param now: the present, in nanoseconds since the epoch.
    :raises InvalidInput: it is none of these.
    """
    if match := _UNIX_TIME.match(text):
        seconds, fraction = match.groups()
        value = int(seconds) * _SECOND + int((fraction or "").ljust(9, "0"))
        return -value if text.startswith("-") else value
    if (back := _duration(text)) is not None:
        return now - back
    return _calendar(text)


def _duration(text: str) -> int | None:
    if not text or _GO_DURATION.sub("", text):
        return None
    return sum(int(float(number) * _UNITS[unit]) for number, unit in _GO_DURATION.findall(text))


def _calendar(text: str) -> int:
    whole, fraction, zone = _split_fraction(text)
    try:
        point = datetime.fromisoformat(whole + zone)
    except ValueError:
        raise InvalidInput(f'failed to parse value as time or duration: "{text}"') from None
    if point.tzinfo is None:
        point = point.replace(tzinfo=UTC)
    return int(point.timestamp()) * _SECOND + fraction


def _split_fraction(text: str) -> tuple[str, int, str]:
    """Cut the fraction of a second out: RFC 3339 has nine digits, Python's datetime six."""
    match = re.match(r"(.*T\d\d:\d\d:\d\d)\.(\d{1,9})\d*(.*)\Z", text)
    if not match:
        return text, 0, ""
    return match[1], int(match[2].ljust(9, "0")), match[3]


def optional_moment(query: Mapping[str, str], name: str, *, now: int) -> int | None:
    """Return a point in time, or None where the client gave none (0 is none too).

    :raises InvalidInput: the text is no point in time.
    """
    text = query.get(name, "").strip()
    return None if text in {"", "0"} else moment(text, now=now)
