"""The snapshot store: drafts become layers by a rename, and layers of images when an image is made of them.

Every method may be called from any thread, and reads or writes the disk; none belongs on an event loop.

A layer is there when its row is, and goes with `remove`, once nobody holds it. Layers of images are snapshots, too:
while one is held, or kept, no removal of an image takes it away.

After a crash of the process all rows are true. After one of the machine, layers that had not come to the disk are
dropped (`reconcile`).
"""

from __future__ import annotations

import os
import stat
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from wherry.build.model.snapshot import EMPTY, Snapshot, SnapshotLayer
from wherry.build.snapshots.blobs import BlobMaker, LayerBlob
from wherry.build.snapshots.draft import Draft
from wherry.build.snapshots.rows import Packed, Row, Rows, boot_id
from wherry.build.snapshots.syncing import Syncing
from wherry.build.snapshots.tidy import tidy
from wherry.content.durable import disk_errors, remove_tree, temporary_name
from wherry.content.store import ContentStore
from wherry.database.database import Database
from wherry.errors import InvalidInput, NotFound
from wherry.images.image import Image
from wherry.images.reference_counts import BUILD_OWNER, Lease, ReferenceCounts, Target, blob, layer
from wherry.layers.store import EMPTY_LAYER, Layer, LayerStore
from wherry.linux.fd import Fd
from wherry.linux.files import keep_apart
from wherry.oci.manifest import Descriptor

__all__ = ["MAX_LAYERS", "SnapshotStore"]

#: Layers below a draft. The kernel takes 500 in one overlay (OVL_MAX_STACK), and mount points may come on top.
MAX_LAYERS: Final = 480


