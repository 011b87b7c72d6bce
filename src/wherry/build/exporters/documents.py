"""The documents of images: manifests, indexes, and manifests of attestations. No I/O; the same values, the same bytes.

An attestation is a manifest beside the image's in an index, as BuildKit has it: its layers are in-toto statements, its
platform is ``unknown/unknown``, and annotations say which image it is about.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from wherry.build.exporters.image_config import canonical
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, DescriptorPlatform, Index, Manifest
from wherry.oci.platform import Platform

__all__ = ["IN_TOTO", "Document", "answer_of", "attestation", "config_document", "index", "manifest", "platform_json"]

#: What statements are, as layers of an attestation.
IN_TOTO: Final = "application/vnd.in-toto+json"
_ARTIFACT: Final = "application/vnd.docker.attestation.manifest.v1+json"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_UNKNOWN: Final = DescriptorPlatform("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Document:
    """A document with the descriptor that names it."""

    descriptor: Descriptor
    data: bytes

    @classmethod
    def of(cls, media_type: str, data: bytes) -> Document:
        """Compute the descriptor."""
        return cls(Descriptor(media_type, Digest.from_bytes(data), len(data)), data)

    def listed(
        self, *, annotations: Mapping[str, str] | None = None, platform: DescriptorPlatform | None = None
    ) -> Document:
        """The same, with what an index says about it."""
        found = msgspec.structs.replace(self.descriptor, annotations=_sorted(annotations), platform=platform)
        return Document(found, self.data)


def _sorted(annotations: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(sorted(annotations.items())) if annotations else None


def platform_json(platform: Platform) -> DescriptorPlatform:
    """A platform as an index spells it."""
    return DescriptorPlatform(platform.architecture, platform.os, platform.variant)


def config_document(data: bytes, *, oci: bool) -> Document:
    """An image's configuration."""
    return Document.of(media_types.OCI_CONFIG if oci else media_types.DOCKER_CONFIG, data)


def manifest(
    config: Document, layers: Sequence[Descriptor], annotations: Mapping[str, str] | None = None, *, oci: bool
) -> Document:
    """An image's manifest.

    :param layers: bottom first.
    """
    kind = media_types.OCI_MANIFEST if oci else media_types.DOCKER_MANIFEST
    found = Manifest(
        config.descriptor, list(layers), schema_version=2, media_type=kind, annotations=_sorted(annotations)
    )
    return Document.of(kind, encode(found))


def index(
    manifests: Sequence[Descriptor], annotations: Mapping[str, str] | None = None, *, oci: bool = True
) -> Document:
    """An index of manifests."""
    kind = media_types.OCI_INDEX if oci else media_types.DOCKER_INDEX
    return Document.of(
        kind, encode(Index(list(manifests), schema_version=2, media_type=kind, annotations=_sorted(annotations)))
    )


def attestation(
    about: Descriptor, statements: Sequence[tuple[str, bytes]], *, artifact: bool = False
) -> tuple[Document, list[Document]]:
    """The manifest of the statements about an image's manifest, and the blobs that it lists.

    :param statements: the type of each one's predicate, and its JSON.
    :param artifact: whether it has the form of the OCI's artifacts, and says by itself what it is about.
    """
    blobs = [
        Document.of(IN_TOTO, data).listed(annotations={"in-toto.io/predicate-type": kind}) for kind, data in statements
    ]
    config = _empty_config() if artifact else _config_of([blob.descriptor.digest for blob in blobs])
    subject = Descriptor(about.media_type, about.digest, about.size)
    found = Manifest(
        config.descriptor,
        [blob.descriptor for blob in blobs],
        schema_version=2,
        media_type=media_types.OCI_MANIFEST,
        artifact_type=_ARTIFACT if artifact else None,
        subject=subject if artifact else None,
    )
    notes = {
        "vnd.docker.reference.digest": str.__str__(about.digest),
        "vnd.docker.reference.type": "attestation-manifest",
    }
    document = Document.of(media_types.OCI_MANIFEST, encode(found)).listed(annotations=notes, platform=_UNKNOWN)
    return document, [config, *blobs]


def _config_of(blobs: Sequence[Digest]) -> Document:
    """For readers that expect each manifest to have an image's configuration."""
    value = {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": blobs}}
    return Document.of(media_types.OCI_CONFIG, canonical(value))


def _empty_config() -> Document:
    found = Document.of(_EMPTY_TYPE, b"{}")
    inline = base64.b64encode(found.data).decode()
    return Document(msgspec.structs.replace(found.descriptor, data=inline), found.data)


def answer_of(top: Descriptor, config: Digest | None) -> dict[str, str]:
    """What the client is told about an image.

    :param config: the digest of its configuration, by which the engine knows it.
    """
    shown: dict[str, Any] = msgspec.json.decode(encode(top))
    found = {
        "containerimage.digest": str.__str__(top.digest),
        "containerimage.descriptor": base64.b64encode(canonical(shown)).decode(),
    }
    return found | ({"containerimage.config.digest": str.__str__(config)} if config else {})
