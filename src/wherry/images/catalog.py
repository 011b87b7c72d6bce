"""The catalogue of images and their names: rows in the database, values in memory.

All look-ups come from memory and take microseconds, so they may be made anywhere. Changes go to the database first. A
configuration is decoded once, when its image comes or the daemon starts.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from sqlite3 import Connection
from typing import Final

from wherry.content.store import ContentStore
from wherry.database.database import Database, understanding
from wherry.docker.reference import Reference
from wherry.errors import CorruptData, InvalidInput, NotFound, OutOfSpace
from wherry.images.image import Image
from wherry.images.reference_counts import BUILD_OWNER, ReferenceCounts, Target, blob, layer
from wherry.layers.store import LayerStore
from wherry.oci.digest import Digest, chain_ids_of
from wherry.oci.image_config import parse_config
from wherry.oci.manifest import Descriptor, DescriptorPlatform, Manifest, parse_manifest_or_index
from wherry.oci.media_types import OCI_MANIFEST

__all__ = ["RESERVED", "Catalog", "no_such_image"]

log = logging.getLogger(__name__)


#: The built-in image's name; nothing else may have it.
RESERVED: Final = Reference.parse("host:latest")

_FULL_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_SHORT_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


def no_such_image(what: str) -> NotFound:
    """Docker's own words; clients look for them (``docker run`` then pulls)."""
    return NotFound(f"No such image: {what}")


