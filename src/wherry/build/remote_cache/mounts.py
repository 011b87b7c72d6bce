"""Cache mounts that go elsewhere with the cache: each as one layer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

from wherry.build.cache.directories import KeptDirectories
from wherry.build.cache.mounts import MOUNT_KIND, CacheMount
from wherry.build.exporters.contract import LayerBlob, Layers
from wherry.build.model.graph import CacheSharing
from wherry.build.model.snapshot import Snapshot, SnapshotLayer
from wherry.build.sources.local import KEPT
from wherry.content.threads import Worker
from wherry.errors import InvalidInput
from wherry.images.reference_counts import Lease

__all__ = ["MOUNTS", "MountContents"]

#: The attribute of an export or import that has cache mounts with it.
MOUNTS: Final = "mounts"
_PATIENCE: Final = 30.0


class _Removable(Protocol):
    def remove(self, numbers: Iterable[int]) -> int:
        """Remove layers."""
        ...


class MountContents:
    """What cache mounts hold. To be used on one event loop.

    :param own: copies a directory into layers.
    :param snapshots: removes these.
    :ivar patience: seconds for which steps that use a cache mount are waited for.
    """

    def __init__(
        self,
        directories: KeptDirectories,
        own: Callable[[Snapshot], Awaitable[Snapshot]],
        layers: Layers,
        snapshots: _Removable,
        worker: Worker,
    ) -> None:
        self._directories = directories
        self._own = own
        self._layers = layers
        self._snapshots = snapshots
        self._worker = worker
        self.patience = _PATIENCE

    async def blobs(
        self, mounts: Sequence[CacheMount], lease: Lease, say: Callable[[str], object]
    ) -> dict[str, LayerBlob]:
        """The contents of those that are there and hold something, by their pure keys.

        Nobody writes to a cache mount while it is copied.

        :param say: takes sentences about those that had to be left out.
        :raises OutOfSpace: the disk is full.
        """
        found: dict[str, LayerBlob] = {}
        for mount in mounts:
            snapshot = await self._copy(mount, say)
            if snapshot is None:
                continue
            try:
                [found[mount.pure]] = await self._layers.blobs(snapshot, lease)
            except InvalidInput as error:  # names that no layer can have
                say(f"the cache mount {mount.id} is not exported: {error}")
            finally:
                numbers = [layer.number for layer in snapshot.layers]
                await self._worker.finish(partial(self._snapshots.remove, numbers))
        return found

    async def _copy(self, mount: CacheMount, say: Callable[[str], object]) -> Snapshot | None:
        if not self._directories.has(MOUNT_KIND, mount.key):
            return None
        try:
            async with asyncio.timeout(self.patience):
                kept = await self._directories.acquire(MOUNT_KIND, mount.key, mount.id, sharing=CacheSharing.LOCKED)
        except TimeoutError:
            say(f"the cache mount {mount.id} is not exported: steps use it all the time")
            return None
        try:
            if await self._worker.run(lambda _: _is_empty(str(kept.path))):
                return None
            return await self._own(Snapshot((SnapshotLayer(KEPT, str(kept.path)),)))
        finally:
            kept.release()


def _is_empty(path: str) -> bool:
    with os.scandir(path) as entries:
        return next(entries, None) is None
