"""API versions: the supported range, and the errors for all others."""

from __future__ import annotations

from typing import Final

from wherry.errors import InvalidInput

Version = tuple[int, int]

OLDEST: Final[Version] = (1, 24)
NEWEST: Final[Version] = (1, 56)


def show(version: Version) -> str:
    """Return the version as it stands in a path, without the ``v``."""
    return f"{version[0]}.{version[1]}"


def parse(text: str) -> Version:
    """Return the version that a client put into its path.

    :param text: ``"1.43"``.
    :raises InvalidInput: it is older or newer than what is answered; the wording is dockerd's, which clients show.
    """
    major, _, minor = text.partition(".")
    version = (int(major), int(minor or 0))
    if version > NEWEST:
        raise InvalidInput(f"client version {text} is too new. Maximum supported API version is {show(NEWEST)}")
    if version < OLDEST:
        raise InvalidInput(
            f"client version {text} is too old. Minimum supported API version is {show(OLDEST)}, "
            "please upgrade your client to a newer version"
        )
    return version
