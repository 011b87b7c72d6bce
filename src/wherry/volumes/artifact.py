"""A volume as an artifact at a registry (:mod:`wherry.layers.artifact`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.layers.artifact import ArtifactKind, Packed
from wherry.volumes.archive import IMPORT_LIMITS

if TYPE_CHECKING:
    from wherry.oci.digest import Digest
    from wherry.oci.manifest import Manifest

__all__ = ["ARTIFACT_TYPE", "CONTENT_TYPE", "describe", "packed_of"]

_KIND: Final = ArtifactKind("volume", IMPORT_LIMITS)
ARTIFACT_TYPE: Final = _KIND.artifact_type
CONTENT_TYPE: Final = _KIND.content_type
_VOLUME: Final = "org.wherry.volume.name"
_SNAPSHOT: Final = "org.wherry.volume.snapshot"


def describe(volume: str, snapshot: str, created: str, packed: tuple[Digest, int, int]) -> Manifest:
    """The manifest of a volume, or of a snapshot. Options of the volume's driver are this machine's affair.

    :param created: RFC 3339: when the files were as they are.
    :param packed: the archive: digest, size, size uncompressed.
    """
    about = {_VOLUME: volume, **({_SNAPSHOT: snapshot} if snapshot else {})}
    return _KIND.describe(f"{volume}-{snapshot}" if snapshot else volume, created, about, packed)


def packed_of(document: bytes, name: str) -> Packed:
    """The archive that a manifest has.

    :param name: of the manifest, for errors.
    :raises InvalidInput: it is no volume's.
    """
    return _KIND.packed_of(document, name)
