"""The options of an export, as BuildKit calls them, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from wherry.docker.reference import Reference
from wherry.errors import InvalidInput
from wherry.images.checks import writable_name
from wherry.layers.compression import Compression
from wherry.oci.platform import Platform

__all__ = ["Annotations", "CompressionOptions", "ImageOptions", "LayerPolicy", "boolean", "epoch_of", "image_options"]

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True", ""})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_ANNOTATION: Final = re.compile(r"annotation(?:-([a-z-]{1,32}))?(?:\[([A-Za-z0-9_/.-]{1,256})\])?\.(\S{1,4096})")
_EPOCH: Final = re.compile(r"[0-9]{1,11}")
_SECOND: Final = 1_000_000_000
_MAX_NAMES: Final = 1000
_LEVELS: Final = {Compression.GZIP: range(-1, 10)}  # zstd: the nearest one that there is, as with BuildKit
_COMPRESSIONS: Final = {
    "uncompressed": Compression.PLAIN, "gzip": Compression.GZIP, "zstd": Compression.ZSTD,
}  # fmt: skip


class LayerPolicy(StrEnum):
    """Which layers an image gets: each step's own, one for all that the build added to its base, or a single one."""

    ALL = "all"
    STAGE = "stage"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class CompressionOptions:
    """How layers are compressed.

    :param kind: of layers that are not compressed yet; None: they stay as they are.
    :param level: None: the usual one.
    :param force: compress those as well that came in another form.
    """

    kind: Compression | None = None
    level: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Annotations:
    """Annotations of an image's documents.

    :param manifest: by platform; under an empty key those of all.
    """

    index: Mapping[str, str] = field(default_factory=dict)
    index_descriptor: Mapping[str, str] = field(default_factory=dict)
    manifest: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    manifest_descriptor: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of_manifest(self, platform: str) -> dict[str, str]:
        """Those of one platform's manifest."""
        return {**self.manifest.get("", {}), **(self.manifest.get(platform, {}) if platform else {})}

    def of_descriptor(self, platform: str) -> dict[str, str]:
        """Those of the descriptor of one platform's manifest."""
        found = self.manifest_descriptor
        return {**found.get("", {}), **(found.get(platform, {}) if platform else {})}

    @property
    def platforms(self) -> set[str]:
        """The platforms that have annotations of their own."""
        return {*self.manifest, *self.manifest_descriptor} - {""}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """What an image shall look like, and what is done with it.

    :param names: what it is called.
    :param epoch: nanoseconds; what is newer is said to be as old as this. None: times stay as they are.
    :param rewrite_timestamp: the same for files in new layers.
    """

    names: tuple[Reference, ...] = ()
    compression: CompressionOptions = CompressionOptions()
    oci_types: bool = True
    oci_artifact: bool = False
    epoch: int | None = None
    rewrite_timestamp: bool = False
    layers: LayerPolicy = LayerPolicy.ALL
    annotations: Annotations = field(default_factory=Annotations)
    push: bool = False
    push_by_digest: bool = False
    insecure: bool = False
    store: bool = True
    name_canonical: bool = False
    tar: bool = True
    inline_attestations: bool = True


def boolean(attributes: Mapping[str, str], name: str, default: bool) -> bool:
    """An option that is on or off; one that is there without a value is on.

    :raises InvalidInput: it is neither.
    """
    value = attributes.get(name)
    if value is None:
        return default
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise InvalidInput(f"non-bool value specified for {name}", cause=f"{value[:100]!r}")


def epoch_of(attributes: Mapping[str, str], metadata: Mapping[str, bytes], key: str = "") -> int | None:
    """SOURCE_DATE_EPOCH in nanoseconds: the exporter's option, or what the frontend says, for one ref or for all.

    :raises InvalidInput: it is no number of seconds.
    """
    if "source-date-epoch" in attributes:
        return _seconds(attributes["source-date-epoch"], "source-date-epoch")
    for name in (f"source.date.epoch/{key}", "source.date.epoch"):
        if name in metadata:
            return _seconds(metadata[name].decode(errors="replace"), "SOURCE_DATE_EPOCH")
    return None


def _seconds(text: str, name: str) -> int | None:
    if not text:
        return None
    if not _EPOCH.fullmatch(text):
        raise InvalidInput(f"invalid {name}: {text[:100]!r} is no number of seconds")
    return int(text) * _SECOND


