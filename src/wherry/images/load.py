"""Find the images in an archive: Docker's format or the OCI layout, recognised by content.

A Docker archive has ``manifest.json``: for each image a configuration, names, and layers, all by their paths. An OCI
archive has ``index.json`` and blobs by digest (image-layout.md). Docker writes both into one file since version 25;
the OCI's half is then the one that is read, as it keeps manifests, with the names from either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from wherry.content.store import Staged
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, NotFound, TooLarge, Unsupported
from wherry.images.archive import ImageArchive
from wherry.layers.compression import detect
from wherry.oci import media_types
from wherry.oci.codec import decode, encode
from wherry.oci.digest import Digest
from wherry.oci.image_config import ImageConfig, parse_config
from wherry.oci.manifest import Descriptor, Index, Manifest, parse_manifest_or_index
from wherry.oci.platform import Platform

__all__ = ["Candidate", "candidates", "check_document"]

# An index of indexes is allowed, and used; nobody needs more floors than this.
_MAX_DEPTH: Final = 4
_MAX_MANIFESTS: Final = 20_000
_MAX_LAYERS: Final = 1000

_NAME_NOTES: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(slots=True)
class Candidate:
    """An image found in an archive, its parts still put aside.

    :param manifest: the manifest's bytes.
    :param layers: bottom first.
    :param indexes: those by which it came, by the names under which it did.
    :param others: what else belongs to these: indexes, what is for other platforms, statements.
    """

    manifest: bytes
    config: bytes
    document: ImageConfig
    layers: list[Staged]
    names: list[Reference] = field(default_factory=list)
    indexes: dict[Reference, Digest] = field(default_factory=dict)
    others: list[Staged] = field(default_factory=list)


class _DockerImage(msgspec.Struct, rename="pascal"):
    """One entry of ``manifest.json``."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str] | None = None


def candidates(archive: ImageArchive, platforms: Sequence[str]) -> list[Candidate]:
    """The images of an archive, all checked for being complete.

    :param platforms: which ones to take, ``linux/arm64``; when empty, that which suits this machine best, or the first,
        and the rest is kept with it.
    :raises InvalidInput: it holds no images, or parts of them are missing.
    :raises CorruptData: a part is not what its digest says.
    :raises NotFound: it has nothing for the platform.
    """
    wanted = [Platform.parse(text) for text in platforms]
    listed = _listed(archive)
    if "index.json" in archive:
        found = list(_from_layout(archive, wanted))
        _add_names(archive, found, listed)
    elif listed is not None:
        found = [_from_docker(archive, image) for image in listed]
    else:
        raise InvalidInput(
            "the archive holds no images: it has neither manifest.json nor index.json",
            hint="a root file system is imported, not loaded",
        )
    return _on_platform(found, wanted)


def _listed(archive: ImageArchive) -> list[_DockerImage] | None:
    if "manifest.json" not in archive:
        return None
    return decode(archive.document("manifest.json", "file"), list[_DockerImage], "manifest.json")


def _on_platform(found: list[Candidate], wanted: list[Platform]) -> list[Candidate]:
    if not wanted:
        return found
    chosen = [one for one in found if any(platform.best_of([_platform(one)]) == 0 for platform in wanted)]
    if not chosen:
        there = ", ".join(sorted({str(_platform(one)) for one in found}))
        raise NotFound(f"the archive has no image for {', '.join(map(str, wanted))}", hint=f"it has: {there}")
    return chosen


def _platform(candidate: Candidate) -> Platform:
    document = candidate.document
    return Platform(document.os or "linux", document.architecture, document.variant)


# --- Docker's format --------------------------------------------------------------------------------------------------


def _from_docker(archive: ImageArchive, image: _DockerImage) -> Candidate:
    config = archive.document(image.config, "image configuration")
    document = parse_config(config)
    layers = [archive.member(path, "layer") for path in image.layers or []]
    check_document(document, len(layers))
    descriptors = [Descriptor(_media_type(layer), layer.digest, layer.size) for layer in layers]
    head = Descriptor(media_types.OCI_CONFIG, Digest.from_bytes(config), len(config))
    manifest = Manifest(head, descriptors, schema_version=2, media_type=media_types.OCI_MANIFEST)
    return Candidate(encode(manifest), config, document, layers, _references(image.repo_tags or []))


