"""What drivers and definitions read among the options of networks."""

from __future__ import annotations

from collections.abc import Mapping

from wherry.errors import InvalidInput

__all__ = ["check_interface_name", "is_true"]


def check_interface_name(name: str) -> None:
    """Check a name for an interface; see dev_valid_name in the kernel.

    :raises InvalidInput: the kernel would not take it.
    """
    if not name or len(name.encode()) > 15 or name in (".", "..") or any(c in "/:%\0" or c.isspace() for c in name):
        hint = "at most 15 bytes, without slash, colon, percent sign and space"
        raise InvalidInput(f"invalid interface name {name!r}", hint=hint)


def is_true(options: Mapping[str, str], name: str, default: bool) -> bool:
    """A switch among the options, in the words that Go's ParseBool knows.

    :raises InvalidInput: another word.
    """
    text = options.get(name, "")
    if not text:
        return default
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise InvalidInput(f"invalid value for driver option {name}: {text!r} is neither true nor false")
