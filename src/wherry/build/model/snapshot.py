"""Snapshots: the file systems that operations give, as values.

A snapshot is layers upon each other, bottom first. A layer is a directory in overlayfs' own form (whiteouts are 0/0
character devices, opaque directories have the attribute ``trusted.overlay.opaque``), and is never changed once it is
part of a snapshot. It is known by the number of its directory below ``layers/``; its digest is computed later, beside
the next steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["EMPTY", "PASSING", "Snapshot", "SnapshotLayer"]

#: The number of a layer that is none, but a directory that goes with its build.
PASSING: Final = -2


@dataclass(frozen=True, slots=True)
class SnapshotLayer:
    """One layer: the number, and the directory's path."""

    number: int
    path: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Layers upon each other, bottom first."""

    layers: tuple[SnapshotLayer, ...] = ()

    def with_layer(self, layer: SnapshotLayer) -> Snapshot:
        """One more layer, on top."""
        return Snapshot((*self.layers, layer))

    @property
    def lower(self) -> tuple[str, ...]:
        """The directories, top first, as overlayfs takes them."""
        return tuple(layer.path for layer in reversed(self.layers))


EMPTY = Snapshot()
"""LLB's scratch."""
