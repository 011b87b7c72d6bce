"""The options of logs: the checks of their values, in Docker's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from wherry.docker.units import parse_size
from wherry.engine.log_drivers.contract import OptionCheck
from wherry.engine.log_drivers.tag import check_tag
from wherry.errors import InvalidInput, Unsupported
from wherry.oci.go_patterns import Expression

__all__ = ["COMMON_CHECKS", "SEGMENT_CHECKS", "size_of", "waits_when_full"]

_MOST_FILES: Final = 1_000_000
_MOST_BYTES: Final = (1 << 63) - 1  # a file has no more
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def _check_mode(text: str) -> None:
    if text not in ("blocking", "non-blocking"):
        raise InvalidInput(f"logger: logging mode not supported: {text}")


def _check_files(text: str) -> None:
    if not re.fullmatch(r"[0-9]{1,7}", text) or not 1 <= int(text) <= _MOST_FILES:
        raise InvalidInput(f"max-file cannot be less than 1, or more than {_MOST_FILES}: '{text[:20]}'")


def _check_size(text: str) -> None:
    if text != "-1" and size_of(text) is None:
        raise InvalidInput(f"invalid size: '{text}'")


def _check_buffer(text: str) -> None:
    if size_of(text) is None:
        raise InvalidInput(f"error parsing option max-buffer-size: invalid size: '{text}'")


def _check_compress(text: str) -> None:
    """Rotated segments stay as they were written: attached clients and ``logs`` read them by their offsets."""
    if text not in _TRUE | _FALSE:
        raise InvalidInput(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    if text in _TRUE:
        raise Unsupported(
            "the log option compress is not supported: rotated logs are kept as they were written",
            hint="bound the log instead: --log-opt max-size, max-file",
        )


def _any(text: str) -> None:
    """Names, separated by commas; those that there are not are left out, as in Docker."""


COMMON_CHECKS: Final[Mapping[str, OptionCheck]] = {
    "mode": _check_mode,
    "max-buffer-size": _check_buffer,
    "labels": _any,
    "env": _any,
    "labels-regex": Expression,
    "env-regex": Expression,
    "tag": check_tag,
}
"""What every driver takes."""

SEGMENT_CHECKS: Final[Mapping[str, OptionCheck]] = {
    **COMMON_CHECKS,
    "max-size": _check_size,
    "max-file": _check_files,
    "compress": _check_compress,
}
"""What a driver takes whose log are the keeper's segments."""


def waits_when_full(options: Mapping[str, str]) -> bool:
    """Whether a container waits when its log is full: for room on the disk, and for attached clients."""
    return options.get("mode", "blocking") == "blocking"


def size_of(text: str) -> int | None:
    """A size as ``10m`` in bytes; None where it is none."""
    try:
        return min(parse_size(text), _MOST_BYTES)
    except ValueError:
        return None
