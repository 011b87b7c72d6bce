"""``json-file``: the keeper's log segments under Docker's name."""

from __future__ import annotations

from typing import Final

from wherry.engine.log_drivers.segments import segment_driver

__all__ = ["JSON_FILE"]

JSON_FILE: Final = segment_driver("json-file", "json-file log driver")
