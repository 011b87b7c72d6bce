"""Names of volumes. A name becomes that of a directory, so what could lead out of its parent is refused."""

from __future__ import annotations

import re
from typing import Final

from wherry.docker.quoting import quoted
from wherry.errors import InvalidInput

__all__ = ["check_name", "is_name"]

_CHARACTERS: Final = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME: Final = re.compile(_CHARACTERS + "+")
_LONGEST: Final = 255  # bytes, of a file's name (limits.h, NAME_MAX)


def is_name(name: str) -> bool:
    """Whether a volume can have this name."""
    return 1 < len(name) <= _LONGEST and _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Return the name of a volume of the driver ``local``.

    :raises InvalidInput: Docker would not take it, or no directory can have it.
    """
    if len(name) == 1:
        raise InvalidInput("volume name is too short, names should be at least two alphanumeric characters")
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f'{quoted(name)} includes invalid characters for a local volume name, only "{_CHARACTERS}" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if len(name) > _LONGEST:
        raise InvalidInput(f"volume name is too long: {len(name)} characters, {_LONGEST} are allowed")
    return name
