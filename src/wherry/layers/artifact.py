"""Files as an artifact at a registry: a manifest without a configuration, and one layer, the archive of the files.

It is what the OCI image specification 1.1 has for everything that is no image (manifest.md, "Guidelines for Artifact
Usage"): programs that know nothing of it move it as it is, and write the layer to a file of its title. The layer has a
type of its own, because it is none of an image's: names that mean deletions there are names like others here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.errors import InvalidInput
from wherry.layers.limits import Limits
from wherry.oci import media_types
from wherry.oci.manifest import EMPTY, Descriptor, Index, Manifest, parse_manifest_or_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.oci.digest import Digest

__all__ = ["ArtifactKind", "Packed"]

_TITLE: Final = "org.opencontainers.image.title"
_CREATED: Final = "org.opencontainers.image.created"
_NUMBER: Final = re.compile("[0-9]{1,15}", re.ASCII)
_SHOWN: Final = 80  # characters of what a registry says


class Packed(NamedTuple):
    """An archive at a registry.

    :ivar size: what it says it becomes when it is unpacked, in bytes; None: it does not say.
    :ivar most: what any archive of its kind may become.
    """

    blob: Descriptor
    size: int | None
    most: Limits

    @property
    def limits(self) -> Limits:
        """What it may become: what it says, however little that takes up compressed; else what any archive may."""
        if self.size is None:
            return self.most
        # There has to be room for what it says, so a bomb cannot say much; and files of zeros are packed 1032 to 1.
        return Limits(max_bytes=self.size, max_ratio=1 << 20, max_entries=self.most.max_entries)


class ArtifactKind(NamedTuple):
    """A kind of files.

    :ivar word: what one is called, also in its types: ``volume``.
    :ivar most: what an archive may become that does not say.
    """

    word: str
    most: Limits

    @property
    def artifact_type(self) -> str:
        """Of the manifest."""
        return f"application/vnd.wherry.{self.word}.v1"

    @property
    def content_type(self) -> str:
        """Of the archive."""
        return f"application/vnd.wherry.{self.word}.content.v1.tar+gzip"

    @property
    def _size(self) -> str:
        """The annotation of the archive's size, uncompressed."""
        return f"org.wherry.{self.word}.size"

    def describe(self, title: str, created: str, about: Mapping[str, str], packed: tuple[Digest, int, int]) -> Manifest:
        """The manifest of an archive.

        :param created: RFC 3339: when the files were as they are.
        :param about: annotations.
        :param packed: the archive: digest, size, size uncompressed.
        """
        digest, size, unpacked = packed
        named = {_TITLE: f"{title}.tar.gz", self._size: str(unpacked)}
        layer = Descriptor(self.content_type, digest, size, annotations=named)
        return Manifest(
            config=EMPTY, layers=[layer], schema_version=2, media_type=media_types.OCI_MANIFEST,
            artifact_type=self.artifact_type, annotations={_CREATED: created, **about},
        )  # fmt: skip

    def packed_of(self, document: bytes, name: str) -> Packed:
        """The archive that a manifest has.

        :param name: of the manifest, for errors.
        :raises InvalidInput: it is of another kind.
        """
        manifest = parse_manifest_or_index(document)
        if isinstance(manifest, Index):
            raise InvalidInput(f"{name} is an index, not a {self.word}")
        if manifest.config.media_type in media_types.CONFIGS:
            raise InvalidInput(f"{name} is an image, not a {self.word}")
        kind = manifest.artifact_type or manifest.config.media_type
        if kind != self.artifact_type:
            raise InvalidInput(f"{name} is an artifact of the type {kind[:_SHOWN]!r}, not a {self.word}")
        unreadable = f"{name} is not a {self.word} that can be read"
        if len(manifest.layers) != 1:
            raise InvalidInput(f"{unreadable}: it has {len(manifest.layers)} layers")
        [blob] = manifest.layers
        plain = self.content_type.removesuffix("+gzip")
        if blob.media_type not in (plain, self.content_type, f"{plain}+zstd"):
            raise InvalidInput(f"{unreadable}: it has {blob.media_type[:_SHOWN]!r}")
        size = (blob.annotations or {}).get(self._size)
        if size is not None and not _NUMBER.fullmatch(size):
            raise InvalidInput(f"{unreadable}: {size[:_SHOWN]!r} is no size")
        return Packed(blob, int(size) if size is not None else None, self.most)
