"""Media types of image parts: the OCI's and, meaning the same, Docker's older ones."""

from __future__ import annotations

from typing import Final

__all__ = [
    "CONFIGS",
    "INDEXES",
    "MANIFESTS",
    "OCI_CONFIG",
    "OCI_EMPTY",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_MANIFEST",
    "is_layer",
    "layer_type",
]

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"

MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

_LAYER_PREFIXES: Final = (
    OCI_LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_SUFFIXES: Final = {"plain": "", "gzip": "+gzip", "zstd": "+zstd"}


def is_layer(media_type: str) -> bool:
    """Whether `media_type` is a tar archive of file system changes that can be unpacked (encrypted ones can not)."""
    return media_type.startswith(_LAYER_PREFIXES) and "+encrypted" not in media_type


def layer_type(compression: str) -> str:
    """The OCI media type of a layer compressed by ``"gzip"`` or ``"zstd"``; other methods have no type of their own."""
    return OCI_LAYER + _SUFFIXES.get(compression, "")
