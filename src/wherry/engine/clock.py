"""Times as the Engine API writes them: RFC 3339, nanoseconds, UTC."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from wherry.errors import InvalidInput

__all__ = ["ZERO_TIME", "from_rfc3339", "now", "parse_moment", "rfc3339"]

ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""Go's zero time, which the API uses for *never*."""

_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9})\d*)?)?([Zz]|[+-]\d\d:?\d\d)?",
)
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")
_UNIT_NS: Final = {"h": 3_600e9, "m": 60e9, "s": 1e9, "ms": 1e6, "us": 1e3, "µs": 1e3, "ns": 1.0}


def rfc3339(ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC, without trailing zeros, as Go prints them."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def now() -> str:
    """The present as RFC 3339."""
    return rfc3339(time.time_ns())


def from_rfc3339(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time; a missing time of day is midnight, a missing zone is UTC.

    :raises InvalidInput: it is no such time.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise InvalidInput(f'invalid time "{text}": not RFC 3339')
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00:00'}{'+00:00' if not zone or zone in 'Zz' else zone}")
    except ValueError as exc:
        raise InvalidInput(f'invalid time "{text}"', cause=str(exc)) from exc
    whole = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return whole * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def parse_moment(text: str) -> int:
    """Nanoseconds since the epoch of what `--since` and `--until` take.

    :param text: seconds with an optional fraction (``1700000000.5``), RFC 3339, or a Go duration ago (``1h30m``).
    :raises InvalidInput: it is none of them.
    """
    text = text.strip()
    whole, _, fraction = text.partition(".")
    if whole.lstrip("-").isdecimal() and (not fraction or fraction.isdecimal()):
        sign = -1 if whole.startswith("-") else 1
        return int(whole) * 1_000_000_000 + sign * int(fraction[:9].ljust(9, "0"))
    parts = _DURATION_PART.findall(text)
    if parts and "".join(a + b for a, b in parts) == text:
        return time.time_ns() - int(sum(float(value) * _UNIT_NS[unit] for value, unit in parts))
    return from_rfc3339(text)
