"""The options of logs: the checks of their values, in Docker's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from wherry.docker.units import parse_size
from wherry.engine.log_drivers.contract import OptionCheck
from wherry.engine.log_drivers.tag import check_tag
from wherry.errors import InvalidInput
from wherry.oci.go_patterns import Expression

__all__ = [
    "CACHE_CHECKS", "COMMON_CHECKS", "SEGMENT_CHECKS", "check_bool", "check_number", "is_true", "segment_size",
    "size_of", "waits_when_full",
]  # fmt: skip

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


def check_bool(text: str) -> None:
    """A truth value as Go reads it."""
    if text not in _TRUE | _FALSE:
        raise InvalidInput(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def check_number(text: str) -> None:
    """A number that is not negative."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise InvalidInput(f'strconv.ParseUint: parsing "{text[:20]}": invalid syntax')


def _check_cache_disabled(text: str) -> None:
    if text not in _TRUE | _FALSE | {""}:
        raise InvalidInput(f"invalid value for option cache-disabled: {text}")


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
    "compress": check_bool,
}
"""What a driver takes whose log are the keeper's segments."""


CACHE_CHECKS: Final[Mapping[str, OptionCheck]] = {
    "cache-disabled": _check_cache_disabled,
    "cache-max-size": _check_size,
    "cache-max-file": _check_files,
    "cache-compress": check_bool,
}
"""The segments of a driver that sends logs elsewhere: what ``docker logs`` reads."""


def is_true(options: Mapping[str, str], name: str) -> bool:
    """Whether an option is there, and true."""
    return options.get(name) in _TRUE


def segment_size(text: str) -> int | None:
    """The bytes of a segment; ``-1`` is no limit."""
    return None if text == "-1" else size_of(text) or size_of("20m")


def waits_when_full(options: Mapping[str, str]) -> bool:
    """Whether a container waits when its log is full: for room on the disk, and for attached clients."""
    return options.get("mode", "blocking") == "blocking"


def size_of(text: str) -> int | None:
    """A size as ``10m`` in bytes; None where it is none."""
    try:
        return min(parse_size(text), _MOST_BYTES)
    except ValueError:
        return None
