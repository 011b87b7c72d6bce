"""The images of this machine, as a build looks for them: by name, digest and platform.

Of an image for several platforms one is unpacked, and has the name. The others are parts of the index by which it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from wherry.docker.reference import Reference
from wherry.errors import NotFound, Unsupported
from wherry.images.image import Image
from wherry.images.parts import can_be_unpacked
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.images.indexes import Part, Tree

__all__ = ["LocalImages"]

_SHORT_ID: Final = re.compile(r"library/([0-9a-f]{4,64})")


class LocalImages:
    """Looks for images in a store; from memory, but for `part`."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def find(self, reference: Reference, platform: Platform) -> Image | None:
        """The image that a name means; None where none fits.

        :param reference: with a tag, a digest, or both; both have to fit.
        :raises Unsupported: it is the built-in image.
        """
        offered = list(self._offered(reference)) or list(self._by_short_id(reference))
        position = platform.best_of([image.platform for image in offered])
        if position is None:
            return None
        if offered[position].built_in:
            raise Unsupported(
                "the image 'host' cannot be a base: its programs are this machine's own, and in none of its layers",
                hint="import a root file system, or pull an image",
            )
        return offered[position]

    def part(self, reference: Reference, platform: Platform) -> tuple[Image, Part] | None:
        """What suits a platform best of the indexes by which images came under a name, unpacked or not; with an image.

        Reads the disk.
        """
        found = [
            (image, part)
            for image, tree in self._trees(reference)
            for part in tree.parts
            if part.is_here and can_be_unpacked(part)
        ]
        position = platform.best_of([part.platform or platform for _, part in found])
        return None if position is None else found[position]

    def _trees(self, reference: Reference) -> Iterator[tuple[Image, Tree]]:
        for image in self._offered(reference):
            for name in image.names:
                digest = self._index_of(image, name) if name.name == reference.name else None
                is_meant = name == reference if reference.digest is None else digest == reference.digest
                if digest and is_meant and (tree := self._store.index_of(image, str(name))):
                    yield image, tree

    def by_id(self, identifier: Digest) -> Image | None:
        """An image by its ID."""
        return self._store.find(identifier)

    def digest_of(self, image: Image, reference: Reference) -> Digest:
        """What a name is pinned to: the index by which the image came, or else its manifest."""
        if reference.digest is not None:
            return reference.digest
        by_name = [name.digest for name in image.names if name.digest and name.name == reference.name]
        return self._index_of(image, reference) or next(iter(by_name), None) or image.manifest_digest

    def _offered(self, reference: Reference) -> Iterator[Image]:
        if reference.digest is not None:
            yield from (image for image in self._store.list() if self._is(image, reference, reference.digest))
            return
        with suppress(NotFound):
            image = self._store.resolve(str(reference))
            if reference in image.names:
                yield image

    def _by_short_id(self, reference: Reference) -> Iterator[Image]:
        """``FROM 1f2e3d4c5b6a``: the beginning of an image's ID looks like a name."""
        match = _SHORT_ID.fullmatch(reference.path)
        if match and reference.domain == "docker.io" and reference.tag == "latest" and reference.digest is None:
            with suppress(NotFound):
                yield self._store.resolve(match[1])

    def _is(self, image: Image, reference: Reference, digest: Digest) -> bool:
        """Whether a digest means an image: as its own manifest, or as what a name of it led through."""
        if image.manifest_digest == digest or any(name.digest == digest for name in image.names):
            return True
        names = [name for name in image.names if name.name == reference.name]
        return any(self._index_of(image, name) == digest for name in names)

    def _index_of(self, image: Image, name: Reference) -> Digest | None:
        return self._store.index_digest_of(image, str(name))
