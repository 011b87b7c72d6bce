"""A bound on what one Dockerfile may make the front do: stages inherit, and what each inherits adds up."""

from __future__ import annotations

from typing import Final

from wherry.errors import TooLarge

__all__ = ["Budget"]

ENTRY: Final = 48
"""What an entry of a list or a map costs, beside its characters."""
_MOST: Final = 1 << 27


class Budget:
    """Counts what is kept and copied, in characters."""

    def __init__(self, most: int = _MOST) -> None:
        self._left = most

    def spend(self, characters: int, entries: int = 0) -> None:
        """Count something.

        :raises TooLarge: it is more than any Dockerfile that was written to be built needs.
        """
        self._left -= characters + entries * ENTRY
        if self._left < 0:
            raise TooLarge("the dockerfile's stages and variables together are too many")
