"""Descriptors, manifests and indexes (OCI image specification, descriptor.md, manifest.md, image-index.md)."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from wherry.errors import InvalidInput
from wherry.oci import media_types
from wherry.oci.codec import decode
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = [
    "EMPTY",
    "EMPTY_DATA",
    "Descriptor",
    "DescriptorPlatform",
    "Index",
    "Manifest",
    "Size",
    "parse_manifest_or_index",
]


class DescriptorPlatform(msgspec.Struct, frozen=True, omit_defaults=True):
    """The platform as an index spells it."""

    architecture: str
    os: str
    variant: str = ""
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: list[str] | None = msgspec.field(name="os.features", default=None)

    def value(self) -> Platform:
        """The same as a :class:`Platform`."""
        return Platform(self.os, self.architecture, self.variant)


Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Bytes; descriptor.md: "int64", and nothing has less than none."""


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A reference to a blob: media type, digest, size."""

    media_type: str
    digest: Digest
    size: Size
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    data: str | None = None
    artifact_type: str | None = None
    platform: DescriptorPlatform | None = None


EMPTY_DATA: Final = b"{}"
EMPTY: Final = Descriptor(media_types.OCI_EMPTY, Digest.from_bytes(EMPTY_DATA), len(EMPTY_DATA), data="e30=")
"""The configuration of what needs none (manifest.md, "Guidance for an Empty Descriptor")."""


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One image for one platform: its configuration and its layers, bottom first."""

    config: Descriptor
    layers: list[Descriptor]
    schema_version: Size = msgspec.field(default=0)
    media_type: str = ""
    artifact_type: str | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A list of manifests, or of further indexes."""

    manifests: list[Descriptor]
    schema_version: Size = msgspec.field(default=0)
    media_type: str = ""
    artifact_type: str | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


_ABSENT = msgspec.Raw(b"null")


class _Shape(msgspec.Struct, rename="camel"):
    schema_version: Size = 0
    media_type: str = ""
    manifests: msgspec.Raw = _ABSENT
    layers: msgspec.Raw = _ABSENT
    config: msgspec.Raw = _ABSENT


def parse_manifest_or_index(data: bytes) -> Manifest | Index:
    """Parse a manifest or an index, by its members; its media type is optional in OCI documents.

    A document that could be read as both is refused, since different readers would see different images (OCI image
    specification, manifest.md, on CVE-2021-41190).

    :raises InvalidInput: it is neither, or both.
    """
    shape = decode(data, _Shape, "image manifest")
    if shape.schema_version not in (0, 2):  # some writers leave it out, and readers pass over that
        raise InvalidInput(
            f"unsupported manifest schema version {shape.schema_version}", hint="only version 2 is supported"
        )
    is_index = bytes(shape.manifests) != b"null"
    is_manifest = bytes(shape.layers) != b"null" or bytes(shape.config) != b"null"
    if is_index and is_manifest:
        raise InvalidInput("invalid image manifest", cause="it is a manifest and an index at once")
    expected = media_types.INDEXES if is_index else media_types.MANIFESTS
    if shape.media_type and shape.media_type not in expected:
        raise InvalidInput(f"unsupported manifest media type {shape.media_type!r}")
    return decode(data, Index, "image index") if is_index else decode(data, Manifest, "image manifest")
