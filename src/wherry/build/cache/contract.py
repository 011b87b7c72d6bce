"""What the cache needs of the snapshots: it says which layers stay, they say how large they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from wherry.build.model.snapshot import Snapshot

__all__ = ["Layers"]


class Layers(Protocol):
    """Layers on disk, by number: `snapshots.SnapshotStore`. All of it may wait for the disk."""

    def snapshot(self, numbers: Sequence[int]) -> Snapshot | None:
        """A snapshot of layers that were remembered; None where one is gone."""
        ...

    def hold(self, snapshot: Snapshot) -> None:
        """Use a snapshot: its layers stay until as many `release`."""
        ...

    def release(self, snapshot: Snapshot) -> None:
        """Use it no longer."""
        ...

    def keep(self, snapshot: Snapshot) -> None:
        """Keep the layers of images in it, whatever becomes of the images."""
        ...

    def size(self, number: int) -> int:
        """Bytes of a layer.

        :raises NotFound: there is no such layer.
        """
        ...

    def is_shared(self, number: int) -> bool:
        """Whether an image has the layer as well."""
        ...

    def remove(self, numbers: Iterable[int]) -> int:
        """The cache does not need these layers any more; those in use go when they are released."""
        ...

    def want(self, numbers: Iterable[int]) -> None:
        """The cache needs these layers after all: what is to go when it is released stays."""
        ...

    def retain(self, numbers: Iterable[int]) -> int:
        """The cache needs these layers, and no others."""
        ...
