"""The image store: one object for all operations on images; each kind of operation has its own module.

Threads: every method may be called from any. Look-ups (`resolve`, `get`, `list`, `summaries`, `inspect`, `history`,
`names_of`, `id_of`, `overlay`) come from memory. `load`, `save`, `import_`, `remove`, `prune`, `reconcile` take as
long as disks take.

Crashes: an image is there when its row is. Before it, its blobs and layers are, durably; what has no row is removed
at the next start by `reconcile`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.content.durable import disk_errors, remove_tree
from wherry.content.partial import PRUNED, Partials
from wherry.content.store import ContentStore
from wherry.database.database import Database
from wherry.database.disk_reserve import Reserve
from wherry.database.witness import Witness
from wherry.docker.image_answers import ImageDeleted, ImageInspect, ImagesPruneReport, Listing, Steps
from wherry.docker.progress import ProgressMessage
from wherry.docker.reference import Reference
from wherry.docker.storage_answers import ImageDifference, LayerStep, Sharing
from wherry.errors import InvalidInput, NotFound, OutOfSpace
from wherry.images import inspect, listing, orphans
from wherry.images.archive import ImageArchive
from wherry.images.blob_sources import BlobSources
from wherry.images.catalog import Catalog
from wherry.images.checks import refuse_reserved, writable_name
from wherry.images.image import Image
from wherry.images.importer import Commit, Importer, WriteLayer
from wherry.images.load import Candidate, candidates
from wherry.images.reference_counts import Lease, ReferenceCounts
from wherry.images.removal import Removal
from wherry.images.save import Selection, Trees, save, select
from wherry.images.variants import Variants
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.layers.overlay_paths import OverlayMount, make_directories
from wherry.layers.source import Reader
from wherry.layers.store import Layer, LayerStore
from wherry.oci.digest import Digest, chain_ids_of
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.images import indexes
    from wherry.images.fsck import Finding, Refetch

__all__ = ["ImageStore", "Users"]

log = logging.getLogger(__name__)

Words = list[str]
Removed = list[ImageDeleted]
Mounts = list[OverlayMount]
Layers = list[Layer]
Users = Callable[[Digest], Sequence[str]]

_TMP_KINDS: Final = ("blob-", "layer-", "removed-", "index.json-", "oci-layout-")


class ImageStore:
    """The images of a data root.

    :param data_root: the daemon's data directory; one store at a time may have it.
    :param limits: what one layer's archive may unpack to.
    :param reserve: what is given up when the disk is full, where others use it as well.
    :raises CorruptData: the database is damaged.
    """

    def __init__(self, data_root: Path, limits: Limits = DEFAULT_LIMITS, reserve: Reserve | None = None) -> None:
        with disk_errors("make the data directory"):
            data_root.mkdir(parents=True, exist_ok=True)
        self._tmp = data_root / "tmp"
        self._reserve = reserve or Reserve(data_root / "reserve")
        witness = Witness(data_root / "witness")
        self._database = Database(data_root / "wherry.db", self._reserve, durable=True, witness=witness)
        self.content: Final = ContentStore(data_root / "content", self._tmp)
        self.partials: Final = Partials(data_root / "partial")
        self.blob_sources: Final = BlobSources(self._database)
        self.layers: Final = LayerStore(data_root / "layers", self._tmp, self._database, limits)
        self.references: Final = ReferenceCounts(self._database, self.content, self.layers)
        self._catalog = Catalog(self._database, self.content, self.layers, self.references)
        self._importer = Importer(self._catalog, self.content, self.layers, self.references)
        self.variants: Final = Variants(self._catalog, self.content, self.layers, self.references)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # --- looking: from memory ---------------------------------------------------------------------

    def resolve(self, text: str) -> Image:
        """Find an image by a name, an ID, the beginning of an ID, or a digest.

        :raises NotFound: ``No such image: foo:latest``.
        :raises InvalidInput: it can be none of these: ``invalid reference format``.
        """
        return self._catalog.resolve(text)

    def pin(self, text: str) -> AbstractContextManager[Image]:
        """Find an image and pin it: it is not removed while inside the ``with`` block. Quick.

        The errors are those of `resolve`.
        """
        return self._catalog.pin(text)

    def get(self, identifier: str) -> Image:
        """An image by its whole ID; one that was removed by force stays here for the containers that use it.

        :raises NotFound: there is none.
        """
        return self._catalog.get(Digest(identifier))

    def __len__(self) -> int:
        return sum(1 for _ in self._catalog)

    def list(self, filters: listing.Filters | None = None) -> list[Image]:
        """The images that pass Docker's filters, the newest first.

        :param filters: ``dangling``, ``label``, ``before``, ``since``, ``reference``, ``until``.
        :raises InvalidInput: a filter is unknown or malformed.
        """
        return listing.filtered(self._catalog, filters or {}, self.resolve)

    def summaries(self, filters: listing.Filters, *, shared_size: bool = False, in_use: Users | None = None) -> Listing:
        """The body of ImageList."""
        everything = [*self._catalog]
        shown = []
        for image in self.list(filters):
            users = len(in_use(image.id)) if in_use else -1
            shown.append(listing.summary(image, users, listing.shared_size(image, everything) if shared_size else -1))
        return shown

    def inspect(self, text: str, *, manifests: bool = False, platform: str = "") -> ImageInspect:
        """The body of ImageInspect.

        :param manifests: with what the image's index lists.
        :param platform: what of it is meant, where it is here for several.
        :raises NotFound: there is none of that name, or none for the platform.
        """
        from wherry.images import indexes  # noqa: PLC0415

        image = self.variants.find(text, Platform.parse(platform)) if platform else self.resolve(text)
        tree = self.index_of(self.resolve(text), text)
        shown = inspect.inspect(image)
        shown.descriptor = indexes.descriptor_json(indexes.described(self.content, image, tree))
        if manifests:
            shown.manifests = indexes.summaries(image, tree) if tree else []
        return shown

    def index_digest_of(self, image: Image, text: str = "") -> Digest | None:
        """The digest of the index by which an image came under a name; from memory."""
        return self._catalog.index_of(image, text)

    def index_of(self, image: Image, text: str = "") -> indexes.Tree | None:
        """The index of an image's name, with its stored parts; reads the disk."""
        from wherry.images import indexes  # noqa: PLC0415

        digest = self._catalog.index_of(image, text)
        return indexes.stored(self.content, digest) if digest else None

    def history(self, text: str, platform: str = "") -> Steps:
        """The body of ImageHistory; with a platform it reads the disk."""
        image = self.variants.find(text, Platform.parse(platform)) if platform else self.resolve(text)
        return inspect.history(image, self._catalog)

    def names_of(self, identifier: str) -> Words:
        """The names of an image by its ID, as `Variants.names_of` gives them; none for an unknown one."""
        with suppress(NotFound, InvalidInput):
            return self.variants.names_of(self.get(identifier))
        return []

    def id_of(self, text: str) -> str:
        """The ID of the image that `text` means, or an empty string."""
        with suppress(NotFound, InvalidInput):
            return str(self.resolve(text).id)
        return ""

    def layers_of(self, identifier: str) -> Layers:
        """An image's layers, bottom first.

        :raises NotFound: there is no such image.
        """
        return [*self.get(identifier).layers]

    def overlay(self, identifier: str, container_directory: Path) -> Mounts:
        """The overlay mounts of a container, ``/`` first; its writable directories are made if missing.

        :raises NotFound: there is no such image.
        """
        image = self.get(identifier)
        root, *parts = image.overlay(container_directory)
        mountpoints = self.layers.mountpoints(image.layers[-1].chain_id if image.layers else None)
        mounts = [replace(root, lower=(str(mountpoints), *root.lower)), *parts]
        make_directories(mounts)
        return mounts

    # --- names ------------------------------------------------------------------------------------

    def tag(self, text: str, name: str) -> None:
        """Give an image one more name, taking it from another that has it.

        :raises InvalidInput: it is no name, or one with a digest, or the built-in image's.
        """
        image = self.resolve(text)
        self._catalog.name(image.id, writable_name(name), self._catalog.index_of(image, text))
        self._catalog.write_index()

    def remove(
        self,
        text: str,
        *,
        force: bool = False,
        in_use: Users,
        running: Callable[[str], bool] = lambda _: False,
        platforms: Sequence[str] = (),
    ) -> Removed:
        """Remove a name, and with an image's last name the image; by Docker's rules.

        :param platforms: only what is for these, where the image is here for others as well.
        :param in_use: the IDs of the containers that use an image.
        :param running: whether a container, by its ID, runs: then even force does not help.
        :return: names and digests in the order in which they went.
        :raises NotFound: there is no such image.
        :raises Conflict: something else needs it.
        """
        removal = Removal(self._catalog, in_use, running)
        index = self._catalog.index_of(self.resolve(text), text)
        listed = self.variants.manifests(index)
        with self._reserve.spent():
            try:
                if not platforms:
                    removal.run(text, force=force)
                    return removal.run_all(self.variants.left_behind(index, listed))
                from wherry.images import platforms as several  # noqa: PLC0415

                parts = self._catalog, self.content, self.layers, self.references, removal
                return several.PlatformRemoval(*parts).run(text, platforms, force=force)
            finally:
                if removal.records:
                    self._catalog.write_index()
                    self.release(in_use)

    def prune(self, filters: listing.Filters, *, in_use: Users) -> ImagesPruneReport:
        """Remove unused images: those without a tag, or, with ``dangling=false``, all.

        Downloads that were interrupted a day ago, or longer, go as well.

        :return: the body of ImagePrune.
        """
        dangling = listing.boolean(filters, "dangling")
        rest = {name: values for name, values in filters.items() if name != "dangling"}
        before = self.layers.size() + self.content.total()
        removal = Removal(self._catalog, in_use, lambda _: False)
        with self._reserve.spent():
            for image in self.list(rest):
                if dangling is False or not image.repo_tags:
                    removal.remove_unused(image)
            self._catalog.write_index()
            self.release(in_use)
        reclaimed = self.partials.expire(PRUNED) + max(0, before - self.layers.size() - self.content.total())
        return ImagesPruneReport(removal.records or None, reclaimed)

    def release(self, in_use: Users) -> None:
        """Let go of images that were removed by force and that no container uses any more."""
        for image in self._catalog.everything():
            if image.removed and not in_use(image.id):
                with suppress(NotFound):  # another thread may let go of it at the same time
                    self._catalog.retire(image.id, in_use)
        self.blob_sources.retain(self.references.blobs())

    # --- coming and going -------------------------------------------------------------------------

    def load(self, stream: Reader, platforms: Sequence[str] = ()) -> Iterator[ProgressMessage]:
        """Load the images of an archive; nothing is read before the first step is asked for.

        :param stream: a Docker archive or an OCI archive, compressed or not; read once, to its end.
        :param platforms: which of an image for several to take; when empty, the one that suits this machine best.
        :return: Docker's progress messages; ``{"stream": "Loaded image: name\\n"}`` when one is there.
        :raises InvalidInput: it's no such archive, or parts are missing.
        :raises CorruptData: it's damaged.
        :raises NotFound: it has nothing for the platform.
        """
        with self.lease() as lease, ImageArchive(stream, self.content) as archive:
            for candidate in candidates(archive, platforms):
                for name in candidate.names:
                    refuse_reserved(name)
                yield from self._take_in(candidate, lease)

    def lease(self) -> Lease:
        """A lease, for a ``with`` block: leased blobs and layers stay, although no image references them yet.

        See `references` for the rule: first the lease, then the look.
        """
        return self.references.lease()

    def find(self, identifier: Digest) -> Image | None:
        """An image by its ID, unless it was removed."""
        with suppress(NotFound):
            image = self.get(identifier)
            return None if image.removed else image
        return None

    def is_whole(self, identifier: Digest) -> bool:
        """Whether an image is here with all its blobs, as far as their sizes tell; looks at the disk."""
        image = self.find(identifier)
        return image is not None and self._catalog.is_complete(image)

    def register(
        self,
        identifier: Digest,
        manifest: Digest,
        names: Sequence[Reference],
        also: Sequence[Digest] = (),
        index: Digest | None = None,
    ) -> bool:
        """Register an image whose blobs and layers are all stored, and name it. Call it within a `lease`.

        :param index: by which it came, where it was not by its manifest.
        :param also: further blobs to keep with it; those that names mean by their digest are kept anyway.
        :return: whether it is new, or a name means another image now than before.
        """
        for name in names:
            refuse_reserved(name)
        with self._catalog.pin_id(identifier):
            is_new = self.find(identifier) is None
            also = [*also, *(self.variants.present(index) if index else ())]
            self._catalog.add(identifier, manifest, added=time.time_ns(), also=also)
            is_moved = self.variants.name(identifier, names, index, also)
        self._catalog.write_index()
        return is_new or is_moved

    # --- looking closely: these read the disk, and import what others do without ------------------

    def sharing(self) -> Sharing:
        """All images with their layers, and all layers with the images that have them."""
        from wherry.images import compare  # noqa: PLC0415

        return compare.sharing(self._catalog, self.layers)

    def layer_steps(self, text: str) -> Sequence[LayerStep]:
        """An image's layers, lowest first, with counts of changes."""
        from wherry.images import compare  # noqa: PLC0415

        return compare.layer_steps(self.resolve(text), self._catalog, self.layers)

    def differences(self, first: str, second: str) -> Sequence[ImageDifference]:
        """The differences of two images, file by file."""
        from wherry.images import compare  # noqa: PLC0415

        return compare.differences(self.resolve(first), self.resolve(second))

    def check(self, *, busy: Callable[[Layer], Sequence[str]], refetch: Refetch | None = None) -> Iterator[Finding]:
        """Verify all blobs and layers by their digests; with `refetch`, repair damage.

        :param busy: which running containers stand on a layer.
        """
        from wherry.images.fsck import Checker  # noqa: PLC0415

        with self.lease() as lease:  # so that nothing goes while it is looked at
            images, needed = self._catalog.everything(), self.references.blobs()
            lease.layer(*(layer.chain_id for layer in self.layers))
            lease.blob(*self.references.blobs(), *(digest for digest, _ in self.content.walk()))
            checker = Checker(self._database, self.content, self.layers, images, needed, busy=busy, refetch=refetch)
            yield from checker.run()

    def selected(self, names: Sequence[str], platforms: Sequence[str] = ()) -> Selection:
        """The selection that `save` writes; from memory, but for platforms.

        :raises NotFound: there is no such image, or none for a platform.
        """
        selection = select(self._catalog, names)
        if not platforms:
            return selection
        wanted, found = [Platform.parse(text) for text in platforms], Selection()
        for image, named in selection.values():
            fitting = [self.variants.find(str([*named, image.id][0]), one) for one in wanted]
            # under a name the index goes along, with what is wanted of it
            found |= {one.id: (one, named) for one in (fitting[:1] if named else fitting)}
        return found

    def save(self, names: Sequence[str], write: Callable[[bytes], object], platforms: Sequence[str] = ()) -> None:
        """Write images as an archive that Docker, Podman and skopeo read.

        :param platforms: what of each image; without, all that is here of its index.
        :raises NotFound: there is no such image.
        """
        with self.lease() as lease:
            selection = self.selected(names, platforms)
            for image, _ in selection.values():
                lease.blob(image.id, image.manifest_digest, *(one.digest for one in image.manifest.layers))
            trees = {} if len(platforms) == 1 else self._kept_indexes(selection)
            trees = {key: self.variants.limited(tree, platforms) for key, tree in trees.items()}
            lease.blob(*(one.digest for tree in trees.values() for one in tree.present))
            save(self._catalog, self.content, selection, trees, write)

    def _kept_indexes(self, selection: Selection) -> Trees:
        """The indexes by which images came under their names, where more than the image of what they list is here."""
        pairs = [(image, str(name)) for image, names in selection.values() for name in names]
        found = {(image.id, text): self.index_of(self.resolve(text), text) for image, text in pairs}
        return {key: tree for key, tree in found.items() if tree and (tree.is_whole or tree.is_for_several)}

    def import_(
        self, stream: Reader, name: str = "", changes: Sequence[str] = (), message: str = "", platform: str = ""
    ) -> Digest:
        """Make an image of a root file system's archive.

        :param changes: Dockerfile instructions for its configuration.
        :param message: the comment in its history.
        :param platform: what it runs on, ``linux/arm64``; by default what this machine is.
        :return: the image's ID.
        """
        return self._importer.import_(stream, name, changes, message, platform)

    def commit(self, base: str, write: WriteLayer, commit: Commit) -> Digest:
        """Make an image from a container's changes.

        :param base: the ID of the container's image; it may have been removed meanwhile.
        :param write: writes the archive of the changes to the function that it is given.
        :return: the new image's ID.
        """
        return self._importer.commit(self.get(base), write, commit)

    def add_host(self, root: Path = Path("/")) -> Digest:
        """See to it that the built-in image is there, and like the host is now; quick when nothing has changed."""
        return self._importer.host(root)

    def reconcile(self, in_use: Users = lambda _: (), *, sweep: bool = True) -> None:
        """Make the disk and the database agree after a crash; to be called at start, before anything else.

        Empties what is this package's in ``tmp/``, removes layers that are not whole and what no image needs, and
        brings the built-in image up to date.

        :param in_use: the IDs of the containers that use an image.
        :param sweep: False when somebody else empties ``tmp/``, without being waited for.
        """
        for path in self._tmp.iterdir() if sweep else ():
            if path.name.startswith(_TMP_KINDS):
                remove_tree(path)
        self._reserve.renew()
        self.layers.reconcile()
        self.partials.expire()
        self._catalog.drop_damaged()
        self._catalog.count_references()
        orphans.reconcile(self._database, self.references, self.layers)
        self._renew_host()
        self._catalog.write_index()
        self.release(in_use)

    # --- inside -----------------------------------------------------------------------------------

    def remove_orphans(self) -> None:
        """Remove the orphans: blobs and layers that no image references, whatever the reason."""
        orphans.remove(self._database, self.references, self.layers)

    def _renew_host(self) -> None:
        try:
            self.add_host()
        except OutOfSpace as exc:
            log.warning("the built-in image is not up to date", extra={"error": str(exc)})

    def _take_in(self, candidate: Candidate, lease: Lease) -> Iterator[ProgressMessage]:
        """Store a loaded image's blobs and layers, then its row: the point of no return."""
        diff_ids = candidate.document.rootfs.diff_ids
        identifier, manifest = Digest.from_bytes(candidate.config), Digest.from_bytes(candidate.manifest)
        lease.layer(*chain_ids_of(diff_ids))
        also = [staged.digest for staged in candidate.others]
        lease.blob(identifier, manifest, *(staged.digest for staged in candidate.layers), *also)
        chain_id: Digest | None = None
        for staged, diff_id in zip(candidate.layers, diff_ids, strict=True):
            layer, size = diff_id.short, staged.size
            yield {"status": "Loading layer", "id": layer, "progressDetail": {"current": 0, "total": size}}
            # The tree goes to disk with one syncfs(2), which takes the archive along; the other way round an fsync(2)
            # of the archive would be waited for first.
            chain_id = self.layers.ensure(staged.open, diff_id, chain_id).chain_id
            staged.commit()
            yield {"status": "Loading layer", "id": layer, "progressDetail": {"current": size, "total": size}}
        self.content.put(candidate.config)
        self.content.put(candidate.manifest)
        for staged in candidate.others:
            staged.commit()
        with self._catalog.pin_id(identifier):
            self._catalog.add(identifier, manifest, added=time.time_ns(), also=also)
            formers = [self._catalog.name(identifier, name, candidate.indexes.get(name)) for name in candidate.names]
        for name, former in zip(candidate.names, formers, strict=True):
            if former:
                said = f"The image {name.familiar} already exists, renaming the old one with ID {former}"
                yield {"stream": f"{said} to empty string\n"}
        self._catalog.write_index()
        for name in candidate.names:
            yield {"stream": f"Loaded image: {name.familiar}\n"}
        if not candidate.names:
            yield {"stream": f"Loaded image ID: {identifier}\n"}
