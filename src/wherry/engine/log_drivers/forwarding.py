"""Drivers that send logs elsewhere: the segments are what is still to be sent, and what ``docker logs`` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from wherry.engine.log_drivers.contract import LogBounds, LogDriver, OptionCheck, Options
from wherry.engine.log_drivers.options import (
    CACHE_CHECKS,
    COMMON_CHECKS,
    is_true,
    segment_size,
    size_of,
    waits_when_full,
)

__all__ = ["forwarding_driver"]

_DEFAULTS: Final = {"cache-max-size": "20m", "cache-max-file": "5"}
_SPOOL: Final = 1 << 20  # bytes of a segment, and files, where nothing is kept but what is to be sent
_FEWEST: Final = 2  # one that is written, and one that is sent: else each would wait for the other


def _bounds(options: Options) -> LogBounds:
    waits = waits_when_full(options)
    if is_true(options, "cache-disabled"):
        size = _SPOOL if waits else max((size_of(options.get("max-buffer-size", "1m")) or _SPOOL) // _FEWEST, 4096)
        return LogBounds(size, _FEWEST, waits)
    return LogBounds(segment_size(options["cache-max-size"]), max(int(options["cache-max-file"]), _FEWEST), waits)


def _retention(options: Options) -> str:
    if is_true(options, "cache-disabled"):
        return "none, it is sent elsewhere"
    return f"{options['cache-max-file']} files of {options['cache-max-size']}, and sent elsewhere"


def forwarding_driver(
    name: str,
    checks: Mapping[str, OptionCheck],
    sender: str,
    *,
    check_all: Callable[[Options], None] = lambda options: None,
    quote: str = "'",
) -> LogDriver:
    """A driver that sends logs elsewhere.

    :param checks: of the options that are its own.
    :param sender: as in `LogDriver`.
    """
    return LogDriver(
        name=name, title=f"{name} log driver", checks={**COMMON_CHECKS, **CACHE_CHECKS, **checks}, check_all=check_all,
        bounds=_bounds, retention=_retention, defaults=_DEFAULTS, shows_defaults=False, quote=quote,
        is_readable=lambda options: not is_true(options, "cache-disabled"), sends=lambda options: True, sender=sender,
        has_log_path=False,
    )  # fmt: skip