def _media_type(layer: Staged) -> str:
    with layer.open() as file:
        return media_types.layer_type(detect(file.read(6)))


def check_document(document: ImageConfig, layers: int) -> None:
    """See that a configuration is one for this kernel, with so many layers.

    :raises Unsupported: it is for another operating system.
    :raises InvalidInput: the layers are too few, or too many.
    """
    if document.os not in ("", "linux"):
        raise Unsupported(f"cannot load {document.os[:64]} image on linux")  # dockerd's words
    expected = len(document.rootfs.diff_ids)
    if expected != layers:
        raise InvalidInput(f"invalid manifest, layers length mismatch: expected {expected}, got {layers}")
    if layers > _MAX_LAYERS:
        raise TooLarge(f"the image has {layers} layers, where {_MAX_LAYERS} are allowed")


def _references(names: Sequence[str]) -> list[Reference]:
    return [Reference.parse(name).with_default_tag() for name in names]


def _add_names(archive: ImageArchive, found: list[Candidate], listed: list[_DockerImage] | None) -> None:
    """Names that only ``manifest.json`` knows."""
    for image in listed or []:
        config = archive.find(image.config)
        for candidate in found:
            if config is not None and config.digest == Digest.from_bytes(candidate.config):
                candidate.names += [name for name in _references(image.repo_tags or []) if name not in candidate.names]


# --- the OCI's format -------------------------------------------------------------------------------------------------


def _from_layout(archive: ImageArchive, wanted: list[Platform]) -> Iterator[Candidate]:
    index = decode(archive.document("index.json", "file"), Index, "index.json")
    candidates_by_config: dict[Digest, Candidate] = {}
    for names, roots in _grouped(index.manifests):
        leaves = _leaves(archive, roots)
        for descriptor, manifest in _selected(leaves, wanted) if wanted else [_suitable(archive, leaves)]:
            candidate = candidates_by_config.get(manifest.config.digest)
            if candidate is None:
                candidate = _from_manifest(archive, descriptor, manifest)
                candidates_by_config[manifest.config.digest] = candidate
            if len(roots) == 1:
                _keep_index(archive, candidate, roots[0], names, everything=not wanted)
            candidate.names += [name for name in names if name not in candidate.names]
    yield from candidates_by_config.values()


def _keep_index(
    archive: ImageArchive, candidate: Candidate, top: Descriptor, names: Sequence[Reference], *, everything: bool
) -> None:
    """Note the index by which an image came, and, if the archive has more than this of it, what else it lists."""
    from wherry.images import indexes  # noqa: PLC0415 - only when needed

    def find(blob: Descriptor) -> Staged | None:
        found = archive.find(_path(blob))
        return found if found is not None and (found.digest, found.size) == (blob.digest, blob.size) else None

    def document(blob: Descriptor) -> bytes | None:
        found = find(blob)
        return None if found is None else found.read()

    tree = indexes.read(top, document, lambda blob: find(blob) is not None)
    if tree is not None:
        kept = tree.present if everything and (tree.is_whole or tree.is_for_several) else tree.indexes
        candidate.indexes |= dict.fromkeys(names, tree.top.digest)
        candidate.others += [staged for blob in kept if (staged := find(blob)) is not None]


def _grouped(descriptors: Sequence[Descriptor]) -> list[tuple[list[Reference], list[Descriptor]]]:
    """Entries of the same name, or without one but for different platforms, are one image for several platforms."""
    groups: dict[str, list[Descriptor]] = {}
    for descriptor in descriptors:
        groups.setdefault(_noted_name(descriptor), []).append(descriptor)
    grouped = []
    for name, members in groups.items():
        names = _references([name]) if name else []
        platforms = {str(one.platform.value()) for one in members if one.platform}
        if len(platforms) == len(members):
            grouped.append((names, members))
        else:
            grouped += [(names, [member]) for member in members]
    return grouped


