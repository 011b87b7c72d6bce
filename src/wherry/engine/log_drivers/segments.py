"""The segments that the keeper writes, as a log driver; ``json-file`` and ``local`` are Docker's names for them."""

from __future__ import annotations

from typing import Any, Final

from wherry.engine.log_drivers.contract import LogBounds, LogDriver, Options
from wherry.engine.log_drivers.options import SEGMENT_CHECKS, is_true, segment_size, waits_when_full
from wherry.errors import InvalidInput

__all__ = ["check_compress", "segment_driver"]

_DEFAULTS: Final = {"max-size": "20m", "max-file": "5"}


def _bounds(options: Options) -> LogBounds:
    return LogBounds(segment_size(options["max-size"]), int(options["max-file"]), waits_when_full(options))


def _retention(options: Options) -> str:
    return f"{options['max-file']} files of {options['max-size']}"


def check_compress(options: Options) -> None:
    """Compressed is what was rotated; Docker's words where nothing is.

    :raises InvalidInput: nothing is rotated.
    """
    if is_true(options, "compress") and (options.get("max-file") == "1" or options.get("max-size") == "-1"):
        raise InvalidInput("compress cannot be true when max-file is less than 2 or max-size is not set")


def segment_driver(name: str, title: str, **members: Any) -> LogDriver:
    """A driver under one of Docker's names for the segments.

    :param title: the driver in the errors about its options.
    :param members: of `LogDriver`, in place of these.
    """
    return LogDriver(
        name=name,
        title=title,
        **{
            "checks": SEGMENT_CHECKS,
            "check_all": check_compress,
            "defaults": _DEFAULTS,
            "bounds": _bounds,
            "retention": _retention,
            **members,
        },
    )
