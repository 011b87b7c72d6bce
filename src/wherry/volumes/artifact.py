"""A volume as an artifact at a registry: a manifest without a configuration, and one layer, the archive of the files.

It is what the OCI image specification 1.1 has for everything that is no image (manifest.md, "Guidelines for Artifact
Usage"): programs that know nothing of volumes move it as it is, and write the layer to a file of its title. The layer
has a type of its own, because it is none of an image's: names that mean deletions there are names like others here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.errors import InvalidInput
from wherry.layers.limits import Limits
from wherry.oci import media_types
from wherry.oci.manifest import EMPTY, Descriptor, Index, Manifest, parse_manifest_or_index
from wherry.volumes.archive import IMPORT_LIMITS

if TYPE_CHECKING:
    from wherry.oci.digest import Digest

__all__ = ["ARTIFACT_TYPE", "CONTENT_TYPE", "Packed", "describe", "packed_of"]

ARTIFACT_TYPE: Final = "application/vnd.wherry.volume.v1"
CONTENT_TYPE: Final = "application/vnd.wherry.volume.content.v1.tar+gzip"
_PLAIN: Final = CONTENT_TYPE.removesuffix("+gzip")
_CONTENT_TYPES: Final = frozenset({_PLAIN, CONTENT_TYPE, f"{_PLAIN}+zstd"})

_CREATED: Final = "org.opencontainers.image.created"
_TITLE: Final = "org.opencontainers.image.title"
_VOLUME: Final = "org.wherry.volume.name"
_SNAPSHOT: Final = "org.wherry.volume.snapshot"
_SIZE: Final = "org.wherry.volume.size"  # of the archive, uncompressed
_NUMBER: Final = re.compile("[0-9]{1,15}", re.ASCII)
_SHOWN: Final = 80  # characters of what a registry says


class Packed(NamedTuple):
    """A volume's archive at a registry.

    :ivar size: what it says it becomes when it is unpacked, in bytes; None: it does not say.
    """

    blob: Descriptor
    size: int | None

    @property
    def limits(self) -> Limits:
        """What it may become: what it says, however little that takes up compressed; else what any archive may."""
        if self.size is None:
            return IMPORT_LIMITS
        # There has to be room for what it says, so a bomb cannot say much; and files of zeros are packed 1032 to 1.
        return Limits(max_bytes=self.size, max_ratio=1 << 20, max_entries=IMPORT_LIMITS.max_entries)


def describe(volume: str, snapshot: str, created: str, packed: tuple[Digest, int, int]) -> Manifest:
    """The manifest of a volume, or of a snapshot. Options of the volume's driver are this machine's affair.

    :param created: RFC 3339: when the files were as they are.
    :param packed: the archive: digest, size, size uncompressed.
    """
    digest, size, unpacked = packed
    name = f"{volume}-{snapshot}" if snapshot else volume
    layer = Descriptor(CONTENT_TYPE, digest, size, annotations={_TITLE: f"{name}.tar.gz", _SIZE: str(unpacked)})
    about = {_CREATED: created, _VOLUME: volume}
    if snapshot:
        about[_SNAPSHOT] = snapshot
    return Manifest(
        config=EMPTY, layers=[layer], schema_version=2, media_type=media_types.OCI_MANIFEST,
        artifact_type=ARTIFACT_TYPE, annotations=about,
    )  # fmt: skip


def packed_of(document: bytes, name: str) -> Packed:
    """The archive that a manifest has.

    :param name: of the manifest, for errors.
    :raises InvalidInput: it is no volume's.
    """
    manifest = parse_manifest_or_index(document)
    if isinstance(manifest, Index):
        raise InvalidInput(f"{name} is an index, not a volume")
    if manifest.config.media_type in media_types.CONFIGS:
        raise InvalidInput(f"{name} is an image, not a volume")
    kind = manifest.artifact_type or manifest.config.media_type
    if kind != ARTIFACT_TYPE:
        raise InvalidInput(f"{name} is an artifact of the type {kind[:_SHOWN]!r}, not a volume")
    if len(manifest.layers) != 1:
        raise InvalidInput(f"{name} is not a volume that can be read: it has {len(manifest.layers)} layers")
    [blob] = manifest.layers
    if blob.media_type not in _CONTENT_TYPES:
        raise InvalidInput(f"{name} is not a volume that can be read: it has {blob.media_type[:_SHOWN]!r}")
    size = (blob.annotations or {}).get(_SIZE)
    if size is not None and not _NUMBER.fullmatch(size):
        raise InvalidInput(f"{name} is not a volume that can be read: {size[:_SHOWN]!r} is no size")
    return Packed(blob, int(size) if size is not None else None)
