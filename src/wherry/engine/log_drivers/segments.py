"""The segments that the keeper writes, as a log driver; ``json-file`` and ``local`` are Docker's names for them."""

from __future__ import annotations

from typing import Final

from wherry.engine.log_drivers.contract import LogBounds, LogDriver, Options
from wherry.engine.log_drivers.options import SEGMENT_CHECKS, size_of, waits_when_full

__all__ = ["segment_driver"]

_DEFAULTS: Final = {"max-size": "20m", "max-file": "5"}


def _bounds(options: Options) -> LogBounds:
    return LogBounds(_segment_size(options["max-size"]), int(options["max-file"]), waits_when_full(options))


def _segment_size(text: str) -> int | None:
    """The bytes of a segment; ``-1`` is no limit."""
    if text == "-1":
        return None
    size = size_of(text)
    return size_of(_DEFAULTS["max-size"]) if size is None else size


def _retention(options: Options) -> str:
    return f"{options['max-file']} files of {options['max-size']}"


def segment_driver(name: str, title: str) -> LogDriver:
    """A driver under one of Docker's names for the segments.

    :param title: the driver in the errors about its options.
    """
    return LogDriver(
        name=name, title=title, checks=SEGMENT_CHECKS, defaults=_DEFAULTS, bounds=_bounds, retention=_retention
    )
