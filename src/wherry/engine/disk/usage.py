"""Disk usage of containers: ``docker ps --size``."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.engine.container.container import Container
from wherry.engine.images.images import Images
from wherry.engine.threads.bounded_call import call_bounded
from wherry.linux.trees import Files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Usage", "bytes_below"]

Sizes = dict[str, tuple[int, int]]

_PATIENCE: Final = 600.0  # seconds


class Usage:
    """Measures writable layers by the sizes of their files, as Docker does."""

    def __init__(self, images: Images) -> None:
        self._images = images

    async def of_containers(self, containers: Iterable[Container]) -> Sizes:
        """Bytes in containers' writable layers, and in all of their roots, by their IDs.

        Reads the whole writable layer, so the time that it takes has no bound.
        """
        asked = {
            one.id: (self._images.uppers(one), self._images.size_of(one.definition.image_id)) for one in containers
        }
        if not asked:
            return {}
        whose = next(iter(asked)) if len(asked) == 1 else "containers"
        return await call_bounded(f"measure the files of {whose}", lambda: _measured(asked), _PATIENCE)


def _measured(asked: Mapping[str, tuple[Sequence[Path], int]]) -> Sizes:
    found = {}
    for identifier, (uppers, image) in asked.items():
        own = sum(bytes_below(path)[0] for path in uppers)
        found[identifier] = own, own + image
    return found


def bytes_below(path: Path) -> tuple[int, int]:
    """The bytes in regular files below a directory, hard links once, and how many files there are."""
    total = count = 0
    seen: set[tuple[int, int]] = set()
    for _, status in Files(path):
        if not stat.S_ISREG(status.st_mode):
            continue
        if status.st_nlink > 1:
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
        total += status.st_size
        count += 1
    return total, count
