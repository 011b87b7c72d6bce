"""An index with all that it lists: manifests for several platforms, statements about them, further indexes.

Of an image for several platforms one is unpacked, but its index is kept as it came, and what it lists as far as it is
here. Whether that is all of it decides how the image goes on: as the same index, or as the one manifest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from wherry.content.store import ContentStore
from wherry.errors import CorruptData, InvalidInput, NotFound, TooLarge
from wherry.images.image import Image
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, Index, Manifest, parse_manifest_or_index
from wherry.oci.media_types import OCI_INDEX, OCI_MANIFEST
from wherry.oci.platform import Platform

__all__ = ["Part", "Tree", "described", "descriptor_json", "is_statement", "read", "stored", "subject", "summaries"]

# An index of indexes is allowed, and used; nobody needs more floors than this.
_MAX_DEPTH: Final = 4
_MAX_DOCUMENTS: Final = 20_000

Json = dict[str, Any]
#: Gives a document's bytes; None where it is not to be had.
Read = Callable[[Descriptor], bytes | None]
Holds = Callable[[Descriptor], bool]


@dataclass(frozen=True, slots=True)
class Part:
    """One manifest that an index lists.

    :param manifest: None when it is not here.
    :param is_here: whether it is here with all its blobs.
    """

    descriptor: Descriptor
    manifest: Manifest | None
    is_here: bool

    @property
    def blobs(self) -> list[Descriptor]:
        """Its configuration and its layers."""
        return [self.manifest.config, *self.manifest.layers] if self.manifest else []

    @property
    def platform(self) -> Platform | None:
        """What it runs on; None for what does not run."""
        found = self.descriptor.platform
        return None if found is None or is_statement(self.descriptor) else found.value().normalised()


@dataclass(frozen=True, slots=True)
class Tree:
    """An index with everything below it.

    :param indexes: the index itself first, and each one before those that it lists.
    """

    indexes: tuple[Descriptor, ...]
    parts: tuple[Part, ...]

    @property
    def top(self) -> Descriptor:
        """The index itself."""
        return self.indexes[0]

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return all(part.is_here for part in self.parts)

    @property
    def is_for_several(self) -> bool:
        """Whether it is here for more than one platform."""
        return sum(part.is_here and part.platform is not None for part in self.parts) > 1

    @property
    def present(self) -> list[Descriptor]:
        """Its blobs as far as they are here, each one once; of a manifest all or none."""
        parts = [part for part in self.parts if part.is_here]
        everything = [*(one for part in parts for one in [*part.blobs, part.descriptor]), *reversed(self.indexes)]
        return list({one.digest: one for one in everything}.values())

    @property
    def documents(self) -> list[Descriptor]:
        """Its manifests and indexes, each one after what it lists, the index itself last."""
        return [*(part.descriptor for part in self.parts), *reversed(self.indexes)]

    @property
    def blobs(self) -> list[Descriptor]:
        """All that belongs to it, each blob once."""
        everything = [*(blob for part in self.parts for blob in part.blobs), *self.documents]
        return list({one.digest: one for one in everything}.values())


def read(top: Descriptor, document: Read, holds: Holds) -> Tree | None:
    """Go down from an index to all that it lists; None where the descriptor is of no index that is here.

    :raises TooLarge: it is nested too deeply, or lists too much.
    """
    indexes: list[Descriptor] = []
    parts: list[Part] = []
    seen: set[Digest] = set()
    pending = [(top, 0)]
    while pending:
        descriptor, depth = pending.pop()
        if descriptor.digest in seen:
            continue
        seen.add(descriptor.digest)
        if depth > _MAX_DEPTH or len(seen) > _MAX_DOCUMENTS:
            raise TooLarge(f"the index {top.digest} is nested too deeply, or lists too much")
        parsed = _parsed(document(descriptor))
        if isinstance(parsed, Index):
            indexes.append(descriptor)
            pending += [(child, depth + 1) for child in reversed(parsed.manifests)]
        else:
            here = parsed is not None and all(map(holds, [parsed.config, *parsed.layers]))
            parts.append(Part(descriptor, parsed, here))
    return Tree(tuple(indexes), tuple(parts)) if indexes and indexes[0] == top else None


def stored(content: ContentStore, digest: Digest) -> Tree | None:
    """An index of the content store; None where there is none."""

    def document(descriptor: Descriptor) -> bytes | None:
        try:
            return content.read(descriptor.digest)
        except (NotFound, CorruptData):
            return None

    try:
        top = Descriptor("", digest, content.size(digest))
    except NotFound:
        return None
    kind = getattr(_parsed(document(top)), "media_type", "") or OCI_INDEX
    return read(Descriptor(kind, digest, top.size), document, lambda blob: content.holds(blob.digest, blob.size))


def is_statement(descriptor: Descriptor) -> bool:
    """Whether it is not an image, but a statement about one; BuildKit puts them beside each other."""
    return "vnd.docker.reference.type" in (descriptor.annotations or {})


def subject(descriptor: Descriptor) -> str:
    """The subject's digest of an attestation; empty for other manifests."""
    return (descriptor.annotations or {}).get("vnd.docker.reference.digest", "") if is_statement(descriptor) else ""


def described(content: ContentStore, image: Image, tree: Tree | None) -> Descriptor:
    """The descriptor of an image's name: its index where one is stored, or its manifest."""
    if tree is not None:
        return tree.top
    kind = image.manifest.media_type or OCI_MANIFEST
    return Descriptor(kind, image.manifest_digest, content.size(image.manifest_digest))


def summaries(image: Image, tree: Tree) -> list[Json]:
    """What an index lists, as ``Manifests`` of Docker's API has it (since 1.47)."""
    return [_summary(image, part) for part in tree.parts]


def _summary(image: Image, part: Part) -> Json:
    head = part.descriptor
    content = head.size + sum(blob.size for blob in part.blobs) if part.is_here else 0
    unpacked = image.size if head.digest == image.manifest_digest else 0
    shown: Json = {
        "ID": str(head.digest), "Descriptor": descriptor_json(head), "Available": part.is_here,
        "Size": {"Content": content, "Total": content + unpacked}, "Kind": "unknown",
    }  # fmt: skip
    if is_statement(head):
        return shown | {"Kind": "attestation", "AttestationData": {"For": subject(head)}}
    if head.platform is not None:
        platform = descriptor_json(head)["platform"]
        data = {"Platform": platform, "Containers": [], "Size": {"Unpacked": unpacked}}
        shown |= {"Kind": "image", "ImageData": data}
    return shown


def descriptor_json(descriptor: Descriptor) -> Json:
    """A descriptor as JSON has it."""
    shown: Json = {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}
    if descriptor.annotations:
        shown["annotations"] = descriptor.annotations
    if (platform := descriptor.platform) is not None:
        shown["platform"] = {"architecture": platform.architecture, "os": platform.os}
        if platform.variant:
            shown["platform"]["variant"] = platform.variant
    return shown


def _parsed(data: bytes | None) -> Manifest | Index | None:
    try:
        return None if data is None else parse_manifest_or_index(data)
    except InvalidInput:
        return None
