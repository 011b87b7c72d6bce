"""Drafts for the event loop: what sources make their layers with (`sources.drafts.Drafts`)."""

from __future__ import annotations

from wherry.build.cache.threads import Threads
from wherry.build.model.snapshot import Snapshot
from wherry.build.snapshots.draft import Draft as StoredDraft
from wherry.build.solver.contract import Snapshots
from wherry.layers.overlay_paths import OverlayMount

__all__ = ["Drafts"]


class Drafts:
    """Makes layers of a snapshot store in threads."""

    def __init__(self, snapshots: Snapshots, threads: Threads) -> None:
        self._snapshots = snapshots
        self._threads = threads

    async def draft(self, base: Snapshot) -> Draft:
        """Begin one on top of a snapshot."""
        made = await self._threads.run(self._snapshots.draft, base, undo=self._snapshots.discard)
        return Draft(self._snapshots, self._threads, made)


class Draft:
    """A layer that is being made."""

    def __init__(self, snapshots: Snapshots, threads: Threads, draft: StoredDraft) -> None:
        self._snapshots = snapshots
        self._threads = threads
        self._draft = draft

    @property
    def overlay(self) -> OverlayMount:
        """Its writable directory, which is there, is what becomes the layer."""
        return self._draft.overlay()

    async def commit(self) -> Snapshot:
        """It becomes a layer, as it is."""
        return await self._threads.run(self._snapshots.commit, self._draft, undo=self._undo)

    def _undo(self, made: Snapshot) -> None:
        self._snapshots.remove([made.layers[-1].number])

    async def discard(self) -> None:
        """Remove it; does nothing after `commit`."""
        await self._threads.finish(self._snapshots.discard, self._draft)
