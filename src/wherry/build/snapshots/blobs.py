"""Layers of the builder become layers of images: packed in threads, then made durable and registered together."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from sqlite3 import Connection
from typing import Final

from wherry.build.model.snapshot import SnapshotLayer
from wherry.build.snapshots.packing import PackedFile, pack
from wherry.build.snapshots.rows import Rows
from wherry.build.snapshots.syncing import Syncing
from wherry.content.store import ContentStore
from wherry.errors import NotFound
from wherry.images.reference_counts import BUILD_OWNER, Lease, ReferenceCounts, layer
from wherry.layers.store import Adoption, LayerStore
from wherry.oci.digest import Digest, chain_id_of

__all__ = ["BlobMaker", "LayerBlob"]

#: Layers that are packed at the same time. One saturates a processor.
_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """A layer as an image has it.

    :param diff_id: the digest of its uncompressed archive.
    :param chain_id: of it and all layers below; by it, the layer store has it unpacked.
    :param digest: of the blob, which the content store has.
    :param size: of the blob, in bytes.
    :param created: when the layer was made, in nanoseconds since the epoch; the same each time one asks.
    """

    diff_id: Digest
    chain_id: Digest
    digest: Digest
    size: int
    media_type: str
    created: int


class BlobMaker:
    """Packs layers, each at most once at a time, and registers them. Thread-safe."""

    def __init__(
        self, rows: Rows, syncing: Syncing, layers: LayerStore, content: ContentStore, references: ReferenceCounts
    ) -> None:
        self._rows = rows
        self._syncing = syncing
        self._layers = layers
        self._content = content
        self._references = references
        self._lock = threading.Lock()
        self._registering = threading.Lock()
        self._packing: dict[int, Future[PackedFile]] = {}
        self._pool = ThreadPoolExecutor(_THREADS, "pack layer")

    def prepare(self, layers: Sequence[SnapshotLayer]) -> None:
        """Begin to pack what will be needed, beside other work."""
        for one in layers:
            if not self._has_blob(one.number):
                self._begin(one)

    def make(self, layers: Sequence[SnapshotLayer], lease: Lease) -> list[LayerBlob]:
        """The blobs of a chain of layers, and the layers registered; what is missing is made.

        :param layers: the lowest first.
        :param lease: keeps both.
        """
        rows = [self._rows.get(one.number) for one in layers]
        lease.blob(*(row.packed.digest for row in rows if row and row.packed))  # first the lease, then the look
        pending = {one.number: self._begin(one) for one in layers if not self._has_blob(one.number)}
        packed_files = {number: future.result() for number, future in pending.items()}
        lease.blob(*(one.packed.digest for one in packed_files.values()))
        with self._registering:
            self._store(packed_files)
            return self._register(layers, lease)

    def forget(self, numbers: Iterable[int]) -> list[Future[PackedFile]]:
        """Forget what was packed of layers that nobody holds: who holds them from now on begins anew. Never waits.

        :return: for `drop`.
        """
        with self._lock:
            return [future for number in numbers if (future := self._packing.pop(number, None))]

    def drop(self, futures: Iterable[Future[PackedFile]]) -> None:
        """End what was forgotten, and remove its files."""
        for future in futures:
            if not future.cancel():
                future.add_done_callback(_remove_file)

    def close(self) -> None:
        """End the threads; waits for what they are at."""
        self._pool.shutdown(cancel_futures=True)
        self.drop(self.forget(list(self._packing)))

    def _has_blob(self, number: int) -> bool:
        row = self._rows.get(number)
        return bool(row and row.packed and row.packed.digest in self._content)

    def _begin(self, one: SnapshotLayer) -> Future[PackedFile]:
        with self._lock:
            future = self._packing.get(one.number)
            if future is None or future.cancelled() or (future.done() and future.exception()):
                future = self._packing[one.number] = self._pool.submit(self._pack, one)
            return future

    def _pack(self, one: SnapshotLayer) -> PackedFile:
        row = self._rows.get(one.number)
        if row is None or row.is_of_an_image:
            raise NotFound(f"the blob of layer {one.number} is not here any more")
        return pack(one.path, self._content)

    def _store(self, files: dict[int, PackedFile]) -> None:
        """Make files blobs, after one sync for all of them, and for the layers' trees.

        :param files: some of them may have been stored by somebody else meanwhile.
        """
        new = {number: file for number, file in files.items() if number in self._packing}
        if not new:
            return
        self._syncing.sync()
        missing = {file.packed.digest: file.path for file in new.values() if file.packed.digest not in self._content}
        self._content.adopt_synced(missing)
        for number, file in new.items():
            self._rows.mark_packed(number, file.packed)
            with self._lock:
                self._packing.pop(number, None)
            file.path.unlink(missing_ok=True)

    def _register(self, layers: Sequence[SnapshotLayer], lease: Lease) -> list[LayerBlob]:
        found: list[LayerBlob] = []
        wanted: dict[int, Adoption] = {}
        parent: Digest | None = None
        for one in layers:
            row = self._rows.get(one.number)
            if row is None or row.packed is None:
                raise NotFound(f"layer {one.number} is not here any more")
            packed = row.packed
            chain_id = chain_id_of([parent, packed.diff_id] if parent else [packed.diff_id])
            lease.layer(chain_id)
            if chain_id not in self._layers:
                if one.number in wanted or self._layers.numbered(one.number) is not None:
                    # A directory is one ordinary layer; upon other layers, this one has to be there once more.
                    self._adopt(wanted)
                    self._layers.ensure(partial(self._content.open, packed.digest), packed.diff_id, parent)
                else:
                    wanted[one.number] = Adoption(one.number, chain_id, packed.diff_id, parent, row.size, packed.seal)
            found.append(
                LayerBlob(packed.diff_id, chain_id, packed.digest, packed.size, packed.media_type, row.created)
            )
            parent = chain_id
        self._adopt(wanted)
        return found

    def _adopt(self, wanted: dict[int, Adoption]) -> None:
        if not wanted:
            return

        def add_references(connection: Connection) -> None:
            for number, one in wanted.items():
                self._references.add(connection, f"{BUILD_OWNER}{number}", [layer(one.chain_id)])

        if any((row := self._rows.get(number)) and row.unsynced_since for number in wanted):
            self._syncing.sync()
        self._layers.adopt(list(wanted.values()), add_references)
        wanted.clear()


def _remove_file(future: Future[PackedFile]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().path.unlink(missing_ok=True)
