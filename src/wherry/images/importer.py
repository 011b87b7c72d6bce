"""Make images locally: from a root file system (import), from a container (commit), from the host."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from wherry.content.store import ContentStore, Staged
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput
from wherry.images import host_image
from wherry.images.catalog import RESERVED, Catalog
from wherry.images.checks import writable_name
from wherry.images.config_changes import apply_changes
from wherry.images.image import Image
from wherry.images.reference_counts import Lease, ReferenceCounts
from wherry.layers.source import Reader
from wherry.layers.store import LayerStore
from wherry.layers.tar.writer import END
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, Manifest
from wherry.oci.platform import Platform

__all__ = ["Commit", "Importer", "WriteLayer"]

Json = dict[str, Any]
#: Writes a layer's archive to the first function that it is given; asks the second whether there is room for as much.
WriteLayer = Callable[[Callable[[bytes], object], Callable[[int], object]], None]

_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Commit:
    """Parameters of a commit: the image to make of a container.

    :param config: its configuration's ``config`` member, changes included.
    :param container: the container's ID.
    :param created_by: the command that the container ran, for the history.
    :param name: what it shall be called; empty for no name.
    """

    config: Json
    container: str
    created_by: str = ""
    author: str = ""
    comment: str = ""
    name: str = ""


class Importer:
    """Makes images. Safe to use from several threads."""

    def __init__(
        self, catalog: Catalog, content: ContentStore, layers: LayerStore, references: ReferenceCounts
    ) -> None:
        self._catalog = catalog
        self._content = content
        self._layers = layers
        self._references = references

    def import_(self, stream: Reader, name: str, changes: Sequence[str], message: str, platform: str) -> Digest:
        """Make an image of a root file system's archive; see `ImageStore.import_`."""
        reference = writable_name(name) if name else None
        config: Json = {}
        apply_changes(config, changes)
        wanted = Platform.parse(platform) if platform else Platform.host()
        with self._references.lease() as lease, self._content.stage(hashed=False) as staged:
            document = _document(config, wanted, _now(), message or "Imported from -")
            layer = self._add_layer(_Copying(stream, staged), staged, None, lease)
            identifier = self._publish(document, [layer], lease, reference)
            self._catalog.write_index()
        return identifier

    def commit(self, base: Image, write: WriteLayer, commit: Commit) -> Digest:
        """Make an image from a container's changes; see `ImageStore.commit`."""
        if base.parts:
            raise InvalidInput(
                "a container of the built-in image is the machine itself in part and cannot be committed",
                hint="export it, and import the archive",
            )
        reference = writable_name(commit.name) if commit.name else None
        with self._references.lease() as lease, self._content.stage(hashed=False) as staged:
            lease.layer(*(layer.chain_id for layer in base.layers))
            lease.blob(*(layer.digest for layer in base.manifest.layers))
            write(staged.write, staged.need)
            layers = [*zip(base.document.rootfs.diff_ids, base.manifest.layers, strict=True)]
            is_empty = staged.size == len(END)  # a layer with nothing in it is none, as in Docker
            if not is_empty:
                parent = base.layers[-1].chain_id if base.layers else None
                with staged.open() as stream:
                    layers.append(self._add_layer(stream, staged, parent, lease))
            document = self._committed(base, commit, is_empty=is_empty)
            identifier = self._publish(document, layers, lease, reference)
            self._catalog.write_index()
        return identifier

    def host(self, root: Path) -> Digest:
        """See to it that the built-in image is there, and like the host is now; quick when nothing has changed."""
        data, parts = host_image.skeleton(root), host_image.parts(root)
        present = self._catalog.named(RESERVED)
        if present and present.manifest.layers[0].digest == Digest.from_bytes(data) and [*present.parts] == parts:
            return present.id
        with self._references.lease() as lease, self._content.stage(hashed=False) as staged:
            staged.write(data)
            with staged.open() as stream:
                layer = self._add_layer(stream, staged, None, lease)
            document = _document(dict(host_image.CONFIG), Platform.host(), "1970-01-01T00:00:00Z", "this machine")
            identifier = self._publish(document, [layer], lease, RESERVED, parts)
            if present:
                self._catalog.retire(present.id, lambda _: ["unknown"])  # containers may use it; `release` knows them
            self._catalog.write_index()
        return identifier

    def _committed(self, base: Image, commit: Commit, *, is_empty: bool) -> Json:
        """The configuration of an image made of a container; everything that is not about it is its base's."""
        document: Json = json.loads(self._content.read(base.id))
        created = _now()
        step = {"created": created, "created_by": commit.created_by, "author": commit.author, "comment": commit.comment}
        history = document.get("history") or [{"created": base.created} for _ in base.layers]
        kept: Json = {key: document[key] for key in ("architecture", "os", "variant", "os.version") if key in document}
        return {
            **kept,
            "author": commit.author or document.get("author", ""),
            "comment": commit.comment,
            "config": commit.config,
            "container": commit.container,
            "created": created,
            "parent": str.__str__(base.id),
            "history": [*history, {key: value for key, value in step.items() if value} | _empty(is_empty)],
        }

    def _add_layer(
        self, stream: Reader, staged: Staged, parent: Digest | None, lease: Lease
    ) -> tuple[Digest, Descriptor]:
        """Unpack a layer while it is read, or afterwards; then its archive becomes a blob.

        :param stream: reads what is, or by then will be, in `staged`.
        """
        layer, unpacked = self._layers.add(stream, parent, lease=lease.layer)
        lease.blob(unpacked.digest)
        staged.commit_as(unpacked.digest)
        kind = media_types.layer_type(unpacked.compression)
        return layer.diff_id, Descriptor(kind, unpacked.digest, unpacked.packed_size)

    def _publish(
        self,
        document: Json,
        layers: Sequence[tuple[Digest, Descriptor]],
        lease: Lease,
        name: Reference | None,
        parts: Sequence[str] = (),
    ) -> Digest:
        """Store configuration and manifest, then the image's row: the point of no return; and its name."""
        document["rootfs"] = {"type": "layers", "diff_ids": [diff_id for diff_id, _ in layers]}
        config = encode(document)
        identifier = Digest.from_bytes(config)
        manifest = Manifest(
            Descriptor(media_types.OCI_CONFIG, identifier, len(config)),
            [descriptor for _, descriptor in layers],
            schema_version=2,
            media_type=media_types.OCI_MANIFEST,
        )
        data = encode(manifest)
        lease.blob(identifier, Digest.from_bytes(data))
        self._content.put(config)
        stored = self._content.put(data)
        with self._catalog.pin_id(identifier):
            self._catalog.add(identifier, stored, added=time.time_ns(), parts=parts, built_in=bool(parts))
            if name:
                self._catalog.name(identifier, name)
        return identifier


class _Copying:
    """A stream that copies what is read into a staged blob."""

    def __init__(self, stream: Reader, staged: Staged) -> None:
        self._stream = stream
        self._staged = staged

    def read(self, size: int, /) -> bytes:
        piece = self._stream.read(size)
        self._staged.write(piece)
        return piece


def _empty(is_empty: bool) -> Json:
    return {"empty_layer": True} if is_empty else {}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _document(config: Json, platform: Platform, created: str, comment: str) -> Json:
    document = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": created,
        "config": config,
        "history": [{"created": created, "comment": comment}],
    }
    return document | ({"variant": platform.variant} if platform.variant else {})
