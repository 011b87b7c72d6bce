"""Points in time in the Engine API: the present, and what ``since``, ``until`` and filters take.

RFC 3339 itself is `wherry.oci.times`. Inside wherry a point in time is nanoseconds since the epoch.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Final

from wherry.docker.units import parse_duration
from wherry.errors import InvalidInput
from wherry.oci.times import from_rfc3339, rfc3339

__all__ = ["ZERO_TIME", "from_rfc3339", "moment", "now", "rfc3339"]

ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""Go's zero time, which the API uses for *never*."""

_UNIX_TIME: Final = re.compile(r"(-?)([0-9]{1,18})(?:\.([0-9]{1,9})[0-9]*)?")


def now() -> str:
    """The present as RFC 3339."""
    return rfc3339(time.time_ns())


def moment(text: str, *, now: int | None = None) -> int:
    """Nanoseconds since the epoch of what ``--since``, ``--until`` and filters take, as moby's ``GetTimestamp``.

    :param text: ``"1700000000.5"``, ``"2024-01-02T03:04:05Z"``, ``"2024-01-02"``, or how long ago: ``"1h30m"``.
    :param now: the present, in nanoseconds since the epoch; without it, the clock's.
    :raises InvalidInput: it is none of these.
    """
    if match := _UNIX_TIME.fullmatch(text):
        value = int(match[2]) * 1_000_000_000 + int((match[3] or "").ljust(9, "0"))
        return -value if match[1] else value
    with suppress(ValueError):
        return (time.time_ns() if now is None else now) - parse_duration(text)
    try:
        return from_rfc3339(text)
    except InvalidInput:
        raise InvalidInput(f'failed to parse value as time or duration: "{text}"') from None
