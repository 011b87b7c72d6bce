"""The error that the C code of `json` raises."""

from __future__ import annotations

__all__ = ["JSONDecodeError"]


class JSONDecodeError(ValueError):
    """It is no JSON."""

    def __init__(self, message, text, place):
        super().__init__(f"JSON is malformed: {message} at character {place}")
