"""A bound on what one Dockerfile may make the front do: stages inherit, variables grow, and platforms multiply it."""

from __future__ import annotations

from threading import Lock
from typing import Final

from wherry.build.dockerfile.globs import GlobWork
from wherry.errors import TooLarge

__all__ = ["Budget"]

ENTRY: Final = 48
"""What an entry of a list or a map costs, beside its characters."""
_MOST: Final = 1 << 27


class Budget:
    """Counts what is kept and copied, in characters; one for all platforms of a build, whose threads share it.

    :ivar patterns: counts what patterns in ``${}`` take.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._left = most
        self._lock = Lock()
        self.patterns: Final = GlobWork()

    def spend(self, characters: int, entries: int = 0) -> None:
        """Count something.

        :raises TooLarge: it is more than any Dockerfile that was written to be built needs.
        """
        with self._lock:
            self._left -= characters + entries * ENTRY
            left = self._left
        if left < 0:
            raise TooLarge("the dockerfile's stages and variables together are too many")