class Catalog:
    """Images and names. Safe to use from several threads.

    :param database: the engine's.
    """

    def __init__(
        self, database: Database, content: ContentStore, layers: LayerStore, references: ReferenceCounts
    ) -> None:
        self._database = database
        self._content = content
        self._layers = layers
        self._references = references
        self._pins: Counter[Digest] = Counter()
        self._deciding = threading.Lock()  # held for microseconds: the event loop takes it, too
        self._lock = threading.RLock()
        self._images: dict[Digest, Image] = {}
        self._names: dict[Reference, Digest] = {}
        self._indexes: dict[Reference, Digest] = {}
        self.damaged: dict[str, str] = {}
        self.removing_platforms: Final = threading.Lock()  #: held by who removes some platforms of an image
        self._unreadable: set[str] = set()  # owners of references whose rows are not understood
        self._read()

    # --- looking ----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Image]:
        return iter([image for image in list(self._images.values()) if not image.removed])

    def everything(self) -> list[Image]:
        """All images, with those that only containers know any more."""
        return list(self._images.values())

    def get(self, identifier: Digest) -> Image:
        """An image by its whole ID, even one that was removed while a container used it.

        :raises NotFound: there is none.
        """
        try:
            return self._images[identifier]
        except KeyError:
            raise no_such_image(identifier) from None

    def named(self, name: Reference) -> Image | None:
        """The image of a name."""
        identifier = self._names.get(name)
        return self._images[identifier] if identifier else None

    def resolve(self, text: str) -> Image:
        """Find an image by a name, an ID, the beginning of an ID, or a digest.

        :raises NotFound: ``No such image: ...``.
        :raises InvalidInput: it can be none of these.
        """
        if full := _FULL_ID.fullmatch(text):
            image = self._images.get(Digest(f"sha256:{full[1]}"))
            if image is None or image.removed:
                raise no_such_image(f"sha256:{full[1]}")
            return image
        reference = Reference.parse(text).with_default_tag()
        found = self.named(reference) or self._by_digest(reference) or self._by_short_id(text)
        if found is None:
            raise no_such_image(reference.familiar)
        return found

    def _by_digest(self, reference: Reference) -> Image | None:
        """``name@sha256:...`` also means the image that has this name, if its manifest has this digest."""
        if reference.digest is None:
            return None
        if reference.tag is not None:
            return self.named(Reference(reference.domain, reference.path, None, reference.digest))
        for image in self:
            if image.manifest_digest == reference.digest and any(n.name == reference.name for n in image.names):
                return image
        return None

    def _by_short_id(self, text: str) -> Image | None:
        """The image with this ID prefix; None when it is ambiguous, as in Docker."""
        match = _SHORT_ID.fullmatch(text)
        if match is None:
            return None
        found = [image for image in self if image.id.hex.startswith(match[1])]
        return found[0] if len(found) == 1 else None

    def index_of(self, image: Image, text: str = "") -> Digest | None:
        """The index by which an image came under the name that `text` is, or, when it is an ID, under any name."""
        with suppress(InvalidInput):
            name = Reference.parse(text).with_default_tag()
            if self._names.get(name) == image.id:
                return self._indexes.get(name) or self._other(image, name.digest)
        found = {index for name in image.names if (index := self._indexes.get(name))}
        return found.pop() if len(found) == 1 else None

    def indexes(self) -> dict[Reference, Digest]:
        """The indexes by which images came that have names, by these."""
        return dict(self._indexes)

    @staticmethod
    def _other(image: Image, digest: Digest | None) -> Digest | None:
        return digest if digest != image.manifest_digest else None

    # --- changing ---------------------------------------------------------------------------------

    @contextmanager
    def pin(self, text: str) -> Iterator[Image]:
        """Find an image and pin it, so that it is not removed before its new user has a row.

        Quick, so it may be used on an event loop. The errors are those of `resolve`.
        """
        with self._deciding:
            image = self.resolve(text)
            self._pins[image.id] += 1
        try:
            yield image
        finally:
            self._unpin(image.id)

    @contextmanager
    def pin_id(self, identifier: Digest) -> Iterator[None]:
        """Pin an image by its ID: protect it from removal between being stored and being named."""
        with self._deciding:
            self._pins[identifier] += 1
        try:
            yield
        finally:
            self._unpin(identifier)

    def _unpin(self, identifier: Digest) -> None:
        with self._deciding:
            self._pins[identifier] -= 1
            if not self._pins[identifier]:
                del self._pins[identifier]

    def add(
        self,
        identifier: Digest,
        manifest: Digest,
        *,
        added: int,
        parts: Iterable[str] = (),
        built_in: bool = False,
        also: Iterable[Digest] = (),
    ) -> Image:
        """Add an image whose blobs and layers are all stored; a known one is returned as it is.

        One of which a blob was lost takes the manifest, and with it the blobs, that it comes with now.

        :param also: further blobs to keep with it, such as statements about it.
        """
        with self._lock:
            present = self._images.get(identifier)
            image = present
            if image is None or image.removed or not self.is_complete(image):
                row = (str(identifier), str(manifest), added, json.dumps(list(parts)), int(built_in), 0)
                image = self._image(row, self._names_of(Digest(row[0])))
            dropped: list[Target] = []
            with self._database.transaction() as connection:
                if image is not present:
                    dropped = self._references.drop(connection, identifier)
                    connection.execute(
                        "REPLACE INTO images (id, manifest, added, parts, built_in, removed) VALUES (?, ?, ?, ?, ?, ?)",
                        row,
                    )
                self._references.add(connection, identifier, [*_needs(image), *map(blob, also)])
            self._images[identifier] = image
        self._references.delete_unreferenced(dropped)
        return image

    def is_complete(self, image: Image) -> bool:
        """Whether all of an image's blobs are there, as far as their sizes tell."""
        manifest = image.manifest
        return image.manifest_digest in self._content and all(
            self._content.holds(one.digest, one.size) for one in [manifest.config, *manifest.layers]
        )

    def name(self, identifier: Digest, name: Reference, index: Digest | None = None) -> Digest | None:
        """Name an image, moving the name from another; a removed image becomes visible again.

        :param index: by which the image came under this name; it stays as long as the name.
        :return: the image that had it, unless it's the same.
        """
        with self._lock:
            former = self._names.get(name)
            with self._database.transaction() as connection:
                connection.execute("REPLACE INTO names (name, image) VALUES (?, ?)", (str(name), str(identifier)))
                connection.execute("UPDATE images SET removed = 0 WHERE id = ?", (str(identifier),))
                dropped = self._references.drop(connection, str(name))
                # A digest is that of the manifest, or of the index that the name led through.
                self._references.add(connection, str(name), [blob(one) for one in (name.digest, index) if one])
                self._note_index(connection, name, index)
            self._names[name] = identifier
            self._images[identifier] = replace(self._images[identifier], removed=False)
            self._refresh(identifier, former)
        self._references.delete_unreferenced(dropped)
        return former if former != identifier else None

    def _note_index(self, connection: Connection, name: Reference, index: Digest | None) -> None:
        if index is None:
            connection.execute("DELETE FROM indexes WHERE name = ?", (str(name),))
            self._indexes.pop(name, None)
        else:
            connection.execute("REPLACE INTO indexes (name, digest) VALUES (?, ?)", (str(name), str(index)))
            self._indexes[name] = index

    def unname(self, name: Reference, owner: Digest) -> None:
        """Remove a name from an image, unless it has moved to another."""
        with self._lock:
            if self._names.get(name) != owner:
                return
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM names WHERE name = ?", (str(name),))
                self._note_index(connection, name, None)
                dropped = self._references.drop(connection, str(name))
            self._refresh(self._names.pop(name, None))
        self._references.delete_unreferenced(dropped)

    def let_go(self, identifier: Digest, blobs: Iterable[Digest]) -> None:
        """An image stays, but does not need these blobs any more."""
        with self._lock, self._database.transaction() as connection:
            dropped = self._references.drop_some(connection, identifier, map(blob, blobs))
        self._references.delete_unreferenced(dropped)

    def retire(self, identifier: Digest, users: Callable[[Digest], Sequence[str]]) -> bool:
        """Remove an image without names, with everything that only it references.

        One that got a name in the last moment stays. While somebody uses it, or is about to, it stays for them, and
        for nobody else.

        :param users: who uses an image; quick.
        :return: whether it is really gone.
        :raises NotFound: somebody else was faster.
        """
        with self._lock:
            with self._deciding:
                image = self.get(identifier)
                if image.names:
                    return False
                del self._images[identifier]
                keep = bool(self._pins[identifier] or users(identifier))
                if keep:
                    self._images[identifier] = replace(image, names=(), removed=True)
            try:
                dropped = self._forget(image, keep=keep)
            except BaseException:
                self._images[identifier] = image
                raise
        self._references.delete_unreferenced(dropped)
        return not keep

    def _forget(self, image: Image, *, keep: bool) -> list[Target]:
        with self._database.transaction() as connection:
            if keep:
                connection.execute("UPDATE images SET removed = 1 WHERE id = ?", (str(image.id),))
                return []
            connection.execute("DELETE FROM images WHERE id = ?", (str(image.id),))
            return self._references.drop(connection, image.id)

    def drop_damaged(self) -> None:
        """Remove images with missing parts, and log it."""
        for identifier, why in self.damaged.items():
            log.warning("a damaged image was removed", extra={"image": identifier, "error": why})
            with self._database.transaction() as connection:
                connection.execute(
                    "DELETE FROM indexes WHERE name IN (SELECT name FROM names WHERE image = ?)", (identifier,)
                )
                connection.execute("DELETE FROM names WHERE image = ?", (identifier,))
                connection.execute("DELETE FROM images WHERE id = ?", (identifier,))
                self._references.drop(connection, identifier)
        self.damaged.clear()

    def count_references(self) -> None:
        """Add references of images that an earlier version stored without them."""
        counted = self._references.owners()
        with self._database.transaction() as connection:
            for image in self.everything():
                if image.id not in counted:
                    self._references.add(connection, image.id, _needs(image))
                for name in image.names:
                    if name.digest and str(name) not in counted:
                        self._references.add(connection, str(name), [blob(name.digest)])
            known = {image.id for image in self.everything()} | {str(name) for name in self._names}
            for owner in counted - known - self._unreadable:
                if not owner.startswith(BUILD_OWNER):
                    self._references.drop(connection, owner)

    def write_index(self) -> None:
        """Bring ``index.json`` of the content store in step with the names; it is there for other programs only.

        On a full disk it stays as it is until the next change: what it would tell of has happened.
        """
        with self._lock:
            try:
                self._content.write_index([one for image in self for one in self.descriptors(image)])
            except OutOfSpace as exc:
                log.warning("the index of images is not up to date", extra={"error": str(exc)})

    def descriptors(self, image: Image, names: Iterable[Reference] | None = None) -> list[Descriptor]:
        """An image as ``index.json`` lists it: once for each name, or once without."""
        kind = image.manifest.media_type or OCI_MANIFEST
        platform = DescriptorPlatform(image.architecture, image.os, image.variant)
        size = self._content.size(image.manifest_digest)
        tagged = [name for name in (image.names if names is None else names) if name.tag]
        notes: list[dict[str, str] | None] = [
            {"io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": str(name)} for name in tagged
        ]
        return [
            Descriptor(kind, image.manifest_digest, size, annotations=note, platform=platform)
            for note in notes or [None]
        ]

    # --- reading rows -----------------------------------------------------------------------------

    def _read(self) -> None:
        for name, owner in self._database.rows("SELECT name, image FROM names"):
            with understanding("an image's name", name, partial(self._unreadable.update, (name, owner))):
                self._names[Reference.parse(name)] = Digest(owner)
        names: defaultdict[Digest, list[Reference]] = defaultdict(list)
        for reference, owner in self._names.items():
            names[owner].append(reference)
        for row in self._database.rows("SELECT id, manifest, added, parts, built_in, removed FROM images"):
            with understanding("an image", row[0], partial(self._unreadable.add, row[0])):
                try:
                    self._images[Digest(row[0])] = self._image(row, names[Digest(row[0])])
                except (NotFound, CorruptData) as exc:  # a part is missing: what is left is of no use
                    self.damaged[row[0]] = str(exc)
        for name, index in self._database.rows("SELECT name, digest FROM indexes"):
            with understanding("an image's index", name, partial(self._unreadable.add, name)):
                self._indexes[Reference.parse(name)] = Digest(index)
        self._unreadable |= {str(name) for name, owner in self._names.items() if owner in self._unreadable}
        self._names = {name: owner for name, owner in self._names.items() if owner in self._images}

    def _image(self, row: tuple[str, str, int, str, int, int], names: Iterable[Reference]) -> Image:
        identifier, manifest_digest = Digest(row[0]), Digest(row[1])
        manifest = parse_manifest_or_index(self._content.read(manifest_digest))
        if not isinstance(manifest, Manifest):
            raise InvalidInput(f"{manifest_digest} is no image manifest")
        data = self._content.read(identifier)
        document = parse_config(data)
        ids = document.rootfs.diff_ids
        chain_ids = chain_ids_of(ids)
        return Image(
            identifier,
            manifest_digest,
            manifest,
            document,
            json.loads(data).get("config") or {},
            tuple(self._layers.get(chain_id) for chain_id in chain_ids),
            self._layers.root,
            row[2],
            tuple(sorted(names, key=str)),
            tuple(json.loads(row[3])),
            bool(row[4]),
            bool(row[5]),
        )

    def _names_of(self, identifier: Digest) -> tuple[Reference, ...]:
        return tuple(sorted((name for name, owner in self._names.items() if owner == identifier), key=str))

    def _refresh(self, *identifiers: Digest | None) -> None:
        for identifier in identifiers:
            if identifier in self._images:
                assert identifier is not None
                self._images[identifier] = replace(self._images[identifier], names=self._names_of(identifier))


def _needs(image: Image) -> list[Target]:
    """All that an image consists of."""
    blobs = [image.id, image.manifest_digest, *(one.digest for one in image.manifest.layers)]
    return [*map(blob, blobs), *(layer(one.chain_id) for one in image.layers)]
