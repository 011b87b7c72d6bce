"""``none``: output goes to attached clients only."""

from __future__ import annotations

from typing import Final

from wherry.engine.log_drivers.contract import LogBounds, LogDriver
from wherry.engine.log_drivers.options import SEGMENT_CHECKS

__all__ = ["NONE"]

_BOUNDS: Final = LogBounds(max_size=1 << 20, max_files=2, blocking=False)  # what an attached client may lag behind

NONE: Final = LogDriver(
    name="none", title="none log driver", checks=SEGMENT_CHECKS, bounds=lambda options: _BOUNDS,
    retention=lambda options: "none", is_readable=lambda options: False, is_spool=True,
)  # fmt: skip
