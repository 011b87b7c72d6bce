"""``local``: the keeper's log segments under Docker's name."""

from __future__ import annotations

from typing import Final

from wherry.engine.log_drivers.segments import segment_driver

__all__ = ["LOCAL"]

LOCAL: Final = segment_driver("local", "log driver local")
