"""Bytes under the data root by owner. Their sum is what du(1) says.

Disk blocks are counted, those of directories as well; a file with several hard links once.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from wherry.content.durable import remove_tree
from wherry.docker.storage_answers import Accounts, Orphan, OwnerBytes
from wherry.engine.container.store import ContainerStore
from wherry.images.store import ImageStore
from wherry.linux.trees import Files

__all__ = ["Ledger"]

_BLOCK: Final = 512  # bytes in a unit of st_blocks (stat(2))

#: The owner of an entry of the data root by its name; a package that keeps files there is listed here.
_OWNERS: Final = {
    "build": "build cache",
    "lock": "database",
    "network": "networks",
    "networks": "networks",
    "partial": "unfinished downloads",
    "registry": "registry",
    "reserve": "reserve",
    "tmp": "unfinished",
    "snapshots": "snapshots of volumes",
    "witness": "database",
}


class Ledger:
    """Counts the bytes under a data root. Reads the disk: call it in a thread.

    :param store: images, blobs and layers.
    :param containers: all containers.
    :param has_volume: whether there is a volume of a name.
    """

    def __init__(
        self,
        data_root: Path,
        store: ImageStore,
        containers: ContainerStore,
        has_volume: Callable[[str], object] = lambda _: True,
    ) -> None:
        self._root = data_root
        self._store = store
        self._known = containers
        self._has_volume = has_volume

    def report(self) -> Accounts:
        """Bytes by owner, their sum, and the orphans: what has no owner."""
        counted: Counter[str] = Counter()
        orphans: list[Orphan] = []
        count = _Counter()
        judges = {
            "content": self._content, "layers": self._layers, "containers": self._containers, "volumes": self._volumes,
        }  # fmt: skip
        counted["directories"] += count.entry(self._root)
        for name in sorted(os.listdir(self._root)):
            path = self._root / name
            judge = judges.get(name)
            if judge is None:
                owner = "database" if name.startswith("wherry.db") else _OWNERS.get(name, "")
                pairs = iter([(path, owner)])
            else:
                counted["directories"] += count.entry(path)
                pairs = judge(path, lambda directory: counted.update(directories=count.entry(directory)))
            for one, owner in pairs:
                size = count.tree(one)
                counted[owner or "orphans"] += size
                if not owner:
                    orphans.append(Orphan(str(one), size))
        rows = [OwnerBytes(owner, size) for owner, size in counted.items()]
        return Accounts(
            root=str(self._root),
            owners=sorted(rows, key=lambda row: (-row.bytes, row.owner)),
            orphans=orphans,
            bytes=sum(counted.values()),
        )

    def remove_orphaned_containers(self) -> None:
        """Remove the directories of containers that are not in the database."""
        for path in _inside(self._root / "containers"):
            if not self._known.has_row(path.name):
                remove_tree(path)

    def _content(self, root: Path, enter: Callable[[Path], None]) -> Iterator[tuple[Path, str]]:
        needed = {self._store.content.path(digest) for digest in self._store.references.blobs()}
        for path in _inside(root):
            if path.name != "blobs":
                yield path, "content index" if path.name in ("index.json", "oci-layout") else ""
                continue
            enter(path)
            for algorithm in _inside(path):
                enter(algorithm)
                for one in _inside(algorithm):
                    yield one, "blobs" if one in needed else ""

    def _layers(self, root: Path, _: Callable[[Path], None]) -> Iterator[tuple[Path, str]]:
        owners = self._store.layers.directories()
        for path in _inside(root):
            yield path, owners.get(path.name, "")

    def _containers(self, root: Path, enter: Callable[[Path], None]) -> Iterator[tuple[Path, str]]:
        for path in _inside(root):
            if not self._known.has_row(path.name):
                yield path, ""
                continue
            enter(path)
            for one in _inside(path):
                yield one, "containers' logs" if one.name == "logs" else "containers' files"

    def _volumes(self, root: Path, _: Callable[[Path], None]) -> Iterator[tuple[Path, str]]:
        for path in _inside(root):
            unfinished = "unfinished" if path.name.startswith(".") else ""
            yield path, "volumes" if self._has_volume(path.name) else unfinished


class _Counter:
    """Counts disk blocks as du(1) does."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def entry(self, path: Path) -> int:
        """The bytes of one file or directory, without what is in it; 0 when it has gone."""
        try:
            return self._bytes(os.lstat(path))
        except FileNotFoundError:
            return 0

    def tree(self, path: Path) -> int:
        """The bytes of a file, or of a directory with all that is in it."""
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return 0
        if not stat.S_ISDIR(status.st_mode):
            return self._bytes(status)
        return self._bytes(status) + sum(self._bytes(one) for _, one in Files(path))

    def _bytes(self, status: os.stat_result) -> int:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if (status.st_dev, status.st_ino) in self._seen:
                return 0
            self._seen.add((status.st_dev, status.st_ino))
        return status.st_blocks * _BLOCK


def _inside(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())
