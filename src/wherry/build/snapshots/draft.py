"""A draft: the writable directory that a step fills, on its way to become a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from wherry.build.model.snapshot import Snapshot
from wherry.layers.overlay_paths import OverlayMount

__all__ = ["Draft"]


class Draft:
    """A snapshot that is being changed. To be made by `SnapshotStore.draft`; committed or discarded once.

    :param parent: what it begins from.
    :param path: its own directory.
    :param bottom: the directory that stands for no layer.
    """

    def __init__(self, parent: Snapshot, path: Path, bottom: str) -> None:
        self.parent: Final = parent
        self.path: Final = path
        self.bottom: Final = bottom
        self._is_over = False

    @property
    def upper(self) -> Path:
        """The writable directory; it becomes the layer."""
        return self.path / "upper"

    @property
    def work(self) -> Path:
        """Overlayfs' own directory."""
        return self.path / "work"

    def overlay(self, target: str = "/") -> OverlayMount:
        """The overlay mount of a step; for operations on files see `mounts.mount_draft`."""
        return OverlayMount(target, self.parent.lower or (self.bottom,), str(self.upper), str(self.work))

    @property
    def is_over(self) -> bool:
        """Whether it was committed or discarded."""
        return self._is_over

    def end(self) -> None:
        """Note that it was."""
        self._is_over = True
