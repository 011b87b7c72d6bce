"""Names of devices: ``vendor.com/class=name``; the Container Device Interface's SPEC.md."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_device", "is_kind", "is_qualified", "shown"]

_VENDOR: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_DEVICE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")
_LONGEST: Final = 200  # of what a caller says, in an error


def is_kind(text: str) -> bool:
    """Whether this is a vendor and a class: ``vendor.com/class``."""
    vendor, slash, kind = text.partition("/")
    return bool(slash and _VENDOR.fullmatch(vendor) and _VENDOR.fullmatch(kind))


def is_device(text: str) -> bool:
    """Whether this is what a device may be called within its class."""
    return bool(_DEVICE.fullmatch(text))


def is_qualified(text: str) -> bool:
    """Whether this is the whole name of a device."""
    kind, equals, name = text.partition("=")
    return bool(equals and is_kind(kind) and is_device(name))


def shown(names: list[str]) -> str:
    """Names that a caller has said, for an error."""
    text = ", ".join(names)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
