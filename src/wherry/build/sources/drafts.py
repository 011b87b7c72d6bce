"""What a source needs of the layers on disk: to begin one, and to finish it."""

from __future__ import annotations

from typing import Protocol

from wherry.build.model.snapshot import Snapshot
from wherry.layers.overlay_paths import OverlayMount

__all__ = ["Draft", "Drafts"]


class Draft(Protocol):
    """A layer that is being made."""

    @property
    def overlay(self) -> OverlayMount:
        """Its writable directory, which is there, is what becomes the layer."""
        ...

    async def commit(self) -> Snapshot:
        """It becomes a layer, as it is."""
        ...

    async def discard(self) -> None:
        """Remove it; does nothing after `commit`."""
        ...


class Drafts(Protocol):
    """Makes layers."""

    async def draft(self, base: Snapshot) -> Draft:
        """Begin one on top of a snapshot."""
        ...