def _noted_name(descriptor: Descriptor) -> str:
    """The image's name, where the annotations say one; a mere tag, as the specification allows it, names no image."""
    notes = descriptor.annotations or {}
    for key in _NAME_NOTES:
        if "/" in notes.get(key, "") or ":" in notes.get(key, ""):
            return notes[key]
    return ""


def _leaves(archive: ImageArchive, roots: Sequence[Descriptor]) -> list[tuple[Descriptor, Manifest | None]]:
    """All image manifests below some descriptors, with None where one for some platform is missing."""
    from wherry.images.indexes import is_statement  # noqa: PLC0415 - only when needed

    found: list[tuple[Descriptor, Manifest | None]] = []
    seen: set[Digest] = set()
    pending = [(root, 0) for root in reversed(roots)]
    while pending:
        descriptor, depth = pending.pop()
        if descriptor.digest in seen or is_statement(descriptor):
            continue
        seen.add(descriptor.digest)
        if depth > _MAX_DEPTH or len(seen) > _MAX_MANIFESTS:
            raise TooLarge("the archive's indexes are nested too deeply, or too many")
        if depth and _path(descriptor) not in archive:
            found.append((descriptor, None))
            continue
        parsed = parse_manifest_or_index(archive.blob(descriptor.digest, "manifest", descriptor.size).read())
        if isinstance(parsed, Index):
            pending += [(child, depth + 1) for child in reversed(parsed.manifests)]
        else:
            found.append((descriptor, parsed))
    return found


def _suitable(archive: ImageArchive, leaves: list[tuple[Descriptor, Manifest | None]]) -> tuple[Descriptor, Manifest]:
    """Of an image's manifests the one that suits this machine best, among those that the archive has all of.

    One for other platforms only is taken as well, as by dockerd: its first.
    """
    if not leaves:
        raise NotFound(f"no match for platform in manifest: {Platform.host()}", hint="no manifest is listed")
    here = [(one, manifest) for one, manifest in leaves if manifest is not None]
    if not here:
        raise InvalidInput(f"the archive lacks the manifest {leaves[0][0].digest}")
    whole = [leaf for leaf in here if all(_path(one) in archive for one in [leaf[1].config, *leaf[1].layers])] or here
    return whole[Platform.host().best_of(_platform_of(one) for one, _ in whole) or 0]


def _selected(
    leaves: list[tuple[Descriptor, Manifest | None]], wanted: list[Platform]
) -> list[tuple[Descriptor, Manifest]]:
    """Those of an image's manifests that are for the platforms asked for."""
    if len(leaves) == 1 and leaves[0][1] is not None:
        return [(leaves[0][0], leaves[0][1])]
    offered = [_platform_of(one) for one, _ in leaves]
    chosen = []
    for platform in wanted:
        position = platform.best_of(offered)
        if position is None:
            there = ", ".join(sorted(str(one) for one in offered if one.architecture)) or "none that is named"
            raise NotFound(f"no match for platform in manifest: {platform}", hint=f"there are: {there}")
        descriptor, manifest = leaves[position]
        if manifest is None:
            raise InvalidInput(f"the archive lacks the manifest {descriptor.digest}")
        chosen.append((descriptor, manifest))
    return chosen


def _platform_of(descriptor: Descriptor) -> Platform:
    return descriptor.platform.value() if descriptor.platform else Platform("", "")


def _path(blob: Descriptor) -> str:
    return f"blobs/{blob.digest.algorithm}/{blob.digest.hex}"


def _from_manifest(archive: ImageArchive, descriptor: Descriptor, manifest: Manifest) -> Candidate:
    if manifest.config.media_type not in media_types.CONFIGS:
        raise Unsupported(f"{descriptor.digest} is no container image, but a {manifest.config.media_type!r}")
    for layer in manifest.layers:
        if not media_types.is_layer(layer.media_type):
            raise Unsupported(f"the layer {layer.digest} is of the unsupported type {layer.media_type!r}")
    config = archive.blob(manifest.config.digest, "image configuration", manifest.config.size).read()
    document = parse_config(config)
    layers = [archive.blob(layer.digest, "layer", layer.size) for layer in manifest.layers]
    check_document(document, len(layers))
    return Candidate(archive.blob(descriptor.digest, "manifest").read(), config, document, layers)
