"""A bound on what one Dockerfile may make the front do: stages inherit, and what each inherits adds up."""

from __future__ import annotations

from typing import Final

from wherry.errors import TooLarge

__all__ = ["Budget"]

_MOST: Final = 4_000_000


class Budget:
    """Counts what was copied: variables, labels, bytes of environments by the kilobyte."""

    def __init__(self, most: int = _MOST) -> None:
        self._left = most

    def spend(self, amount: int) -> None:
        """Count something.

        :raises TooLarge: it is more than any Dockerfile that was written to be built needs.
        """
        self._left -= amount
        if self._left < 0:
            raise TooLarge("the dockerfile's stages and variables together are too many")
