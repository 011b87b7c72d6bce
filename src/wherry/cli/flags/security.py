"""``--security-opt``."""

from __future__ import annotations

from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["apply_security_options"]

_ALONE = ("no-new-privileges", "writable-cgroups")


def apply_security_options(body: dict[str, Any], options: Sequence[str]) -> None:
    """Put the options into a HostConfig; a seccomp profile is read here and sent as its content.

    :raises wherry.errors.InvalidInput: one is not ``key=value``, or the profile cannot be read.
    """
    kept = []
    for option in options:
        if option == "systempaths=unconfined":
            body["MaskedPaths"] = []
            body["ReadonlyPaths"] = []
            continue
        kept.append(_with_profile(option))
    body["SecurityOpt"] = kept


def _with_profile(option: str) -> str:
    key, equals, value = option.partition("=")
    if not equals:
        key, equals, value = option.partition(":")
    if not equals and option not in _ALONE:
        raise InvalidInput(f'Invalid --security-opt: "{option}"')
    if key != "seccomp" or value in ("unconfined", "builtin"):
        return option
    return f"seccomp={_read_profile(value)}"


def _read_profile(path: str) -> str:
    from wherry.client.codec import decode, encode

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        reason = f"open {path}: {(error.strerror or '').lower()}"
        raise InvalidInput(f"opening seccomp profile ({path}) failed: {reason}") from error
    try:
        return encode(decode(data)).decode()
    except ValueError as error:
        raise InvalidInput(f"compacting json for seccomp profile ({path}) failed: {error}") from error
