"""``json-file``: the keeper's log segments under Docker's name; with ``file=true`` a file of Docker's beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wherry.engine.log_drivers.contract import LogBounds, Options
from wherry.engine.log_drivers.options import SEGMENT_CHECKS, check_bool, is_true
from wherry.engine.log_drivers.segments import segment_driver

__all__ = ["JSON_FILE"]


def _writes(options: Options) -> bool:
    return is_true(options, "file")


_PLAIN: Final = segment_driver("json-file", "json-file log driver")


def _bounds(options: Options) -> LogBounds:
    bounds = _PLAIN.bounds(options)
    return replace(bounds, max_files=max(bounds.max_files, 2)) if _writes(options) else bounds


JSON_FILE: Final = replace(
    _PLAIN, checks={**SEGMENT_CHECKS, "file": check_bool}, bounds=_bounds, sends=_writes, writes_file=_writes,
    sender="json_lines.JsonFileSender",
)  # fmt: skip
