"""What everything costs on disk: ``docker system df`` and ``docker ps --size``."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.engine.container import Container
from wherry.engine.images import Images
from wherry.engine.registry import Registry

if TYPE_CHECKING:
    from wherry.engine.containers import Containers

__all__ = ["Usage", "bytes_below"]

Json = dict[str, Any]


class Usage:
    """Counts bytes: of writable layers by their files' sizes, as Docker does."""

    def __init__(self, images: Images, registry: Registry, data_root: Path) -> None:
        self._images = images
        self._registry = registry
        self._data_root = data_root

    def of_container(self, container: Container) -> tuple[int, int]:
        """Bytes in a container's writable layer, and in all of its root."""
        own = sum(bytes_below(path)[0] for path in self._images.uppers(container))
        return own, own + self._images.size_of(container.definition.image_id)

    async def report(self, containers: Containers) -> Json:
        """The body of SystemDataUsage."""
        return await asyncio.to_thread(self._report, containers)

    def _report(self, containers: Containers) -> Json:
        images = self._images.list({}, all=True, shared_size=True, digests=False)
        return {
            "LayersSize": self._images.layers_size(),
            "Images": images,
            "Containers": containers.list(all=True, limit=0, size=True, filters={}),
            "Volumes": [],
            "BuildCache": [],
        }


def bytes_below(path: Path) -> tuple[int, int]:
    """The bytes in regular files below a directory, hard links once, and how many files there are."""
    total = count = 0
    seen: set[tuple[int, int]] = set()
    pending = [os.fspath(path)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue  # removed while we were looking
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                pending.append(entry.path)
            elif stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
                count += 1
    return total, count
