"""The unpacked layers on disk, and the rows that say which is which.

A layer exists when its row does. The directory is complete and synced before: it is unpacked under ``tmp/``, synced,
moved to ``layers/<n>``, and then the row is committed, *the point of no return*. A directory without a row is what a
crash left behind.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from wherry.content.durable import disk_errors, publish, sync_directory, temporary_name
from wherry.errors import CorruptData, NotFound
from wherry.layers.database import Database
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.layers.mountpoints import make_mountpoints
from wherry.layers.seal import seal
from wherry.layers.source import Reader
from wherry.layers.unpack import Unpacked, unpack
from wherry.linux.fd import Fd
from wherry.linux.files import RENAME, renameat2, syncfs
from wherry.oci.digest import Digest, chain_id

#: The directory that stands for "no layer", as an overlay needs one below. Numbers of layers begin at 1.
EMPTY_LAYER: Final = "0"
_MOUNTPOINTS: Final = "m"  # what the name of a pile's mount points adds to its top layer's

__all__ = ["EMPTY_LAYER", "SCHEMA", "Layer", "LayerStore", "remove_tree"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS layers (
    number INTEGER PRIMARY KEY,
    chain_id TEXT NOT NULL UNIQUE,
    diff_id TEXT NOT NULL,
    parent TEXT,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS seals (
    number INTEGER PRIMARY KEY,
    seal TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """An unpacked layer.

    :param number: the name of its directory.
    :param parent: the chain ID of the layer below it.
    :param size: the sum of its files' sizes in bytes.
    """

    number: int
    chain_id: Digest
    diff_id: Digest
    parent: Digest | None
    size: int


class LayerStore:
    """Layers by chain ID. Safe to use from several threads; look-ups come from memory.

    :param root: the directory ``layers``; made when missing.
    :param tmp: for what is unfinished, on the same file system; its owner empties it at start.
    :param database: with the tables of `SCHEMA`.
    """

    def __init__(self, root: Path, tmp: Path, database: Database, limits: Limits = DEFAULT_LIMITS) -> None:
        self.root: Final = root
        self._tmp = tmp
        self._database = database
        self._limits = limits
        self._lock = threading.Lock()
        self._with_mountpoints: set[Path] = set()
        self._busy: dict[Digest, tuple[threading.Lock, int]] = {}
        with disk_errors("make the layers' directory"):
            root.mkdir(parents=True, exist_ok=True, mode=0o711)
        rows = database.rows("SELECT number, chain_id, diff_id, parent, size FROM layers")
        present = {entry.name for entry in os.scandir(root)}
        (root / EMPTY_LAYER).mkdir(exist_ok=True)
        self._layers = {one.chain_id: one for one in map(_from_row, rows) if str(one.number) in present}

    def get(self, chain: Digest) -> Layer:
        """The layer of a chain ID.

        :raises NotFound: it is not unpacked here.
        """
        try:
            return self._layers[chain]
        except KeyError:
            raise NotFound(f"no such layer: {chain}") from None

    def __contains__(self, chain: Digest) -> bool:
        return chain in self._layers

    def __iter__(self) -> Iterator[Layer]:
        return iter(list(self._layers.values()))

    def path(self, layer: Layer) -> Path:
        """Its directory."""
        return self.root / str(layer.number)

    def pile(self, top: Digest | None) -> list[Layer]:
        """A layer and all those below it, top first.

        :raises NotFound: one of them is not unpacked here.
        """
        found = []
        while top is not None:
            layer = self.get(top)
            found.append(layer)
            top = layer.parent
        return found

    def directories(self) -> dict[str, str]:
        """What the directories below `root` are, by their names; others have no business there."""
        layers = {str(layer.number): "layers" for layer in self}
        places = {name + _MOUNTPOINTS: "places to mount on" for name in [EMPTY_LAYER, *layers]}
        return {EMPTY_LAYER: "layers", **layers, **places}

    def mountpoints(self, top: Digest | None) -> Path:
        """The directory with what a pile lacks to be a container's root; made when it is asked for first.

        :param top: the pile's chain ID; None for an empty one.
        """
        layers = [str(self.path(layer)) for layer in self.pile(top)] or [str(self.root / EMPTY_LAYER)]
        place = Path(layers[0] + _MOUNTPOINTS)
        with self._lock:
            if place not in self._with_mountpoints:
                if not place.is_dir():
                    self._make_mountpoints(layers, place)
                self._with_mountpoints.add(place)
        return place

    def _make_mountpoints(self, layers: list[str], place: Path) -> None:
        staged = temporary_name(self._tmp, "layer")
        with disk_errors("make the places to mount on"):
            make_mountpoints(layers, staged)
            staged.rename(place)

    def ensure(self, open_blob: Callable[[], BinaryIO], diff_id: Digest, parent: Digest | None) -> Layer:
        """Unpack a layer, unless it is there; of several that ask for the same at once, one does the work.

        :param open_blob: opens its archive; only called when there's work to do.
        :param diff_id: what the uncompressed archive's digest has to be.
        :param parent: the chain ID of the layer below.
        :raises CorruptData: the archive is damaged, or is not what `diff_id` says.
        """
        chain = chain_id([parent, diff_id] if parent else [diff_id])
        with self._alone(chain):
            if chain in self._layers:
                return self._layers[chain]
            with open_blob() as stream:
                return self.add(stream, parent, diff_id)[0]

    def add(
        self,
        stream: Reader,
        parent: Digest | None,
        diff_id: Digest | None = None,
        claim: Callable[[Digest], object] = lambda chain: None,
    ) -> tuple[Layer, Unpacked]:
        """Unpack a layer whose identity may only be known afterwards.

        :param diff_id: what the uncompressed archive's digest has to be, when that is known.
        :param claim: told its chain ID before it becomes a layer, or turns out to be one: to take a lease.
        :raises CorruptData: the archive is damaged, or is not what `diff_id` says.
        """
        below = [str(self.path(layer)) for layer in self.pile(parent)]
        staged, unpacked = self.unpack(stream, below)
        try:
            if diff_id is not None and unpacked.diff_id != diff_id:
                raise CorruptData(f"the layer unpacks to diff ID {unpacked.diff_id}, not {diff_id}")
            claim(chain_id([parent, unpacked.diff_id] if parent else [unpacked.diff_id]))
            return self.register(staged, parent, unpacked), unpacked
        finally:
            remove_tree(staged)

    def unpack(self, stream: Reader, below: Sequence[str]) -> tuple[Path, Unpacked]:
        """Unpack a layer without making it one yet, for those who unpack several at once.

        :param below: directories of the layers underneath, top first; only looked at where the archive lacks a parent.
        :return: the tree, for `register`, or for `remove_tree` when it is not wanted after all.
        :raises CorruptData: the archive is damaged.
        """
        staged = temporary_name(self._tmp, "layer")
        with disk_errors("unpack a layer"):
            staged.mkdir()
        try:
            return staged, unpack(stream, staged, below, self._limits)
        except BaseException:
            remove_tree(staged)
            raise

    def forget(self, chains: Iterable[Digest]) -> tuple[int, list[Path]]:
        """Layers are layers no more; nothing may use them any longer. What isn't there is passed over.

        :return: the sum of their sizes, and the trees that are left of them under ``tmp/``, for `remove_tree`.
        """
        doomed = [self._layers[chain] for chain in chains if chain in self._layers]
        if not doomed:
            return 0, []
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM layers WHERE number = ?", [(layer.number,) for layer in doomed])
            connection.executemany("DELETE FROM seals WHERE number = ?", [(layer.number,) for layer in doomed])
        for layer in doomed:
            del self._layers[layer.chain_id]
        graves = [self._set_aside(self.path(layer)) for layer in doomed]
        for layer in doomed:
            place = Path(f"{self.path(layer)}{_MOUNTPOINTS}")
            self._with_mountpoints.discard(place)
            graves.append(self._set_aside(place))
        return sum(layer.size for layer in doomed), [grave for grave in graves if grave is not None]

    def remove(self, chains: Iterable[Digest]) -> int:
        """Remove layers; nothing may use them any longer. What isn't there is passed over.

        :return: the sum of their sizes.
        """
        size, graves = self.forget(chains)
        for grave in graves:
            remove_tree(grave)
        return size

    def reconcile(self) -> None:
        """Make directories and rows agree again after a crash; nobody else may use the store meanwhile."""
        self.remove_strangers()
        found = set(self._entries())
        lost = [row for row in self._database.rows("SELECT number FROM layers") if str(row[0]) not in found]
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM layers WHERE number = ?", lost)
            connection.execute("DELETE FROM seals WHERE number NOT IN (SELECT number FROM layers)")

    def remove_strangers(self) -> None:
        """Remove what is below `root` and is no layer's."""
        with self._lock:  # a layer has its row before this is free again
            numbers = [str(row[0]) for row in self._database.rows("SELECT number FROM layers")]
            known = {name + kind for name in (EMPTY_LAYER, *numbers) for kind in ("", _MOUNTPOINTS)}
            graves = [self._set_aside(self.root / name) for name in self._entries() if name not in known]
        for grave in graves:
            if grave is not None:
                remove_tree(grave)

    def _entries(self) -> list[str]:
        with disk_errors("look at the layers' directory"):
            return os.listdir(self.root)

    def register(self, staged: Path, parent: Digest | None, unpacked: Unpacked) -> Layer:
        """Give a complete tree its number and its row; where the layer is there already, nothing happens to the tree.

        :param parent: the chain ID of the layer below; it is registered.
        """
        chain = chain_id([parent, unpacked.diff_id] if parent else [unpacked.diff_id])
        found = _seal_and_sync(staged, unpacked)
        with self._lock, self._database.transaction() as connection:
            if chain in self._layers:
                return self._layers[chain]
            values = (chain, unpacked.diff_id, parent, unpacked.size, time.time_ns())
            statement = "INSERT INTO layers (chain_id, diff_id, parent, size, created) VALUES (?, ?, ?, ?, ?)"
            number = connection.execute(statement, [value and str(value) for value in values]).lastrowid
            layer = Layer(number or 0, chain, unpacked.diff_id, parent, unpacked.size)
            connection.execute("REPLACE INTO seals VALUES (?, ?)", (layer.number, found))
            self._bury(self.path(layer))
            with disk_errors("store a layer"):
                publish(staged, self.path(layer))
        self._layers[chain] = layer
        return layer

    def seal_of(self, layer: Layer) -> str | None:
        """What its tree's seal was when it was unpacked; None where an earlier version did that."""
        rows = self._database.rows("SELECT seal FROM seals WHERE number = ?", (layer.number,))
        return rows[0][0] if rows else None

    def rebuild(self, layer: Layer, stream: Reader) -> None:
        """Unpack a damaged layer anew, in the place of the tree that it has; no mount may use that.

        :param stream: its archive.
        :raises CorruptData: the archive is damaged as well.
        """
        staged, unpacked = self.unpack(stream, [str(self.path(one)) for one in self.pile(layer.parent)])
        try:
            if unpacked.diff_id != layer.diff_id:
                raise CorruptData(f"the layer unpacks to diff ID {unpacked.diff_id}, not {layer.diff_id}")
            found = _seal_and_sync(staged, unpacked)
            with disk_errors("store a layer"), Fd(os.open(self.root, os.O_PATH | os.O_CLOEXEC)) as root:
                self.path(layer).mkdir(exist_ok=True)
                renameat2(root, staged, root, self.path(layer), RENAME.EXCHANGE)
                sync_directory(self.root)
            with self._database.transaction() as connection:
                connection.execute("REPLACE INTO seals VALUES (?, ?)", (layer.number, found))
        finally:
            remove_tree(staged)

    def _set_aside(self, path: Path) -> Path | None:
        """Give a tree a name under ``tmp/``: a crash in the middle of its removal leaves no half a layer."""
        grave = temporary_name(self._tmp, "removed")
        try:
            path.rename(grave)
        except FileNotFoundError:
            return None
        return grave

    def _bury(self, path: Path) -> None:
        grave = self._set_aside(path)
        if grave is not None:
            remove_tree(grave)

    @contextmanager
    def _alone(self, chain: Digest) -> Iterator[None]:
        with self._lock:
            lock, waiting = self._busy.get(chain, (threading.Lock(), 0))
            self._busy[chain] = (lock, waiting + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, waiting = self._busy.pop(chain)
                if waiting > 1:
                    self._busy[chain] = (lock, waiting - 1)


def _seal_and_sync(tree: Path, unpacked: Unpacked) -> str:
    """Bring a tree to disk, and compute its seal meanwhile.

    One syncfs(2) is far cheaper than an fsync(2) for each of thousands of files, and says what went wrong, too.
    """
    with Fd(os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd, ThreadPoolExecutor(1, "sync") as pool:
        synced = pool.submit(syncfs, fd)
        found = seal(tree, unpacked.sums)
        synced.result()
    return found


def remove_tree(path: Path) -> None:
    """Remove a directory tree, or what is left of it; links in it are removed, not followed.

    :raises SystemFault: something in it could not be removed.
    """
    with disk_errors("remove"):
        try:
            shutil.rmtree(path)
        except NotADirectoryError:
            path.unlink()
        except FileNotFoundError:
            return


def _from_row(row: tuple[int, str, str, str | None, int]) -> Layer:
    number, chain, diff_id, parent, size = row
    return Layer(number, Digest(chain), Digest(diff_id), Digest(parent) if parent else None, size)
