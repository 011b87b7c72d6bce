"""Points in time as image configurations and Docker's API write them: RFC 3339, to the nanosecond.

Inside wherry a point in time is nanoseconds since the epoch.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

from wherry.errors import InvalidInput

__all__ = ["from_rfc3339", "rfc3339"]

_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9})\d*)?)?([Zz]|[+-]\d\d:?\d\d)?",
)


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
    since = point - _EPOCH
    return (since.days * 86400 + since.seconds) * _SECOND + _fraction(fraction)


def _fraction(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))
