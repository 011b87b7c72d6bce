"""``--device`` and ``--gpus``."""

from __future__ import annotations

from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["apply_devices"]


def apply_devices(body: dict[str, Any], devices: Sequence[str], gpus: str) -> None:
    """Put devices into a HostConfig.

    :raises wherry.errors.InvalidInput: invalid device.
    """
    named = [device for device in devices if _is_cdi(device)]
    body["Devices"] = [_device(device) for device in devices if device not in named]
    requests = []
    if gpus:
        requests.append(_gpus(gpus))
    if named:
        requests.append({"Driver": "cdi", "Count": 0, "DeviceIDs": named, "Capabilities": None, "Options": None})
    body["DeviceRequests"] = requests or None


def _is_cdi(text: str) -> bool:
    """Whether this is a device name of the Container Device Interface, ``vendor.com/class=name``."""
    kind, equals, name = text.partition("=")
    return bool(equals and name and "/" in kind and not text.startswith("/"))


def _is_mode(text: str) -> bool:
    return bool(text) and len(set(text)) == len(text) and set(text) <= set("rwm")


def _device(text: str) -> dict[str, str]:
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not parts[0]:
        raise InvalidInput(f"invalid device specification: {text}")
    inside, mode = parts[0], "rwm"
    if len(parts) == 3:
        inside, mode = parts[1] or parts[0], parts[2]
        if not _is_mode(mode):
            raise InvalidInput(f"bad mode specified: {mode}")
    elif len(parts) == 2 and _is_mode(parts[1]):
        mode = parts[1]
    elif len(parts) == 2:
        inside = parts[1]
    if not inside.startswith("/"):
        raise InvalidInput(f"{inside} is not an absolute path")
    return {"PathOnHost": parts[0], "PathInContainer": inside, "CgroupPermissions": mode}


def _gpus(text: str) -> dict[str, Any]:
    if text != "all" and not text.isdigit():
        raise InvalidInput(f"--gpus takes 'all' or a number, not {text!r}")
    count = -1 if text == "all" else int(text)
    return {"Driver": "", "Count": count, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
