"""Orphans: stored blobs and layers without a row, after a crash or a damaged database."""

from __future__ import annotations

import logging
from typing import Final

from wherry.database.database import Database
from wherry.images.reference_counts import ReferenceCounts
from wherry.layers.store import LayerStore

__all__ = ["reconcile", "remove"]

log: Final = logging.getLogger(__name__)


def reconcile(database: Database, references: ReferenceCounts, layers: LayerStore) -> None:
    """Remove orphans at start; keep and log them when the database has lost changes."""
    if not database.has_lost_changes:
        remove(database, references, layers)
        return
    blobs, trees = references.orphans(), layers.orphans()
    if not blobs and not trees:
        database.believe()
        return
    database.doubt()
    references.spare(blobs)
    log.error(
        "the database has lost changes: it was damaged, or replaced. What it does not know is kept; "
        "`wherry system fsck` shows it, and with --repair removes it",
        extra={"blobs": len(blobs), "layers": len(trees)},
    )


def remove(database: Database, references: ReferenceCounts, layers: LayerStore) -> None:
    """Remove all orphans; the database counts as complete from now on."""
    if database.has_lost_changes:
        database.believe()
    references.delete_all_unreferenced()
    layers.remove_orphans()
