"""Points in time as image configurations, Docker's API and its clients write them.

RFC 3339 with up to nine digits of a second's fraction; and what filters take besides: seconds since the epoch, or how
long ago. Inside wherry a point in time is nanoseconds since the epoch.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from wherry.errors import InvalidInput

__all__ = ["from_rfc3339", "moment", "rfc3339"]

_SECOND: Final = 1_000_000_000
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9})\d*)?)?([Zz]|[+-]\d\d:?\d\d)?",
)
_UNIX_TIME: Final = re.compile(r"(-?)(\d+)(?:\.(\d{1,9})\d*)?")
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND}


def rfc3339(ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC, without trailing zeros, as Go prints them."""
    seconds, fraction = divmod(ns, _SECOND)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def from_rfc3339(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time; a missing time of day is midnight, a missing zone is UTC.

    :raises InvalidInput: it is no such time.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise InvalidInput(f'invalid time "{text}": not RFC 3339')
    day, clock, fraction, zone = match.groups()
    try:
        point = datetime.fromisoformat(f"{day}T{clock or '00:00:00'}{'+00:00' if not zone or zone in 'Zz' else zone}")
    except ValueError as exc:
        raise InvalidInput(f'invalid time "{text}"', cause=str(exc)) from exc
    whole = (point - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return whole * _SECOND + _fraction(fraction)


def moment(text: str, *, now: int | None = None) -> int:
    """Nanoseconds since the epoch of what ``--since``, ``--until`` and filters take, as moby's ``GetTimestamp``.

    :param text: ``"1700000000.5"``, ``"2024-01-02T03:04:05Z"``, ``"2024-01-02"``, or how long ago: ``"1h30m"``.
    :param now: the present, in nanoseconds since the epoch; without it, the clock's.
    :raises InvalidInput: it is none of these.
    """
    if match := _UNIX_TIME.fullmatch(text):
        value = int(match[2]) * _SECOND + _fraction(match[3])
        return -value if match[1] else value
    if text and not _DURATION.sub("", text):
        back = sum(int(float(number) * _UNITS[unit]) for number, unit in _DURATION.findall(text))
        return (time.time_ns() if now is None else now) - back
    try:
        return from_rfc3339(text)
    except InvalidInput:
        raise InvalidInput(f'failed to parse value as time or duration: "{text}"') from None


def _fraction(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))
