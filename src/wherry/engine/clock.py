"""The present, as the Engine API writes it: RFC 3339, nanoseconds, UTC."""

from __future__ import annotations

import time
from typing import Final

from wherry.oci.times import from_rfc3339, moment, rfc3339

__all__ = ["ZERO_TIME", "from_rfc3339", "moment", "now", "rfc3339"]

ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""Go's zero time, which the API uses for *never*."""


def now() -> str:
    """The present as RFC 3339."""
    return rfc3339(time.time_ns())
