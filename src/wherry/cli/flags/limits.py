"""Limits of one resource or device: ``nofile=1024:2048``, ``/dev/sda:200``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["throttle_bytes", "throttle_operations", "ulimit", "weight_device"]

_ULIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)


def ulimit(text: str) -> dict[str, Any]:
    """Read ``name=soft[:hard]``; -1 is no limit.

    :raises ValueError: invalid limit.
    """
    name, equals, values = text.partition("=")
    if not equals or not name:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    parts = values.split(":")
    if len(parts) > 2:
        raise ValueError(f"too many limit value arguments - {values}, can only have up to two, `soft[:hard]`")
    try:
        soft, hard = int(parts[0]), int(parts[-1])
    except ValueError:
        raise ValueError(f"invalid ulimit value in {text}: whole numbers are expected") from None
    if hard != -1 and (soft > hard or soft == -1):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Hard": hard, "Soft": soft}


def _device(text: str) -> tuple[str, str]:
    path, colon, value = text.rpartition(":")
    if not colon or ":" in path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value


def weight_device(text: str) -> dict[str, Any]:
    """Read ``/dev/sda:weight``; the weight is 0 or 10 to 1000."""
    path, value = _device(text)
    if not value.isdigit() or (int(value) and not 10 <= int(value) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(value)}


def throttle_bytes(text: str) -> dict[str, Any]:
    """Read ``/dev/sda:1mb``."""
    from wherry.docker.units import parse_size

    path, value = _device(text)
    try:
        return {"Path": path, "Rate": parse_size(value)}
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. "
            "Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ) from None


def throttle_operations(text: str) -> dict[str, Any]:
    """Read ``/dev/sda:1000``."""
    path, value = _device(text)
    if not value.isdigit():
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(value)}
