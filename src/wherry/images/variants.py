"""What an image's name means for a platform: the image itself, or another part of the index by which it came.

Of an image for several platforms one is unpacked, and has the names. A part that a container or a build needs is
unpacked then, as an image without a name; so is what a registry gives for a second platform.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from wherry.content.store import ContentStore
from wherry.docker.reference import Reference
from wherry.errors import NotFound
from wherry.images.catalog import Catalog
from wherry.images.checks import lacks_platform
from wherry.images.image import Image
from wherry.images.parts import can_be_unpacked, unpack
from wherry.images.reference_counts import ReferenceCounts
from wherry.layers.store import LayerStore
from wherry.oci.digest import Digest
from wherry.oci.image_config import parse_config
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.images.indexes import Part, Tree

__all__ = ["Variants"]

_ATTEMPTS: Final = 3


class Variants:
    """The parts of images' indexes; its methods read the disk, if not said otherwise.

    :param layers: where parts are unpacked.
    """

    def __init__(
        self, catalog: Catalog, content: ContentStore, layers: LayerStore, references: ReferenceCounts
    ) -> None:
        self._catalog = catalog
        self._content = content
        self._layers = layers
        self._references = references
        self._listed: dict[Digest, frozenset[Digest]] = {}  # what indexes that names mean list

    def find(self, text: str, platform: Platform) -> Image:
        """What a name means for a platform, with the names of the image; without layers where it is not unpacked.

        :raises NotFound: there is no image of that name, or none for the platform.
        """
        image = self._catalog.resolve(text)
        part = self._part(image, text, platform)
        if part is not None:
            return self._image(part, image)
        if platform.best_of([image.platform]) is None:
            raise lacks_platform(text, platform)
        return image

    def unpacked(self, text: str, platform: Platform) -> Digest:
        """The ID of the image that a name means for a platform; it is unpacked, if it is not yet.

        :raises NotFound: there is no image of that name, or none for the platform.
        :raises CorruptData: a blob is damaged.
        :raises OutOfSpace: the disk is full.
        """
        for _ in range(_ATTEMPTS):
            image = self._catalog.resolve(text)
            part = self._part(image, text, platform)
            if part is None:
                if platform.best_of([image.platform]) is None:
                    raise lacks_platform(text, platform)
                return image.id
            if found := self.unpack(part):
                return found.id
        raise NotFound(f"{text} is removed again and again while it is to be used")

    def unpack(self, part: Part) -> Image | None:
        """A part as an image of this machine; None where it has gone."""
        assert part.manifest is not None, "it was here"
        identifier, blobs = part.manifest.config.digest, [part.descriptor, *part.blobs]
        known = self._visible(identifier)
        if known is not None and self._catalog.is_complete(known):
            return known
        with self._references.lease() as lease:
            lease.blob(*(one.digest for one in blobs))
            if not all(self._content.holds(one.digest, one.size) for one in blobs):
                return None
            unpack(part, self._content, self._layers, lease)
            self._catalog.add(identifier, part.descriptor.digest, added=time.time_ns())
        self._catalog.write_index()
        return self._visible(identifier)

    def name(
        self, identifier: Digest, names: Sequence[Reference], index: Digest | None, also: Sequence[Digest]
    ) -> bool:
        """Name an image; a name by which another part of the same index is here means what suits this machine best.

        So it does with containerd's images.

        :param also: the blobs that stay as long as whatever has the name.
        :return: whether a name means another image now than before.
        """
        is_moved = False
        for name in names:
            former = self._catalog.named(name)
            if former is not None and index is not None and self._keeps(former, name, index, identifier):
                self._catalog.add(former.id, former.manifest_digest, added=former.added, also=also)
            else:
                is_moved |= self._catalog.name(identifier, name, index) is not None or former is None
        return is_moved

    def _keeps(self, former: Image, name: Reference, index: Digest, identifier: Digest) -> bool:
        if former.id == identifier or self._catalog.index_of(former, str(name)) != index:
            return False
        return Platform.host().best_of([former.platform, self._catalog.get(identifier).platform]) == 0

    def present(self, index: Digest) -> list[Digest]:
        """The blobs of an index that are here: they stay as long as the image that has the name."""
        tree = self._tree(index)
        return [one.digest for one in tree.present] if tree else []

    @staticmethod
    def limited(tree: Tree, platforms: Sequence[str]) -> Tree:
        """An index with no more of what it lists than some platforms need; with all of it where none is named."""
        if not platforms:
            return tree
        able = [part for part in tree.parts if part.is_here and part.platform is not None]
        offered = [part.platform for part in able if part.platform is not None]
        chosen = [Platform.parse(text).best_of(offered) for text in platforms]
        wanted = [able[position] for position in chosen if position is not None]
        parts = (part if part in wanted else replace(part, is_here=False) for part in tree.parts)
        return replace(tree, parts=tuple(parts))

    def manifests(self, index: Digest | None) -> frozenset[Digest]:
        """What an index lists."""
        tree = self._tree(index) if index else None
        return frozenset(part.descriptor.digest for part in tree.parts) if tree else frozenset()

    def names_of(self, image: Image) -> list[str]:
        """The names of an image, as people write them; of a part of an index those by which all of it is meant.

        From memory: of indexes that `look_up_parts` has read.
        """
        if image.names:
            return image.repo_tags
        return sorted(
            name.familiar
            for name, index in self._catalog.indexes().items()
            if name.digest is None and image.manifest_digest in self._listed.get(index, ())
        )

    def knows_parts(self) -> bool:
        """Whether it is known what all indexes list that names mean. From memory."""
        return all(index in self._listed for index in self._catalog.indexes().values())

    def look_up_parts(self) -> None:
        """Read what indexes list, for `names_of`."""
        named = set(self._catalog.indexes().values())
        self._listed = {
            index: self._listed[index] if index in self._listed else self.manifests(index) for index in named
        }

    def left_behind(self, index: Digest | None, manifests: frozenset[Digest]) -> list[Image]:
        """The parts that were unpacked of an index which no name means any more. From memory.

        :param manifests: what it lists.
        """
        named = (self._catalog.index_of(image, str(name)) for image in self._catalog for name in image.names)
        if not manifests or index in named:
            return []
        return [image for image in self._catalog if not image.names and image.manifest_digest in manifests]

    def _part(self, image: Image, text: str, platform: Platform) -> Part | None:
        """What of an image's index suits a platform better than the image does."""
        index = None if _is_for(image, platform) else self._catalog.index_of(image, text)
        tree = self._tree(index) if index else None
        able = [part for part in (tree.parts if tree else ()) if part.is_here and can_be_unpacked(part)]
        offered = [part.platform for part in able if part.platform is not None]
        position = platform.best_of([image.platform, *offered])
        return able[position - 1] if position else None

    def _image(self, part: Part, named: Image) -> Image:
        """A part as an image, unpacked or not."""
        assert part.manifest is not None, "it is here"
        known = self._visible(part.manifest.config.digest)
        if known is not None:
            return known if known.names else replace(known, names=self._names(named))
        data = self._content.read(part.manifest.config.digest)
        return Image(
            part.manifest.config.digest, part.descriptor.digest, part.manifest, parse_config(data),
            json.loads(data).get("config") or {}, (), self._layers.root, named.added, self._names(named),
        )  # fmt: skip

    def _names(self, image: Image) -> tuple[Reference, ...]:
        """The names under which all of the index is meant."""
        return tuple(name for name in image.names if self._catalog.index_of(image, str(name)) is not None)

    def _visible(self, identifier: Digest) -> Image | None:
        try:
            image = self._catalog.get(identifier)
        except NotFound:
            return None
        return None if image.removed else image

    def _tree(self, index: Digest) -> Tree | None:
        from wherry.images import indexes  # noqa: PLC0415 - most images are for one platform

        return indexes.stored(self._content, index)


def _is_for(image: Image, platform: Platform) -> bool:
    return image.platform.normalised() == platform.normalised()
