"""Everything that can be done with images, in one place; each kind of thing has a file of its own behind it.

Threads: every method may be called from any. Look-ups (`resolve`, `get`, `list`, `summaries`, `inspect`, `history`,
`names_of`, `id_of`, `overlay`) come from memory. `load`, `save`, `import_`, `remove`, `prune`, `reconcile` take as
long as disks take.

Crashes: an image is there when its row is. Before it, its blobs and layers are, durably; what has no row is removed
at the next start by `reconcile`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from wherry.content.durable import disk_errors
from wherry.content.partial import Partials
from wherry.content.store import ContentStore
from wherry.errors import InvalidInput, NotFound
from wherry.images import catalog as catalogs
from wherry.images import describe, host, listing, origins
from wherry.images.archive import ImageArchive
from wherry.images.catalog import RESERVED, Catalog
from wherry.images.changes import apply_changes
from wherry.images.gate import Gate
from wherry.images.image import Image
from wherry.images.load import Candidate, candidates
from wherry.images.removal import Record, Removal
from wherry.images.save import save, select
from wherry.layers import store as layer_stores
from wherry.layers.database import Database
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.layers.overlay import OverlayMount, make_directories
from wherry.layers.source import Reader
from wherry.layers.store import Layer, LayerStore, remove_tree
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, Manifest
from wherry.oci.platform import Platform
from wherry.oci.reference import Reference

__all__ = ["ImageStore", "Users"]

log = logging.getLogger(__name__)

Json = dict[str, Any]
Jsons = list[Json]  # inside the class, `list` is a method
Words = list[str]
Records = list[Record]
Mounts = list[OverlayMount]
Layers = list[Layer]
Users = Callable[[Digest], Sequence[str]]

_TMP_KINDS: Final = ("blob-", "layer-", "removed-", "index.json-", "oci-layout-")


class ImageStore:
    """The images of a data root.

    :param data_root: the daemon's data directory; one store at a time may have it.
    :param limits: what one layer's archive may unpack to.
    :raises CorruptData: the database is damaged.
    """

    def __init__(self, data_root: Path, limits: Limits = DEFAULT_LIMITS) -> None:
        with disk_errors("make the data directory"):
            data_root.mkdir(parents=True, exist_ok=True)
        self._tmp = data_root / "tmp"
        self._database = Database(data_root / "wherry.db", layer_stores.SCHEMA + catalogs.SCHEMA + origins.SCHEMA)
        self.content: Final = ContentStore(data_root / "content", self._tmp)
        self.partials: Final = Partials(data_root / "partial")
        self.origins: Final = origins.Origins(self._database)
        self.layers: Final = LayerStore(data_root / "layers", self._tmp, self._database, limits)
        self._catalog = Catalog(self._database, self.content, self.layers)
        self._gate = Gate(self._sweep)

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

    def summaries(self, filters: listing.Filters, *, shared_size: bool = False, in_use: Users | None = None) -> Jsons:
        """The body of ImageList."""
        everything = [*self._catalog]
        shown = []
        for image in self.list(filters):
            users = len(in_use(image.id)) if in_use else -1
            shown.append(listing.summary(image, users, listing.shared_size(image, everything) if shared_size else -1))
        return shown

    def inspect(self, text: str) -> Json:
        """The body of ImageInspect."""
        return describe.inspect(self.resolve(text))

    def history(self, text: str) -> Jsons:
        """The body of ImageHistory."""
        return describe.history(self.resolve(text))

    def names_of(self, identifier: str) -> Words:
        """The names of an image by its ID, as people write them; none for an unknown one."""
        with suppress(NotFound, InvalidInput):
            return self.get(identifier).repo_tags
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

    def layers_size(self) -> int:
        """The bytes of all layers' files."""
        return sum(layer.size for layer in self.layers)

    def content_size(self) -> int:
        """The bytes of all blobs; this one looks at the disk."""
        return sum(size for _, size in self.content.walk())

    def overlay(self, identifier: str, container_directory: Path) -> Mounts:
        """What has to be mounted for a container, ``/`` first; its writable directories are made if they are missing.

        :raises NotFound: there is no such image.
        """
        image = self.get(identifier)
        root, *parts = image.overlay(container_directory)
        places = self.layers.mountpoints(image.layers[-1].chain_id if image.layers else None)
        mounts = [replace(root, lower=(str(places), *root.lower)), *parts]
        make_directories(mounts)
        return mounts

    # --- names ------------------------------------------------------------------------------------

    def tag(self, text: str, name: str) -> None:
        """Give an image one more name, taking it from another that has it.

        :raises InvalidInput: it is no name, or one with a digest, or the built-in image's.
        """
        image = self.resolve(text)
        reference = _writable_name(name)
        self._catalog.name(image.id, reference)
        self._catalog.write_index()

    def remove(
        self, text: str, *, force: bool = False, in_use: Users, running: Callable[[str], bool] = lambda _: False
    ) -> Records:
        """Remove a name, and with an image's last name the image; by Docker's rules.

        :param in_use: the IDs of the containers that use an image.
        :param running: whether a container, by its ID, runs: then even force does not help.
        :return: ``{"Untagged": name}`` and ``{"Deleted": digest}``.
        :raises NotFound: there is no such image.
        :raises Conflict: something else needs it.
        """
        removal = Removal(self._catalog, in_use, running)
        try:
            return removal.run(text, force=force)
        finally:
            if removal.records:
                self._catalog.write_index()
                self.release(in_use)

    def prune(self, filters: listing.Filters, *, in_use: Users) -> Json:
        """Remove the images that no container uses: those without a name, or, with ``dangling=false``, all.

        :return: the body of ImagePrune.
        """
        dangling = listing.boolean(filters, "dangling")
        rest = {name: values for name, values in filters.items() if name != "dangling"}
        before = self.layers_size() + self.content_size()
        removal = Removal(self._catalog, in_use, lambda _: False)
        for image in self.list(rest):
            if dangling is False or not image.names:
                removal.remove_unused(self.get(image.id))
        self._catalog.write_index()
        self.release(in_use)
        reclaimed = max(0, before - self.layers_size() - self.content_size())
        return {"ImagesDeleted": removal.records or None, "SpaceReclaimed": reclaimed}

    def release(self, in_use: Users) -> None:
        """Let go of images that were removed by force and that no container uses any more."""
        for image in self._catalog.everything():
            if image.removed and not in_use(image.id):
                self._catalog.remove(image.id, keep=False)
        self._gate.sweep()

    # --- coming and going -------------------------------------------------------------------------

    def load(self, stream: Reader, platforms: Sequence[str] = ()) -> Iterator[Json]:
        """Load the images of an archive; nothing is read before the first step is asked for.

        :param stream: a Docker archive or an OCI archive, compressed or not; read once, to its end.
        :param platforms: which of an image for several to take; when empty, the one that suits this machine best.
        :return: Docker's progress messages; ``{"stream": "Loaded image: name\\n"}`` when one is there.
        :raises InvalidInput: it's no such archive, or parts are missing.
        :raises CorruptData: it's damaged.
        :raises NotFound: it has nothing for the platform.
        """
        with self._gate.hold(), ImageArchive(stream, self.content) as archive:
            for candidate in candidates(archive, platforms):
                for name in candidate.names:
                    _refuse_reserved(name)
                yield from self._take_in(candidate)

    @contextmanager
    def arrival(self) -> Iterator[None]:
        """While inside, blobs and layers that no image needs yet are safe: for what arrives piece by piece."""
        with self._gate.hold():
            yield

    def find(self, identifier: Digest) -> Image | None:
        """An image by its ID, unless it was removed."""
        with suppress(NotFound):
            image = self.get(identifier)
            return None if image.removed else image
        return None

    def arrived(self, identifier: Digest, manifest: Digest, names: Sequence[Reference]) -> bool:
        """Make an image known whose blobs and layers are all there, and give it names; within an `arrival`.

        :return: whether a name means another image now than before.
        """
        for name in names:
            _refuse_reserved(name)
        self._catalog.add(identifier, manifest, added=time.time_ns())
        before = [self._catalog.named(name) for name in names]
        for name in names:
            self._catalog.name(identifier, name)
        self._catalog.write_index()
        return any(image is None or image.id != identifier for image in before)

    def save(self, names: Sequence[str], write: Callable[[bytes], object], platforms: Sequence[str] = ()) -> None:
        """Write images as an archive that Docker, Podman and skopeo read.

        :param platforms: refused when an image is for another one; only one platform of an image is ever here.
        :raises NotFound: there is no such image.
        """
        with self._gate.hold():
            selection = select(self._catalog, names)
            for image, _ in selection.values():
                _check_platform(image, platforms)
            save(self._catalog, self.content, selection, write)

    def import_(
        self, stream: Reader, name: str = "", changes: Sequence[str] = (), message: str = "", platform: str = ""
    ) -> Digest:
        """Make an image of a root file system's archive.

        :param changes: Dockerfile instructions for its configuration.
        :param message: the comment in its history.
        :param platform: what it runs on, ``linux/arm64``; by default what this machine is.
        :return: the image's ID.
        """
        reference = _writable_name(name) if name else None
        config: Json = {}
        apply_changes(config, changes)
        wanted = Platform.parse(platform) if platform else Platform.host()
        with self._gate.hold(), self.content.stage() as staged:
            while piece := stream.read(1 << 20):
                staged.write(piece)
            document = _document(config, wanted, datetime.now(UTC).isoformat(), message or "Imported from -")
            identifier = self._assemble(staged.commit(), document)
            if reference:
                self._catalog.name(identifier, reference)
            self._catalog.write_index()
        return identifier

    def add_host(self, root: Path = Path("/")) -> Digest:
        """See to it that the built-in image is there, and like the host is now; quick when nothing has changed."""
        with self._gate.hold():
            data, parts = host.skeleton(root), host.parts(root)
            present = self._catalog.named(RESERVED)
            if present and present.manifest.layers[0].digest == Digest.from_bytes(data) and [*present.parts] == parts:
                return present.id
            blob = self.content.put(data)
            document = _document(dict(host.CONFIG), Platform.host(), "1970-01-01T00:00:00Z", "this machine")
            identifier = self._assemble(blob, document, parts=parts)
            former = self._catalog.name(identifier, RESERVED)
            if former:
                self._catalog.remove(former, keep=True)
            self._catalog.write_index()
        return identifier

    def reconcile(self, in_use: Users = lambda _: ()) -> None:
        """Make the disk and the database agree after a crash; to be called at start, before anything else.

        Empties what is this package's in ``tmp/``, removes layers that are not whole and what no image needs, and
        brings the built-in image up to date.

        :param in_use: the IDs of the containers that use an image.
        """
        for entry in os.scandir(self._tmp):
            if entry.name.startswith(_TMP_KINDS):
                remove_tree(Path(entry.path))
        self.layers.reconcile()
        self.partials.expire()
        self._catalog.drop_damaged()
        self.add_host()
        self._catalog.write_index()
        self.release(in_use)

    # --- inside -----------------------------------------------------------------------------------

    def _take_in(self, candidate: Candidate) -> Iterator[Json]:
        """Store a candidate's parts, then its row: the point of no return."""
        chain: Digest | None = None
        for staged, diff_id in zip(candidate.layers, candidate.document.rootfs.diff_ids, strict=True):
            step = {"status": "Loading layer", "id": diff_id.short}
            yield {**step, "progressDetail": {"current": 0, "total": staged.size}}
            chain = self.layers.ensure(partial(self.content.open, staged.commit()), diff_id, chain).chain_id
            yield {**step, "progressDetail": {"current": staged.size, "total": staged.size}}
        identifier = self.content.put(candidate.config)
        manifest = self.content.put(candidate.manifest)
        self._catalog.add(identifier, manifest, added=time.time_ns())
        for name in candidate.names:
            former = self._catalog.name(identifier, name)
            if former:
                said = f"The image {name.familiar} already exists, renaming the old one with ID {former}"
                yield {"stream": f"{said} to empty string\n"}
        self._catalog.write_index()
        for name in candidate.names:
            yield {"stream": f"Loaded image: {name.familiar}\n"}
        if not candidate.names:
            yield {"stream": f"Loaded image ID: {identifier}\n"}

    def _assemble(self, blob: Digest, document: Json, parts: Sequence[str] = ()) -> Digest:
        """Make an image of one layer, whose archive is in the content store already."""
        with self.content.open(blob) as stream:
            layer, unpacked = self.layers.add(stream, None)
        document["rootfs"] = {"type": "layers", "diff_ids": [layer.diff_id]}
        config = encode(document)
        identifier = self.content.put(config)
        manifest = Manifest(
            Descriptor(media_types.OCI_CONFIG, identifier, len(config)),
            [Descriptor(media_types.layer_type(unpacked.compression), blob, unpacked.packed_size)],
            schema_version=2,
            media_type=media_types.OCI_MANIFEST,
        )
        digest = self.content.put(encode(manifest))
        self._catalog.add(identifier, digest, added=time.time_ns(), parts=parts, built_in=bool(parts))
        return identifier

    def _sweep(self) -> None:
        """Remove the layers and blobs that no image needs."""
        images = self._catalog.everything()
        chains = {layer.chain_id for image in images for layer in image.layers}
        self.layers.remove([layer.chain_id for layer in self.layers if layer.chain_id not in chains])
        needed = {image.id for image in images} | {image.manifest_digest for image in images}
        needed |= {layer.digest for image in images for layer in image.manifest.layers}
        needed |= {name.digest for image in images for name in image.names if name.digest}
        for digest, _ in list(self.content.walk()):
            if digest not in needed:
                self.content.delete(digest)
        self.origins.retain(needed)


def _document(config: Json, platform: Platform, created: str, comment: str) -> Json:
    document = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": created,
        "config": config,
        "history": [{"created": created, "comment": comment}],
    }
    return document | ({"variant": platform.variant} if platform.variant else {})


def _writable_name(text: str) -> Reference:
    """A name that an image may be given."""
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise InvalidInput("refusing to create a tag with a digest reference")
    reference = reference.with_default_tag()
    _refuse_reserved(reference)
    return reference


def _refuse_reserved(name: Reference) -> None:
    if name.name == RESERVED.name:
        raise InvalidInput(f"'{RESERVED.familiar_name}' is a reserved name")


def _check_platform(image: Image, platforms: Sequence[str]) -> None:
    mine = Platform(image.os, image.architecture, image.variant)
    for text in platforms:
        if Platform.parse(text).best_of([mine]) is None:
            raise NotFound(f"image {image.id.short} was found but is for the platform {mine}, not {text}")
