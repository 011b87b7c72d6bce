"""The layer store: unpacked layers on disk, and their rows in the database.

A layer exists when its row does. The directory is complete and synced before: it is unpacked under ``tmp/``, synced,
moved to ``layers/<n>``, and then the row is committed, *the point of no return*. A directory without a row is an
orphan, left by a crash.

The builder has directories among these as well, of layers without a digest yet; their rows are in ``build_layers``
(`wherry.build.snapshots.store`). Such a layer is made an ordinary one where it lies (`adopt`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import BinaryIO, Final, NamedTuple

from wherry.content.durable import disk_errors, publish, remove_tree, sync_directory, temporary_name
from wherry.database.database import Database, understanding
from wherry.errors import CorruptData, NotFound
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.layers.mountpoints import make_mountpoints
from wherry.layers.source import Reader
from wherry.layers.tree_digest import tree_digest
from wherry.layers.unpack import Unpacked, unpack
from wherry.linux.fd import Fd
from wherry.linux.files import RENAME, renameat2, syncfs
from wherry.oci.digest import Digest, chain_id_of

#: The directory that stands for "no layer", as an overlay needs one below. Numbers of layers begin at 1.
EMPTY_LAYER: Final = "0"
_INSERT: Final = "INSERT INTO layers (number, chain_id, diff_id, parent, size, created) VALUES (?, ?, ?, ?, ?, ?)"
_LAST: Final = (
    "SELECT MAX((SELECT COALESCE(MAX(number), 0) FROM layers), "
    "(SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'build_layers'))"
)
_MOUNTPOINTS: Final = "m"  # what the name of a chain's mount points adds to its top layer's

__all__ = ["EMPTY_LAYER", "Adoption", "Layer", "LayerStore"]


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


class Adoption(NamedTuple):
    """A placed directory that is to become an ordinary layer; it is whole, and synced.

    :param seal: its tree digest.
    """

    number: int
    chain_id: Digest
    diff_id: Digest
    parent: Digest | None
    size: int
    seal: str


class LayerStore:
    """Layers by chain ID. Safe to use from several threads; look-ups come from memory.

    :param root: the directory ``layers``; made when missing.
    :param tmp: for what is unfinished, on the same file system; its owner empties it at start.
    :param database: the engine's.
    """

    def __init__(self, root: Path, tmp: Path, database: Database, limits: Limits = DEFAULT_LIMITS) -> None:
        self.root: Final = root
        self._tmp = tmp
        self._database = database
        self._limits = limits
        self._lock = threading.Lock()
        self._last_number = 0  # that was given; 0: none was, yet
        self._with_mountpoints: set[Path] = set()
        self._busy: dict[Digest, tuple[threading.Lock, int]] = {}
        with disk_errors("make the layers' directory"):
            root.mkdir(parents=True, exist_ok=True, mode=0o711)
        rows = database.rows("SELECT number, chain_id, diff_id, parent, size FROM layers")
        present = {entry.name for entry in os.scandir(root)}
        (root / EMPTY_LAYER).mkdir(exist_ok=True)
        self._layers = {one.chain_id: one for one in _from_rows(rows) if str(one.number) in present}

    def get(self, chain_id: Digest) -> Layer:
        """The layer of a chain ID.

        :raises NotFound: it is not unpacked here.
        """
        try:
            return self._layers[chain_id]
        except KeyError:
            raise NotFound(f"no such layer: {chain_id}") from None

    def __contains__(self, chain_id: Digest) -> bool:
        return chain_id in self._layers

    def __iter__(self) -> Iterator[Layer]:
        return iter(list(self._layers.values()))

    def size(self) -> int:
        """The bytes of all layers' files."""
        return sum(layer.size for layer in self)

    def path(self, layer: Layer) -> Path:
        """Its directory."""
        return self.root / str(layer.number)

    def chain(self, top: Digest | None) -> list[Layer]:
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
        """The kind of each directory below `root`, by name; others are orphans."""
        layers = {str(layer.number): "layers" for layer in self}
        building = {str(number): "build cache" for number in self._building()}
        mountpoints = {name + _MOUNTPOINTS: "places to mount on" for name in [EMPTY_LAYER, *layers]}
        return {EMPTY_LAYER: "layers", **building, **layers, **mountpoints}

    def mountpoints(self, top: Digest | None) -> Path:
        """The directory with the mount points that a chain lacks as a container's root; made at first use.

        :param top: the chain ID of its top; None for an empty one.
        """
        layers = [str(self.path(layer)) for layer in self.chain(top)] or [str(self.root / EMPTY_LAYER)]
        directory = Path(layers[0] + _MOUNTPOINTS)
        with self._lock:
            if directory not in self._with_mountpoints:
                if not directory.is_dir():
                    self._make_mountpoints(layers, directory)
                self._with_mountpoints.add(directory)
        return directory

    def _make_mountpoints(self, layers: list[str], directory: Path) -> None:
        staged = temporary_name(self._tmp, "layer")
        with disk_errors("make mount points"):
            make_mountpoints(layers, staged)
            staged.rename(directory)

    def ensure(self, open_blob: Callable[[], BinaryIO], diff_id: Digest, parent: Digest | None) -> Layer:
        """Unpack a layer unless it exists; of concurrent calls for the same layer one does the work.

        :param open_blob: opens its archive; only called when there's work to do.
        :param diff_id: what the uncompressed archive's digest has to be.
        :param parent: the chain ID of the layer below.
        :raises CorruptData: the archive is damaged, or is not what `diff_id` says.
        """
        chain_id = chain_id_of([parent, diff_id] if parent else [diff_id])
        with self._alone(chain_id):
            if chain_id in self._layers:
                return self._layers[chain_id]
            with open_blob() as stream:
                return self.add(stream, parent, diff_id)[0]

    def add(
        self,
        stream: Reader,
        parent: Digest | None,
        diff_id: Digest | None = None,
        lease: Callable[[Digest], object] = lambda chain_id: None,
    ) -> tuple[Layer, Unpacked]:
        """Unpack and register a layer; its chain ID may only be known afterwards.

        :param diff_id: what the uncompressed archive's digest has to be, when that is known.
        :param lease: called with the chain ID before the layer is registered, or found to be there: to take a lease.
        :raises CorruptData: the archive is damaged, or is not what `diff_id` says.
        """
        below = [str(self.path(layer)) for layer in self.chain(parent)]
        staged, unpacked = self.unpack(stream, below)
        try:
            if diff_id is not None and unpacked.diff_id != diff_id:
                raise CorruptData(f"the layer unpacks to diff ID {unpacked.diff_id}, not {diff_id}")
            lease(chain_id_of([parent, unpacked.diff_id] if parent else [unpacked.diff_id]))
            return self.register(staged, parent, unpacked), unpacked
        finally:
            remove_tree(staged)

    def unpack(self, stream: Reader, below: Sequence[str]) -> tuple[Path, Unpacked]:
        """Unpack a layer without registering it, for callers that unpack several at once.

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

    def forget(self, chain_ids: Iterable[Digest]) -> tuple[int, list[Path]]:
        """Delete the rows of layers, which must be unused; unknown ones are ignored.

        :return: the sum of their sizes, and the trees that are left of them under ``tmp/``, for `remove_tree`.
        """
        removed = [self._layers[chain_id] for chain_id in chain_ids if chain_id in self._layers]
        if not removed:
            return 0, []
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM layers WHERE number = ?", [(layer.number,) for layer in removed])
            connection.executemany("DELETE FROM seals WHERE number = ?", [(layer.number,) for layer in removed])
        for layer in removed:
            del self._layers[layer.chain_id]
        graves = [self._set_aside(self.path(layer)) for layer in removed]
        for layer in removed:
            directory = Path(f"{self.path(layer)}{_MOUNTPOINTS}")
            self._with_mountpoints.discard(directory)
            graves.append(self._set_aside(directory))
        return sum(layer.size for layer in removed), [grave for grave in graves if grave is not None]

    def remove(self, chain_ids: Iterable[Digest]) -> int:
        """Remove layers, which must be unused; unknown ones are ignored.

        :return: the sum of their sizes.
        """
        size, graves = self.forget(chain_ids)
        for grave in graves:
            remove_tree(grave)
        return size

    def reconcile(self) -> None:
        """Delete the rows of layers whose directories are gone. Call at start, before any other use."""
        found = set(self._entries())
        lost = [row for row in self._database.rows("SELECT number FROM layers") if str(row[0]) not in found]
        if lost:
            with self._database.transaction() as connection:
                connection.executemany("DELETE FROM layers WHERE number = ?", lost)
                connection.execute("DELETE FROM seals WHERE number NOT IN (SELECT number FROM layers)")

    def orphans(self) -> list[str]:
        """Names of orphans below `root`: directories without a row, after a crash or a damaged database."""
        rows = self._database.rows("SELECT number FROM layers")
        numbers = [*(str(row[0]) for row in rows), *map(str, self._building())]
        known = {name + kind for name in (EMPTY_LAYER, *numbers) for kind in ("", _MOUNTPOINTS)}
        return [name for name in self._entries() if name not in known]

    def remove_orphans(self) -> None:
        """Remove the orphans below `root`."""
        with self._lock:  # a layer has its row before this is free again
            graves = [self._set_aside(self.root / name) for name in self.orphans()]
        for grave in graves:
            if grave is not None:
                remove_tree(grave)

    def _entries(self) -> list[str]:
        with disk_errors("look at the layers' directory"):
            return os.listdir(self.root)

    def register(self, staged: Path, parent: Digest | None, unpacked: Unpacked) -> Layer:
        """Register a complete tree as a layer: number, name and row. An existing layer is returned as it is.

        :param parent: the chain ID of the layer below; it is registered.
        """
        chain_id = chain_id_of([parent, unpacked.diff_id] if parent else [unpacked.diff_id])
        found = _sync_and_digest(staged, unpacked)
        with self._lock:
            if chain_id in self._layers:
                return self._layers[chain_id]
            layer = Layer(self._free_number(), chain_id, unpacked.diff_id, parent, unpacked.size)
            values = (layer.number, chain_id, unpacked.diff_id, parent, unpacked.size, time.time_ns())
            try:
                with disk_errors("store a layer"):  # before the transaction: nobody who writes waits for this sync
                    publish(staged, self.path(layer))
                with self._database.transaction() as connection:
                    connection.execute(_INSERT, [value and str(value) for value in values])
                    connection.execute("REPLACE INTO seals (number, seal) VALUES (?, ?)", (layer.number, found))
            except BaseException:
                with suppress(OSError):  # the caller removes it: a full disk gets its room back
                    self.path(layer).rename(staged)
                raise
            self._layers[chain_id] = layer
        return layer

    # --- the builder's ----------------------------------------------------------------------------

    def place(self, staged: Path, record: Callable[[int], object]) -> int:
        """Give a tree of the builder's its number and its place; nothing is synced.

        :param record: writes the row in ``build_layers``; called with the number.
        :return: the number; never one that was given before.
        """
        with self._lock:
            number = self._free_number()
            path = self.root / str(number)
            with disk_errors("store a layer"):
                staged.rename(path)
            try:
                record(number)
            except BaseException:
                with suppress(OSError):
                    path.rename(staged)
                raise
        return number

    def adopt(self, wanted: Sequence[Adoption], also: Callable[[Connection], object]) -> list[Layer]:
        """Make placed trees ordinary layers where they are, all in one transaction; the lowest first.

        A chain ID that exists already stays what it is.

        :param also: called inside the transaction.
        """
        with self._lock:
            new: dict[Digest, tuple[Layer, str]] = {}
            for one in wanted:
                if one.chain_id not in self._layers:
                    layer = Layer(one.number, one.chain_id, one.diff_id, one.parent, one.size)
                    new.setdefault(one.chain_id, (layer, one.seal))
            with self._database.transaction() as connection:
                for layer, seal in new.values():
                    values = (layer.number, layer.chain_id, layer.diff_id, layer.parent, layer.size, time.time_ns())
                    connection.execute(_INSERT, [value and str(value) for value in values])
                    connection.execute("REPLACE INTO seals (number, seal) VALUES (?, ?)", (layer.number, seal))
                also(connection)
            self._layers |= {chain_id: layer for chain_id, (layer, _) in new.items()}
            return [self._layers[one.chain_id] for one in wanted]

    def numbered(self, number: int) -> Layer | None:
        """The ordinary layer that has a number."""
        return next((layer for layer in self if layer.number == number), None)

    def created(self, layer: Layer) -> int:
        """When an ordinary layer came here, in nanoseconds since the epoch; 0 where it is gone."""
        rows = self._database.rows("SELECT created FROM layers WHERE number = ?", (layer.number,))
        return int(rows[0][0]) if rows else 0

    def displace(self, number: int) -> Path | None:
        """Take a tree of the builder's, which has no row any more, out of its place.

        :return: where it is now, for `remove_tree`; None where there is none, or it is an ordinary layer by now.
        """
        with self._lock:
            if self.numbered(number) is not None:
                return None
            return self._set_aside(self.root / str(number))

    def _building(self) -> list[int]:
        return [row[0] for row in self._database.rows("SELECT number FROM build_layers")]

    # --- tree digests -----------------------------------------------------------------------------

    def tree_digest_of(self, layer: Layer) -> str | None:
        """The tree digest from when the layer was unpacked; None where an earlier version unpacked it."""
        rows = self._database.rows("SELECT seal FROM seals WHERE number = ?", (layer.number,))
        return rows[0][0] if rows else None

    def rebuild(self, layer: Layer, stream: Reader) -> None:
        """Unpack a damaged layer again and exchange the trees; no mount may use the old one.

        :param stream: its archive.
        :raises CorruptData: the archive is damaged as well.
        """
        staged, unpacked = self.unpack(stream, [str(self.path(one)) for one in self.chain(layer.parent)])
        try:
            if unpacked.diff_id != layer.diff_id:
                raise CorruptData(f"the layer unpacks to diff ID {unpacked.diff_id}, not {layer.diff_id}")
            found = _sync_and_digest(staged, unpacked)
            with disk_errors("store a layer"), Fd(os.open(self.root, os.O_PATH | os.O_CLOEXEC)) as root:
                self.path(layer).mkdir(exist_ok=True)
                renameat2(root, staged, root, self.path(layer), RENAME.EXCHANGE)
                sync_directory(self.root)
            with self._database.transaction() as connection:
                connection.execute("REPLACE INTO seals (number, seal) VALUES (?, ?)", (layer.number, found))
        finally:
            remove_tree(staged)

    def _set_aside(self, path: Path) -> Path | None:
        """Give a tree a name under ``tmp/``: a crash in the middle of its removal leaves no half a layer."""
        grave = temporary_name(self._tmp, "removed")
        with disk_errors("take a layer out of its place"):
            try:
                path.rename(grave)
            except FileNotFoundError:
                return None
        return grave

    def _free_number(self) -> int:
        """The next free layer number; numbers of existing directories, orphans included, are taken."""
        if not self._last_number:
            [[last]] = self._database.rows(_LAST)
            names = [name.removesuffix(_MOUNTPOINTS) for name in self._entries()]
            self._last_number = max([int(last), *(int(name) for name in names if name.isdecimal())])
        self._last_number += 1
        while (self.root / str(self._last_number)).exists():
            self._last_number += 1
        return self._last_number

    @contextmanager
    def _alone(self, chain_id: Digest) -> Iterator[None]:
        with self._lock:
            lock, waiting = self._busy.get(chain_id, (threading.Lock(), 0))
            self._busy[chain_id] = (lock, waiting + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, waiting = self._busy.pop(chain_id)
                if waiting > 1:
                    self._busy[chain_id] = (lock, waiting - 1)


def _sync_and_digest(tree: Path, unpacked: Unpacked) -> str:
    """Sync a tree to disk, and compute its digest at the same time.

    One syncfs(2) is far cheaper than an fsync(2) for each of thousands of files, and says what went wrong, too.
    """
    with Fd(os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd, ThreadPoolExecutor(1, "sync") as pool:
        synced = pool.submit(syncfs, fd)
        found = tree_digest(tree, unpacked.sums)
        synced.result()
    return found


def _from_rows(rows: Iterable[tuple[int, str, str, str | None, int]]) -> list[Layer]:
    found = []
    for number, chain_id, diff_id, parent, size in rows:
        with understanding("a layer", number):
            found.append(Layer(number, Digest(chain_id), Digest(diff_id), Digest(parent) if parent else None, size))
    return found
