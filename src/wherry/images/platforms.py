"""Remove an image's content for some platforms; other platforms stay, under its names.

Of an image for several platforms one is unpacked, and is what its names mean; of the others there are the blobs. So
removing one of the others lets go of blobs. Removing the unpacked one first unpacks another in its place and gives
that the names: until this is done everything is as it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wherry.content.store import ContentStore
from wherry.docker.image_answers import ImageDeleted
from wherry.docker.reference import Reference
from wherry.errors import Conflict, InvalidInput, Unsupported
from wherry.images.catalog import Catalog
from wherry.images.checks import lacks_platform
from wherry.images.image import Image
from wherry.images.indexes import Part, Tree, stored, subject
from wherry.images.parts import can_be_unpacked, unpack
from wherry.images.reference_counts import ReferenceCounts
from wherry.images.removal import Removal
from wherry.layers.store import LayerStore
from wherry.oci.digest import Digest
from wherry.oci.manifest import Manifest
from wherry.oci.platform import Platform

__all__ = ["PlatformRemoval"]

_VARIANTS: Final = {"arm": "v7"}  # what is meant where none is said


@dataclass(frozen=True, slots=True)
class _Choice:
    """Parts of an index to remove, and to keep.

    :param gone: the manifests that go, statements about them apart.
    """

    tree: Tree
    gone: tuple[Part, ...]
    left: tuple[Part, ...]

    @property
    def digests(self) -> set[Digest]:
        """The manifests that go, with the statements about them."""
        going = {part.descriptor.digest for part in self.gone}
        about = {part.descriptor.digest for part in self.tree.parts if subject(part.descriptor) in going}
        return going | about


class PlatformRemoval:
    """One request to remove some platforms of an image.

    :param removal: removes whole images, and gathers the records of all.
    """

    def __init__(
        self, catalog: Catalog, content: ContentStore, layers: LayerStore, references: ReferenceCounts, removal: Removal
    ) -> None:
        self._catalog = catalog
        self._content = content
        self._layers = layers
        self._references = references
        self._removal = removal

    def run(self, text: str, platforms: Sequence[str], *, force: bool) -> list[ImageDeleted]:
        """Remove some platforms of an image; the whole image when no other platform is stored.

        :return: what was removed, in Docker's form: of a platform the digest of its manifest.
        :raises NotFound: there is no such image, or nothing of it for one of the platforms; then nothing is removed.
        :raises InvalidInput: others would stay, and it is not forced: all names of the image lose the platform.
        :raises Conflict: something else needs it.
        """
        with self._catalog.removing_platforms:  # what one lets go of must not be what another one means to keep
            return self._run(text, platforms, force=force)

    def _run(self, text: str, platforms: Sequence[str], *, force: bool) -> list[ImageDeleted]:
        image = self._catalog.resolve(text)
        choice = self._choose(image, text, [*map(Platform.parse, platforms)])
        if choice is None or not choice.left:
            return self._removal.run(text, force=force)
        if not force:
            raise InvalidInput(
                "Content will be removed from all images referencing this variant. Use --force to force delete."
            )
        siblings = self._siblings(image, choice)
        if image.manifest_digest in choice.digests:
            self._replace(image, text, choice)
        else:
            self._catalog.let_go(image.id, self._digests_to_delete(image, choice))
        for sibling in siblings:
            self._removal.run(str(sibling.id), force=True)
        reported = {record.deleted for record in self._removal.records}
        self._removal.records += [
            ImageDeleted(deleted=str(digest)) for digest in sorted(choice.digests) if str(digest) not in reported
        ]
        return self._removal.records

    def _choose(self, image: Image, text: str, wanted: Sequence[Platform]) -> _Choice | None:
        """What goes; None where the image is here for one platform only.

        :raises NotFound: one of the platforms is not here.
        """
        index = self._catalog.index_of(image, text)
        tree = stored(self._content, index) if index else None
        if tree is None and any(self._catalog.index_of(image, str(name)) for name in image.names):
            raise _needed_elsewhere(image)  # by its ID: it came by several indexes
        here = [part for part in (tree.parts if tree else ()) if _is_here(part, image)]
        offered = [_exactly(_platform(part, image)) for part in here] if here else [_exactly(image.platform)]
        for platform in wanted:
            if _exactly(platform) not in offered:
                raise lacks_platform(text, platform)
        if tree is None or len(here) < 2:
            return None
        asked = [*map(_exactly, wanted)]
        gone = tuple(part for part, platform in zip(here, offered, strict=True) if platform in asked)
        return _Choice(tree, gone, tuple(part for part in here if part not in gone))

    def _siblings(self, image: Image, choice: _Choice) -> list[Image]:
        """What goes and is an image of its own besides, as it was pulled or loaded for its platform once.

        :raises Conflict: it has names of its own, or a container runs on it.
        """
        ids = {part.manifest.config.digest for part in choice.gone if part.manifest} - {image.id}
        found = [other for other in self._catalog if other.id in ids]
        for other in found:
            if other.names:
                raise _needed_elsewhere(other)
            self._removal.check_running(other)
        return found

    def _digests_to_delete(self, image: Image, choice: _Choice) -> set[Digest]:
        """The blobs that this image does not need any more."""
        gone = choice.digests
        going = {one for part in choice.tree.parts if part.descriptor.digest in gone for one in _blobs(part)}
        return going - self._kept(image, choice) - {image.id, image.manifest_digest} - _layers(image.manifest)

    def _kept(self, image: Image, choice: _Choice) -> set[Digest]:
        """The blobs that stay of all indexes by which the image came, as far as they are here."""
        indexes = {index for name in image.names if (index := self._catalog.index_of(image, str(name)))}
        trees = [choice.tree, *(tree for index in indexes if (tree := stored(self._content, index)))]
        gone = choice.digests
        parts = [part for tree in trees for part in tree.parts if part.is_here and part.descriptor.digest not in gone]
        return {one for part in parts for one in _blobs(part)} | {one.digest for tree in trees for one in tree.indexes}

    def _replace(self, image: Image, text: str, choice: _Choice) -> None:
        """Unpack what is to be the image from now on, give it the names, and let go of what was."""
        self._removal.check_running(image)
        names = self._names(image, choice)
        part = _successor(image, choice.left, text)
        assert part.manifest is not None
        identifier, kept = part.manifest.config.digest, self._kept(image, choice)
        with self._references.lease() as lease:
            lease.blob(*kept)
            unpack(part, self._content, self._layers, lease)
            with self._catalog.pin_id(identifier):
                self._catalog.add(identifier, part.descriptor.digest, added=time.time_ns(), also=kept)
                for name, index in names.items():
                    self._catalog.name(identifier, name, index)
        self._removal.remove_image(self._catalog.get(image.id), force=True, named=False)

    def _names(self, image: Image, choice: _Choice) -> dict[Reference, Digest | None]:
        """The image's names, with the index that goes on with each.

        :raises Conflict: one of them means it without this index.
        """
        if any(self._catalog.index_of(image, str(name)) != choice.tree.top.digest for name in image.names):
            raise _needed_elsewhere(image)
        return {name: None if name.digest else choice.tree.top.digest for name in image.names}


def _needed_elsewhere(image: Image) -> Conflict:
    return Conflict(
        f"conflict: unable to delete {image.id.short} (cannot be forced) - image is referenced in multiple repositories"
    )


def _is_here(part: Part, image: Image) -> bool:
    if part.descriptor.digest == image.manifest_digest:
        return True
    return part.is_here and part.platform is not None


def _platform(part: Part, image: Image) -> Platform:
    return image.platform if part.platform is None else part.platform


def _exactly(platform: Platform) -> Platform:
    """A platform to be compared: nothing that merely runs there as well is removed."""
    found = platform.normalised()
    return Platform(found.os, found.architecture, found.variant or _VARIANTS.get(found.architecture, ""))


def _blobs(part: Part) -> set[Digest]:
    return {part.descriptor.digest, *(blob.digest for blob in part.blobs)}


def _layers(manifest: Manifest) -> set[Digest]:
    return {layer.digest for layer in manifest.layers}


def _successor(image: Image, left: Sequence[Part], text: str) -> Part:
    """What suits this machine best, or else the first; another image than before, as configurations may be shared.

    :raises Unsupported: none of it can be unpacked here.
    """
    able = [part for part in left if _can_be_unpacked(part, image)]
    if not able:
        raise Unsupported(
            f"what is left of {text} is for no platform that can be unpacked here", hint="remove the whole image"
        )
    offered = [part.platform for part in able if part.platform is not None]
    return able[Platform.host().best_of(offered) or 0]


def _can_be_unpacked(part: Part, former: Image) -> bool:
    is_other = part.manifest is not None and part.manifest.config.digest != former.id
    return is_other and can_be_unpacked(part)
