"""Verify the blobs and layers of all images by their digests, and repair damage if asked.

A damaged layer is unpacked again from its blob; a damaged blob is put aside and fetched again through a callback.
Nothing that is sound is touched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wherry.content.store import ContentStore
from wherry.database.database import Database
from wherry.errors import CorruptData, NotFound, WherryError
from wherry.images.image import Image
from wherry.layers.store import Layer, LayerStore
from wherry.layers.tree_digest import tree_digest
from wherry.oci.digest import Digest

__all__ = ["Checker", "Finding", "Kind", "Refetch", "Verdict"]

_PIECE: Final = 1 << 20

#: Fetches a blob into the content store; raises where it cannot.
Refetch = Callable[[Digest], None]


class Kind(StrEnum):
    """The kind of the checked object."""

    BLOB = "blob"
    LAYER = "layer"
    DATABASE = "database"


class Verdict(StrEnum):
    """The result of a check."""

    SOUND = "sound"
    DAMAGED = "damaged"
    REPAIRED = "repaired"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :param name: a digest, or a chain ID.
    :param size: how many bytes were read for it.
    :param images: the images that need it, by the names that people know.
    :param why: what is wrong with it, or was; empty when it is sound.
    :param hint: what can be done about it where it is still damaged.
    """

    kind: Kind
    name: str
    verdict: Verdict
    size: int = 0
    images: tuple[str, ...] = ()
    why: str = ""
    hint: str = ""


class Checker:
    """Goes through everything once. Takes as long as reading it all.

    :param images: all images, with those that only containers know any more.
    :param needed: further blobs that are not to be missed: indexes, statements about images.
    :param busy: which running containers stand on a layer; that one cannot be unpacked anew under them.
    :param refetch: fetches a blob; None when nothing is to be repaired.
    """

    def __init__(
        self,
        database: Database,
        content: ContentStore,
        layers: LayerStore,
        images: Sequence[Image],
        needed: Collection[Digest],
        *,
        busy: Callable[[Layer], Sequence[str]],
        refetch: Refetch | None,
    ) -> None:
        self._database = database
        self._content = content
        self._layers = layers
        self._images = images
        self._needed = {*needed, *(digest for image in images for digest in _blobs(image))}
        self._busy = busy
        self._refetch = refetch

    def run(self) -> Iterator[Finding]:
        """Look at the database, then at blobs, then at layers, the lowest first: repairing one needs those below."""
        yield self._check_database()
        for digest in sorted(self._needed | {digest for digest, _ in self._content.walk()}):
            yield self._check_blob(digest)
        for layer in sorted(self._layers, key=lambda one: len(self._layers.chain(one.chain_id))):
            yield self._check_layer(layer)

    # --- database ---------------------------------------------------------------------------------

    def _check_database(self) -> Finding:
        try:
            rows = self._database.rows("PRAGMA integrity_check")
        except sqlite3.DatabaseError as exc:
            rows = [(str(exc),)]
        if rows == [("ok",)]:
            return Finding(Kind.DATABASE, "wherry.db", Verdict.SOUND)
        why = "; ".join(row[0] for row in rows[:3])
        return Finding(Kind.DATABASE, "wherry.db", Verdict.DAMAGED, why=why, hint="restore it from a copy")

    # --- blobs ------------------------------------------------------------------------------------

    def _check_blob(self, digest: Digest) -> Finding:
        images = tuple(_name(image) for image in self._images if digest in _blobs(image))
        try:
            return Finding(Kind.BLOB, digest, Verdict.SOUND, self._verify(digest), images)
        except (CorruptData, NotFound, OSError) as exc:
            why = str(exc)
        if digest not in self._needed:
            return self._drop_unneeded(digest, why)
        hint = (
            self._fetch_again(digest) if self._refetch else "--repair fetches it again, where it came from a registry"
        )
        return Finding(Kind.BLOB, digest, Verdict.DAMAGED if hint else Verdict.REPAIRED, 0, images, why, hint)

    def _verify(self, digest: Digest) -> int:
        """Read a blob; returns how many bytes it has."""
        running, size = digest.hasher(), 0
        with self._content.open(digest) as file:
            while piece := file.read(_PIECE):
                running.update(piece)
                size += len(piece)
        found = Digest.from_hash(running)
        if found != digest:
            raise CorruptData(f"its {size} bytes have digest {found}")
        return size

    def _drop_unneeded(self, digest: Digest, why: str) -> Finding:
        if self._refetch is None:
            return Finding(Kind.BLOB, digest, Verdict.DAMAGED, why=why, hint="no image needs it; --repair removes it")
        self._content.delete(digest)
        return Finding(Kind.BLOB, digest, Verdict.REPAIRED, why=f"{why}; no image needed it: removed")

    def _fetch_again(self, digest: Digest) -> str:
        """Replace a damaged blob; returns what else can be done when that fails.

        It is removed only when there is another one to take its place: a damaged one may still be of use to somebody.
        """
        assert self._refetch is not None
        path = self._content.path(digest)
        aside = path.with_name(path.name + ".damaged")
        if path.exists():
            path.rename(aside)
        try:
            self._refetch(digest)
            self._verify(digest)
        except (WherryError, OSError) as exc:
            if aside.exists():
                aside.replace(path)
            return f"{exc}; remove the image, and load or pull it again"
        aside.unlink(missing_ok=True)
        return ""

    # --- layers -----------------------------------------------------------------------------------

    def _check_layer(self, layer: Layer) -> Finding:
        images = tuple(_name(image) for image in self._images if layer in image.layers)
        expected = self._layers.tree_digest_of(layer)
        try:
            found = tree_digest(self._layers.path(layer))
            why = "" if found == expected else "its files are not what was unpacked"
            why = why if expected else "it was unpacked by a version that recorded no tree digests"
        except (WherryError, OSError) as exc:
            why = str(exc)
        if not why:
            return Finding(Kind.LAYER, layer.chain_id, Verdict.SOUND, layer.size, images)
        hint = self._unpack_again(layer) if self._refetch else "--repair unpacks it again"
        verdict = Verdict.DAMAGED if hint else Verdict.REPAIRED
        return Finding(Kind.LAYER, layer.chain_id, verdict, layer.size, images, why, hint)

    def _unpack_again(self, layer: Layer) -> str:
        """Make a layer anew; returns what else can be done when that fails."""
        users = self._busy(layer)
        if users:
            return f"container {users[0][:12]} runs on it: stop it first"
        for digest in self._archives(layer):
            try:
                self._verify(digest)
                with self._content.open(digest) as stream:
                    self._layers.rebuild(layer, stream)
            except (WherryError, OSError) as exc:
                return f"it cannot be unpacked again: {exc}"
            return ""
        return "no image has its archive"

    def _archives(self, layer: Layer) -> list[Digest]:
        """The blobs that unpack to a layer, according to the images that have it."""
        pairs = [pair for image in self._images for pair in zip(image.layers, image.manifest.layers, strict=True)]
        return list(dict.fromkeys(descriptor.digest for one, descriptor in pairs if one == layer))


def _blobs(image: Image) -> set[Digest]:
    """The blobs of an image, with the indexes of its names."""
    indexes = (name.digest for name in image.names if name.digest is not None)
    return {image.id, image.manifest_digest, *(one.digest for one in image.manifest.layers), *indexes}


def _name(image: Image) -> str:
    return image.repo_tags[0] if image.repo_tags else image.id.short
