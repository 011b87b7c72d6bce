"""The options of the driver ``local``: ``type``, ``device``, ``o`` and ``size``, with Docker's errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from wherry.docker.units import parse_size
from wherry.errors import InvalidInput

__all__ = ["bound_directory", "check_options", "is_mounted", "size_of"]

_BIND: Final = frozenset({"bind", "rbind"})
_KNOWN: Final = ("type", "o", "device", "size")
_NEEDS: Final = {"device": ("type",), "type": ("device",), "o": ("device", "type")}


def check_options(options: Mapping[str, str]) -> None:
    """Check the options of a new volume.

    :raises InvalidInput: in Docker's words.
    """
    for name in options:
        if name not in _KNOWN:
            raise InvalidInput(f'invalid option: "{name}"')
    for name, value in options.items():
        if "\0" in value:
            raise InvalidInput(f'invalid option: "{name}"', cause="it contains a null byte")
    if options.get("type") == "cifs":
        _check_address(options.get("device", ""))
    size_of(options)
    for name, needed in _NEEDS.items():
        missing = [other for other in needed if other not in options]
        if name in options and missing:
            raise InvalidInput(f'missing required option: "{missing[0]}"')


def _check_address(device: str) -> None:
    try:
        port = urlsplit(device).port
    except ValueError as exc:
        raise InvalidInput("error parsing mount device url", cause=str(exc)) from exc
    if port is not None:
        raise InvalidInput("port not allowed in CIFS device URL, include 'port' in 'o='")


def size_of(options: Mapping[str, str]) -> int:
    """The most bytes that a volume may take; 0: no limit.

    :raises InvalidInput: it is no size.
    """
    text = options.get("size")
    if text is None:
        return 0
    try:
        return max(parse_size(text), 0)
    except ValueError as exc:
        raise InvalidInput(str(exc)) from exc


def is_mounted(options: Mapping[str, str]) -> bool:
    """Whether a volume is something that has to be mounted, and not a directory of ours."""
    return bool(options.get("type") or options.get("device"))


def bound_directory(options: Mapping[str, str]) -> Path | None:
    """The directory of the host that a volume is, if it is one that may be written to."""
    words = options.get("o", "").split(",")
    device = options.get("device", "")
    return Path(device) if device.startswith("/") and not _BIND.isdisjoint(words) and "ro" not in words else None