def image_options(
    attributes: Mapping[str, str], metadata: Mapping[str, bytes], *, compression: Compression | None = None
) -> ImageOptions:
    """Read the options of an export whose result is an image.

    :param metadata: of the frontend's result.
    :param compression: of layers that are not compressed yet, where no option says it.
    :raises InvalidInput: one makes no sense, or two contradict each other.
    """
    push, by_digest = boolean(attributes, "push", False), boolean(attributes, "push-by-digest", False)
    found = ImageOptions(
        names=_names(attributes.get("name", ""), metadata, by_digest=push and by_digest),
        compression=_compression(attributes, Compression.GZIP if push and compression is None else compression),
        oci_types=boolean(attributes, "oci-mediatypes", True),
        oci_artifact=boolean(attributes, "oci-artifact", False),
        epoch=epoch_of(attributes, metadata),
        rewrite_timestamp=boolean(attributes, "rewrite-timestamp", False),
        layers=_policy(attributes.get("layers", "")),
        annotations=_annotations(attributes, metadata),
        push=push,
        push_by_digest=push and by_digest,
        insecure=boolean(attributes, "registry.insecure", False),
        store=boolean(attributes, "store", True),
        name_canonical=boolean(attributes, "name-canonical", False),
        tar=boolean(attributes, "tar", True),
        inline_attestations=boolean(attributes, "attestation-inline", True),
    )
    boolean(attributes, "unpack", True)  # ours always are
    _check(found)
    return found


def _check(options: ImageOptions) -> None:
    if options.oci_types:
        return
    if options.compression.kind is Compression.ZSTD:
        raise InvalidInput('exporter option "compression=zstd" conflicts with "oci-mediatypes=false"')
    if options.oci_artifact:
        raise InvalidInput('exporter option "oci-artifact=true" conflicts with "oci-mediatypes=false"')
    annotations = options.annotations
    if annotations.index or annotations.index_descriptor or annotations.manifest_descriptor:
        raise InvalidInput('cannot export annotations with "oci-mediatypes=false"')


def _names(text: str, metadata: Mapping[str, bytes], *, by_digest: bool) -> tuple[Reference, ...]:
    if text == "*":
        text = metadata.get("image.name", b"").decode(errors="replace")
    names = [name for name in text.split(",") if name]
    if len(names) > _MAX_NAMES:
        raise InvalidInput(f"an image cannot have more than {_MAX_NAMES} names at once")
    if not by_digest:
        return tuple(dict.fromkeys(map(writable_name, names)))
    found = [Reference.parse(name) for name in names]
    for name in found:
        if name.tag:
            raise InvalidInput(f"can't push tagged ref {name.familiar} by digest")
    return tuple(dict.fromkeys(Reference(name.domain, name.path) for name in found))


def _compression(attributes: Mapping[str, str], default: Compression | None) -> CompressionOptions:
    text = attributes.get("compression", "")
    if text == "estargz":
        raise InvalidInput("compression type estargz is not supported", hint="use gzip or zstd")
    if text and text not in _COMPRESSIONS:
        raise InvalidInput(f"unsupported compression type {text[:100]}")
    kind = _COMPRESSIONS[text] if text else default
    force = boolean(attributes, "force-compression", False)
    level = attributes.get("compression-level", "")
    if not level:
        return CompressionOptions(kind, None, force)
    if not re.fullmatch(r"-?[0-9]{1,3}", level):
        raise InvalidInput(f"non-integer value {level[:100]} specified for compression-level")
    allowed = _LEVELS.get(kind) if kind else None
    if allowed is not None and int(level) not in allowed:
        raise InvalidInput(f"compression-level {level} is not between {allowed[0]} and {allowed[-1]}")
    return CompressionOptions(kind, int(level), force)


def _policy(text: str) -> LayerPolicy:
    try:
        return LayerPolicy(text or LayerPolicy.ALL)
    except ValueError:
        raise InvalidInput(f"invalid value {text[:100]!r} for layers", hint="use all, stage or none") from None


def _annotations(attributes: Mapping[str, str], metadata: Mapping[str, bytes]) -> Annotations:
    """Those of the export's options, and the frontend's over them."""
    texts = dict(attributes)
    texts |= {name: value.decode(errors="replace") for name, value in metadata.items() if name.startswith("annotation")}
    index: dict[str, str] = {}
    index_descriptor: dict[str, str] = {}
    manifest: dict[str, dict[str, str]] = {}
    manifest_descriptor: dict[str, dict[str, str]] = {}
    for name, value in sorted(texts.items()):
        match = _ANNOTATION.fullmatch(name)
        if match is None:
            continue
        kind, platform, key = match[1] or "manifest", match[2] or "", match[3]
        platform = str(Platform.parse(platform)) if platform else ""
        if kind == "manifest":
            manifest.setdefault(platform, {})[key] = value
        elif kind == "manifest-descriptor":
            manifest_descriptor.setdefault(platform, {})[key] = value
        elif kind in ("index", "index-descriptor"):
            (index if kind == "index" else index_descriptor)[key] = value
        else:
            raise InvalidInput(f"unrecognized annotation type {kind}")
    return Annotations(index, index_descriptor, manifest, manifest_descriptor)