class SnapshotStore:
    """Snapshots of one data root. Thread-safe.

    :param directory: for drafts; on the same file system as the layers. Made when missing.
    :param database: not durable, to the file that has the layers' rows as well.
    """

    def __init__(
        self,
        directory: Path,
        database: Database,
        *,
        layers: LayerStore,
        content: ContentStore,
        references: ReferenceCounts,
    ) -> None:
        self._drafts = directory / "drafts"
        self._layers = layers
        self._references = references
        self._rows = Rows(database)
        self._boot = boot_id()
        self._syncing = Syncing(layers.root, self._rows)
        self._blobs = BlobMaker(self._rows, self._syncing, layers, content, references)
        self._removing = ThreadPoolExecutor(1, "remove drafts")
        self._lock = threading.Lock()
        self._held: Counter[int] = Counter()
        self._unwanted: set[int] = set()
        with disk_errors("make the builder's directory"):
            self._drafts.mkdir(parents=True, exist_ok=True, mode=0o700)
            with Fd(os.open(self._drafts, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
                keep_apart(fd)

    @property
    def bottom(self) -> str:
        """The directory that stands for no layer, for `mounts`."""
        return str(self._layers.root / EMPTY_LAYER)

    # --- drafts -----------------------------------------------------------------------------------

    def draft(self, parent: Snapshot = EMPTY) -> Draft:
        """Begin to change a snapshot; it is held until the draft is committed or discarded.

        :raises InvalidInput: it has too many layers.
        """
        if len(parent.layers) > MAX_LAYERS:
            raise InvalidInput(f"max depth exceeded: {len(parent.layers)} layers, where {MAX_LAYERS} are allowed")
        self.hold(parent)
        draft = Draft(parent, temporary_name(self._drafts, "draft"), self.bottom)
        try:
            with disk_errors("begin a layer"):
                _make(draft)
        except BaseException:
            self.discard(draft)
            raise
        return draft

    def commit(self, draft: Draft) -> Snapshot:
        """Make a draft's writable directory a layer; nothing may be mounted of it any more.

        The result is not held, but stays until `remove`.

        :return: the parent with one layer more, an empty one where nothing was changed: the history of an image tells
            by that which steps these were.
        """
        try:
            with disk_errors("look through a layer"):
                size = tidy(draft.upper, draft.parent.lower)
            self.keep(draft.parent)
            number = self._layers.place(draft.upper, lambda number: self._rows.add(number, size, self._boot))
            self._syncing.soon()
            return draft.parent.with_layer(self._layer(number))
        finally:
            self.discard(draft)

    def discard(self, draft: Draft) -> None:
        """Remove a draft, or what is left of it, in the background; doing so again has no effect."""
        with self._lock:
            if draft.is_over:
                return
            draft.end()
        # To remove directories may take milliseconds each, on a disk that is told of every block that is free again.
        grave = temporary_name(self._drafts, "removed")
        try:
            draft.path.rename(grave)
        except FileNotFoundError:
            grave = draft.path
        try:
            self._removing.submit(remove_tree, grave)
        except RuntimeError:  # it was closed
            remove_tree(grave)
        self.release(draft.parent)

    def wait_for_removals(self) -> None:
        """Return when all drafts are gone that were committed or discarded so far."""
        self._removing.submit(lambda: None).result()

    # --- snapshots --------------------------------------------------------------------------------

    def from_image(self, image: Image) -> Snapshot:
        """An image's layers as a snapshot, held once for the caller: who looked the image up pins it meanwhile.

        :raises InvalidInput: it is the built-in image, of which the machine itself is a part.
        """
        if image.parts:
            raise InvalidInput(
                "the built-in image is the machine itself in part and nothing can be built from it",
                hint="export a container of it, and import the archive",
            )
        return self.from_layers(list(zip(image.layers, image.manifest.layers, strict=True)))

    def from_layers(self, layers: Sequence[tuple[Layer, Descriptor]]) -> Snapshot:
        """Layers of images, bottom first, with their blobs, as a snapshot that is held once for the caller.

        A lease, or a pin, keeps them until it is there.
        """
        with self._lock:
            for one, descriptor in layers:
                if self._rows.get(one.number) is None:
                    packed = Packed(one.diff_id, descriptor.digest, descriptor.size, descriptor.media_type)
                    self._references.take([layer(one.chain_id), blob(packed.digest)])
                    self._rows.remember(one.number, one.size, self._layers.created(one), packed)
            found = Snapshot(tuple(self._layer(one.number) for one, _ in layers))
            self._hold(found)
        return found

    def snapshot(self, numbers: Sequence[int]) -> Snapshot | None:
        """A snapshot of layers that were remembered by their numbers, bottom first; None where one is gone."""
        with self._lock:
            if any(self._rows.get(number) is None or number in self._unwanted for number in numbers):
                return None
        return Snapshot(tuple(self._layer(number) for number in numbers))

    def size(self, number: int) -> int:
        """The sum of the sizes of a layer's files, in bytes.

        :raises NotFound: there is no such layer.
        """
        return self._row(number).size

    def _layer(self, number: int) -> SnapshotLayer:
        return SnapshotLayer(number, str(self._layers.root / str(number)))

    def _row(self, number: int) -> Row:
        row = self._rows.get(number)
        if row is None:
            raise NotFound(f"layer {number} is not here any more")
        return row

    # --- in use, kept, removed --------------------------------------------------------------------

    def hold(self, snapshot: Snapshot) -> None:
        """Use a snapshot: its layers stay until as many `release`.

        :raises NotFound: one of them is gone already.
        """
        with self._lock:
            for number in _numbers(snapshot):
                self._row(number)
            self._hold(snapshot)

    def _hold(self, snapshot: Snapshot) -> None:
        self._held.update(_numbers(snapshot))

    def release(self, snapshot: Snapshot) -> None:
        """Use a snapshot no longer. What was removed meanwhile goes now."""
        free: list[int] = []
        with self._lock:
            for number in _numbers(snapshot):
                self._held[number] -= 1
                if self._held[number] <= 0:
                    del self._held[number]
                    free.append(number)
            unwanted = [number for number in free if number in self._unwanted]
            of_images = [number for number in free if (row := self._rows.get(number)) and not row.kept]
            packed = self._blobs.forget(free)
        self._blobs.drop(packed)
        for number in of_images:
            self._forget_unless_kept(number)
        if unwanted:
            self._remove(unwanted, is_marked=True)

    def is_shared(self, number: int) -> bool:
        """Whether an image has a layer as well."""
        found = self._layers.numbered(number)
        return found is not None and self._references.others_need(layer(found.chain_id), _owner(number))

    def in_use(self, number: int) -> bool:
        """Whether somebody holds a layer."""
        return self._held[number] > 0

    def keep(self, snapshot: Snapshot) -> None:
        """Keep the layers of images in a snapshot until `remove`, whatever becomes of the images.

        What is committed on top of them keeps them anyway.

        :raises NotFound: one of them is gone already.
        """
        for number in _numbers(snapshot):
            row = self._row(number)
            if not row.kept:
                self._keep(row)

    def _keep(self, row: Row) -> None:
        targets = self._targets(row)
        self._references.keep(_owner(row.number), targets)
        with self._lock:
            if (now := self._rows.get(row.number)) is None or now.kept:
                return
            self._rows.add(row.number, row.size, "", row.packed, created=row.created)
        self._references.give_back(targets)

    def _forget_unless_kept(self, number: int) -> None:
        with self._lock:
            row = self._rows.get(number)
            if row is None or row.kept or self._held[number]:
                return
            self._rows.forget(number)
        self._references.give_back(self._targets(row))

    def _targets(self, row: Row) -> list[Target]:
        """What an image's layer consists of."""
        found = self._layers.numbered(row.number)
        assert row.packed is not None
        return [blob(row.packed.digest), *([layer(found.chain_id)] if found else [])]

    def remove(self, numbers: Iterable[int]) -> int:
        """Remove layers, and what was kept of images; those in use go when they are released.

        :return: the bytes that this gave back at once.
        """
        return self._remove(numbers)

    def _remove(self, numbers: Iterable[int], *, is_marked: bool = False) -> int:
        """Remove layers.

        :param is_marked: only those that were to go with their last user, and are not wanted again.
        """
        with self._lock:
            chosen = [number for number in numbers if number in self._unwanted] if is_marked else numbers
            known = [row for number in chosen if (row := self._rows.get(number)) and row.kept]
            self._unwanted |= {row.number for row in known if self._held[row.number]}
            gone = [row for row in known if not self._held[row.number]]
            self._unwanted -= {row.number for row in gone}
            self._rows.remove([row.number for row in gone])
            packed = self._blobs.forget([row.number for row in gone])
        self._blobs.drop(packed)
        freed = self._references.let_go([_owner(row.number) for row in gone])
        for row in gone:
            grave = self._layers.displace(row.number)
            if grave is not None:
                freed += row.size
                remove_tree(grave)
        return freed

    def want(self, numbers: Iterable[int]) -> None:
        """What was removed while it was in use, and is in use still, stays."""
        with self._lock:
            self._unwanted.difference_update(numbers)

    # --- layers of images -------------------------------------------------------------------------

    def prepare(self, snapshot: Snapshot) -> None:
        """Begin to compute what `blobs` will be asked for, in threads; the snapshot is held meanwhile."""
        self._blobs.prepare(snapshot.layers)

    def blobs(self, snapshot: Snapshot, lease: Lease) -> list[LayerBlob]:
        """What an image is made of: a blob for each layer, bottom first, all stored, and the layers unpacked.

        What is missing is computed, at most two layers at a time, once for all who ask. The snapshot is held meanwhile.

        :param lease: keeps blobs and layers until the image has its row.
        :raises NotFound: a layer is gone.
        :raises OutOfSpace: the disk is full.
        """
        return self._blobs.make(snapshot.layers, lease)

    # --- beginning and end ------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Make rows and disk agree after a crash. Call at start, after the image store's, before anything else."""
        with disk_errors("look at the builder's directory"):
            left = [self._drafts / name for name in os.listdir(self._drafts)]
            present = set(os.listdir(self._layers.root))
        for path in left:  # may take long, and is begun again after another crash
            self._removing.submit(remove_tree, path)
        ordinary = {one.number for one in self._layers}
        lost = [row.number for row in self._rows.all() if self._is_lost(row, present, ordinary)]
        self.remove(lost)
        known = {_owner(row.number) for row in self._rows.all()}
        owners = {owner for owner in self._references.owners() if owner.startswith(BUILD_OWNER)}
        self._references.let_go(owners - known)
        if any(row.unsynced_since for row in self._rows.all()):
            self._syncing.soon()

    def _is_lost(self, row: Row, present: set[str], ordinary: set[int]) -> bool:
        if row.is_of_an_image and row.number not in ordinary:
            return True
        was_cut_off = row.unsynced_since not in ("", self._boot)
        return str(row.number) not in present or (was_cut_off and row.number not in ordinary)

    def retain(self, numbers: Iterable[int]) -> int:
        """Remove all layers but these.

        :return: the bytes that this gave back at once.
        """
        wanted = set(numbers)
        return self.remove([row.number for row in self._rows.all() if row.number not in wanted])

    def close(self) -> None:
        """End the threads, after what they are at."""
        self._syncing.close()
        self._blobs.close()
        self._removing.shutdown()


def _numbers(snapshot: Snapshot) -> list[int]:
    """The numbers of a snapshot's layers; a client's directory among them, which is no layer, has a negative one."""
    return [one.number for one in snapshot.layers if one.number >= 0]


def _owner(number: int) -> str:
    return f"{BUILD_OWNER}{number}"


def _make(draft: Draft) -> None:
    """Make a draft's directories: the writable one becomes the mount's root, and looks like the parent's."""
    draft.path.mkdir(mode=0o700)
    draft.work.mkdir(mode=0o700)
    draft.upper.mkdir()
    lower = draft.parent.lower or (draft.bottom,)
    model = os.stat(lower[0])
    mode = stat.S_IMODE(model.st_mode) if draft.parent.layers else 0o755
    os.chown(draft.upper, model.st_uid, model.st_gid)
    draft.upper.chmod(mode)
