"""What the cache needs of the snapshots: it says which layers stay, they say how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wherry.build.model.snapshot import SnapshotLayer

__all__ = ["Layers"]


class Layers(Protocol):
    """Layers on disk, by number."""

    def layer(self, number: int) -> SnapshotLayer | None:
        """A layer by its number; None where it is gone or not whole."""
        ...

    async def remove(self, numbers: Sequence[int]) -> None:
        """The cache does not need these layers any more: delete those which no image has."""
        ...

    async def size(self, number: int) -> int:
        """Bytes that it takes on disk; 0 where it is gone."""
        ...

    def is_of_an_image(self, number: int) -> bool:
        """Whether an image has it as well."""
        ...
