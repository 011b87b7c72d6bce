"""What a step that failed has left in its mounts, for those builds that keep it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from wherry.build.model.failure import FailedMount

__all__ = ["Leftovers"]


class Leftovers:
    """The mounts, in layers that no record has, and which go with the last one who holds them; held once to begin with.

    :param release: called then; robust against being cancelled.
    """

    def __init__(self, mounts: Sequence[FailedMount], release: Callable[[], Awaitable[None]]) -> None:
        self.mounts: Final = tuple(mounts)
        self._ends = [release]
        self._holders = 1

    def hold(self) -> Leftovers:
        """Hold it once more."""
        self._holders += 1
        return self

    def with_end(self, release: Callable[[], Awaitable[None]]) -> None:
        """Call something else at the end as well: it releases what the layers stand on."""
        self._ends.append(release)

    async def release(self) -> None:
        """Hold it once less; also while being cancelled."""
        self._holders -= 1
        if not self._holders:
            for end in self._ends:
                await end()
