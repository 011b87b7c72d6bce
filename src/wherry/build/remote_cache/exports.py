"""The export of cache: to a registry, to a directory of the client's, and into the image itself."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec

from wherry.build.cache.mounts import CacheMount
from wherry.build.cache.remote import CacheEntry
from wherry.build.exporters.contract import LayerBlob, Layers, Registries
from wherry.build.exporters.documents import Document, index
from wherry.build.exporters.layer_blobs import LayerForms, compression_of, typed
from wherry.build.exporters.options import CompressionOptions, boolean, image_options
from wherry.build.model.progress import STDERR, LogProgress, ProgressSink
from wherry.build.model.request import CacheTarget
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import Snapshot
from wherry.build.remote_cache.config import CONFIG_TYPE, EMPTY, UNCOMPRESSED, Part, document_of, records_of
from wherry.build.remote_cache.imports import Imports, registry_origin
from wherry.build.remote_cache.mounts import MountContents
from wherry.build.remote_cache.places import ClientPlace, Place, RegistryPlace
from wherry.content.threads import Check, Worker
from wherry.distribution.transfer.lease import with_lease
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput
from wherry.images.reference_counts import Lease
from wherry.images.store import ImageStore
from wherry.layers.compression import Compression
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, Manifest
from wherry.oci.media_types import OCI_MANIFEST

__all__ = ["CacheExporter", "inline_cache", "selected"]

_MODES: Final = ("min", "max")


def selected(target: CacheTarget, entries: Sequence[CacheEntry], results: Sequence[Snapshot]) -> list[CacheEntry]:
    """The entries that a target's mode takes: ``max`` all, ``min`` those whose layers a result has.

    :raises InvalidInput: there is no such mode.
    """
    mode = target.attributes.get("mode", "min")
    if mode not in _MODES:
        raise InvalidInput(f"invalid mode {mode[:100]!r} of a cache export", hint="use min or max")
    return [entry for entry in entries if mode == "max" or any(_begins(one, entry.snapshot) for one in results)]


def _begins(whole: Snapshot, part: Snapshot | None) -> bool:
    return part is not None and whole.layers[: len(part.layers)] == part.layers


def inline_cache(entries: Sequence[CacheEntry], image: Snapshot) -> bytes | None:
    """The records that go into an image's configuration; None: there are none. To be called in a thread.

    :param image: its layers, without those of steps that changed nothing.
    """
    numbers = {layer.number: position for position, layer in enumerate(image.layers)}
    found: list[CacheEntry] = []
    chains: list[list[int]] = []
    for entry in entries:
        if entry.snapshot is None:
            continue
        chain = [numbers.get(layer.number, EMPTY) for layer in entry.snapshot.layers]
        full = [position for position in chain if position != EMPTY]
        foreign = [layer for layer in entry.snapshot.layers if layer.number not in numbers]
        if full == list(range(len(full))) and all(_is_empty(layer.path) for layer in foreign):
            found.append(entry)
            chains.append(chain)
    return records_of(found, chains) if found else None


def _is_empty(directory: str) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None


@dataclass
class _Taken:
    """What an export takes.

    :param chains: the blobs of each entry's layers; None for those of steps that changed nothing.
    :param mounts: cache mounts, by their keys.
    :param passed: the layers of entries that are not here, by their numbers, and whether the target has them already.
    :param passed_mounts: the same for cache mounts that are not here.
    """

    entries: Sequence[CacheEntry]
    chains: Sequence[Sequence[LayerBlob | None]]
    mounts: Mapping[str, LayerBlob]
    passed: Mapping[int, tuple[bool, tuple[Part | None, ...]]] = field(default_factory=dict)
    passed_mounts: Mapping[str, tuple[bool, Part]] = field(default_factory=dict)

    @property
    def is_nothing(self) -> bool:
        """Whether there is no layer at all."""
        return not any(self.chains) and not self.passed and not self.mounts and not self.passed_mounts

    def there(self) -> set[Digest]:
        """The blobs that the target has already."""
        found = {part.blob.digest for is_there, chain in self.passed.values() if is_there for part in chain if part}
        return found | {part.blob.digest for is_there, part in self.passed_mounts.values() if is_there}

    def document(self, forms: LayerForms, wanted: CompressionOptions, *, oci: bool) -> tuple[bytes, list[Part]]:
        """The configuration, and the layers that it speaks of, compressed as wanted; in a thread."""
        parts: dict[Digest, Part] = {}
        own = [*(one for chain in self.chains for one in chain if one), *self.mounts.values()]
        for one in {one.digest: one for one in own}.values():
            blob = Descriptor(one.media_type, one.digest, one.size)
            is_other = wanted.kind is not None and compression_of(blob.media_type) is not wanted.kind
            if is_other and (wanted.force or compression_of(blob.media_type) is Compression.PLAIN):
                assert wanted.kind is not None
                blob = forms.recompressed(blob, wanted.kind, wanted.level)
            parts[one.digest] = Part(typed(blob, oci=oci), one.diff_id)
        full: list[Sequence[Part | None]] = [
            [parts[one.digest] if one else None for one in chain] for chain in self.chains
        ]
        for number, (_, chain) in self.passed.items():
            full[number] = chain
        mounts = {key: parts[one.digest] for key, one in self.mounts.items()}
        return document_of(self.entries, full, mounts | {key: part for key, (_, part) in self.passed_mounts.items()})


class CacheExporter:
    """Exports cache. To be used on one event loop."""

    def __init__(
        self, store: ImageStore, layers: Layers, registries: Registries, worker: Worker, mounts: MountContents
    ) -> None:
        self._mounts = mounts
        self._store = store
        self._layers = layers
        self._registries = registries
        self._worker = worker

    async def export(
        self,
        target: CacheTarget,
        entries: Sequence[CacheEntry],
        imports: Imports,
        *,
        mounts: Sequence[CacheMount] = (),
        session: BuildSession,
        progress: ProgressSink,
        vertex: Digest,
    ) -> dict[str, str]:
        """Export to one target; what the client is told: ``cache.manifest``.

        :param entries: those that the target's mode takes.
        :param mounts: the cache mounts that it takes.
        :param imports: where those are that are not here.
        :param vertex: under which it is shown.
        :raises InvalidInput: there is no such target, or an option makes no sense.
        """
        attributes = target.attributes
        options = image_options({"name": "", **attributes}, {}, compression=Compression.GZIP)
        place = await self._place(target, session, progress, vertex)
        oci = boolean(attributes, "oci-mediatypes", True)
        as_image = boolean(attributes, "image-manifest", oci)
        if as_image and not oci:
            raise InvalidInput("OCI mediatypes are required for image-manifest cache format")
        entries = [one for one in entries if one.snapshot is not None or imports.chain(one.identity, one.output)]
        async with with_lease(self._store) as lease:
            taken = _Taken(
                entries,
                [await self._blobs(entry, lease) for entry in entries],
                await self._mounts.blobs(mounts, lease, partial(_say, progress, vertex)),
            )
            taken.passed = await self._passed(target, entries, imports, lease)
            taken.passed_mounts = await self._passed_mounts(target, mounts, taken.mounts, imports, lease)
            if taken.is_nothing:
                return {}

            def work(check: Check) -> tuple[list[Descriptor], Descriptor]:
                forms = LayerForms(self._store.content, self._store.blob_sources, lease, check)
                data, listed = taken.document(forms, options.compression, oci=oci)
                return self._write(data, listed, lease, as_image=as_image, oci=oci)

            blobs, top = await self._worker.run(work)
            await place.put([blob for blob in blobs if blob.digest not in taken.there()], [top])
        shown = {"mediaType": top.media_type, "digest": str.__str__(top.digest), "size": top.size}
        return {"cache.manifest": msgspec.json.encode(shown).decode()}

    async def _place(self, target: CacheTarget, session: BuildSession, progress: ProgressSink, vertex: Digest) -> Place:
        attributes = target.attributes
        if target.type == "registry":
            reference = Reference.parse(attributes.get("ref", "")).with_default_tag()
            insecure = boolean(attributes, "registry.insecure", False)
            remote = await self._registries.open(reference, session, progress, vertex, insecure=insecure, writes=True)
            return RegistryPlace(remote, reference.tag or "latest")
        if target.type == "local":
            if not attributes.get("dest"):
                raise InvalidInput("local cache exporter requires dest")
            return ClientPlace(session.content(f"local:{attributes['dest']}"), self._store.content)
        raise InvalidInput(f"unknown cache exporter: {target.type[:100]!r}", hint="use inline, registry or local")

    async def _passed(
        self, target: CacheTarget, entries: Sequence[CacheEntry], imports: Imports, lease: Lease
    ) -> dict[int, tuple[bool, tuple[Part | None, ...]]]:
        """The layers of entries that are not here, by their numbers, and whether the target has them already.

        What it has not is fetched.
        """
        own = _repository_of(target)
        found: dict[int, tuple[bool, tuple[Part | None, ...]]] = {}
        for number, entry in enumerate(entries):
            chain = None if entry.snapshot is not None else imports.chain(entry.identity, entry.output)
            if chain is None:
                continue
            is_there = chain.origin.repository == own
            for part in () if is_there else chain.layers:
                if part is not None:
                    lease.blob(part.blob.digest)
                    await chain.place.fetch(part.blob)
            found[number] = is_there, chain.layers
        return found

    async def _passed_mounts(
        self,
        target: CacheTarget,
        mounts: Sequence[CacheMount],
        present: Mapping[str, LayerBlob],
        imports: Imports,
        lease: Lease,
    ) -> dict[str, tuple[bool, Part]]:
        """The same for cache mounts that were not needed: as they came, so they go on."""
        own = _repository_of(target)
        found: dict[str, tuple[bool, Part]] = {}
        for mount in mounts:
            chain = imports.mount(mount.pure) if mount.pure not in present else None
            for part in chain.layers if chain is not None else ():
                assert chain is not None, "it has layers"
                assert part is not None, "a cache mount is one layer"
                is_there = chain.origin.repository == own
                if not is_there:
                    lease.blob(part.blob.digest)
                    await chain.place.fetch(part.blob)
                found[mount.pure] = is_there, part
        return found

    async def _blobs(self, entry: CacheEntry, lease: Lease) -> list[LayerBlob | None]:
        """The blobs of an entry's layers; None for those of steps that changed nothing."""
        layers = entry.snapshot.layers if entry.snapshot is not None else ()
        empty = await self._worker.run(lambda _: [_is_empty(layer.path) for layer in layers])
        full = Snapshot(tuple(layer for layer, is_empty in zip(layers, empty, strict=True) if not is_empty))
        blobs = iter(await self._layers.blobs(full, lease))
        return [None if is_empty else next(blobs) for is_empty in empty]

    def _write(
        self, data: bytes, parts: Sequence[Part], lease: Lease, *, as_image: bool, oci: bool
    ) -> tuple[list[Descriptor], Descriptor]:
        """Store configuration and manifest; returns the blobs to send, and the manifest."""
        config = Document.of(CONFIG_TYPE, data)
        layers = [
            msgspec.structs.replace(part.blob, annotations={UNCOMPRESSED: str.__str__(part.diff_id)}) for part in parts
        ]
        if as_image:
            found = Manifest(config.descriptor, layers, schema_version=2, media_type=OCI_MANIFEST)
            top = Document.of(OCI_MANIFEST, encode(found))
        else:
            top = index([*layers, config.descriptor], oci=oci)
        lease.blob(config.descriptor.digest, top.descriptor.digest)
        for one in (config, top):
            self._store.content.put(one.data)
        return [*(part.blob for part in parts), config.descriptor], top.descriptor


def _repository_of(target: CacheTarget) -> str:
    """Where an export goes, as `Origin.repository` has it; empty: no registry."""
    if target.type != "registry":
        return ""
    reference = Reference.parse(target.attributes.get("ref", "")).with_default_tag()
    return registry_origin(reference, insecure=boolean(target.attributes, "registry.insecure", False)).repository


def _say(progress: ProgressSink, vertex: Digest, text: str) -> None:
    progress(LogProgress(vertex=vertex, stream=STDERR, data=f"{text}\n".encode(), at=time.time_ns()))
