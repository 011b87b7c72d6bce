"""The import of cache: what others have built is found by its key, and fetched only where it is needed.

Nothing is believed that can be verified: blobs by their digests, layers by their diff IDs. That a key really belongs to
these layers cannot be: so they are kept under identities of their own (`wherry.build.cache.remote`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

import msgspec
from msgspec import Struct, field

from wherry.build.cache.remote import imported_identity
from wherry.build.exporters.contract import Registries
from wherry.build.exporters.options import boolean
from wherry.build.model.progress import ProgressSink, VertexProgress
from wherry.build.model.request import CacheTarget
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import EMPTY, Snapshot, SnapshotLayer
from wherry.build.remote_cache.config import CONFIG_TYPE, FoundCache, Part, found_in, record_digest
from wherry.build.remote_cache.mounts import MOUNTS
from wherry.build.remote_cache.places import ClientPlace, Place, RegistryPlace
from wherry.build.snapshots.draft import Draft
from wherry.content.threads import Check, Worker
from wherry.distribution.transfer.lease import with_lease
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, TooLarge, WherryError
from wherry.images.store import ImageStore
from wherry.layers.store import Layer
from wherry.oci.codec import decode
from wherry.oci.digest import Digest, chain_ids_of
from wherry.oci.manifest import Descriptor, Index, Manifest, parse_manifest_or_index

__all__ = ["CacheImporter", "Imports", "Origin", "Snapshots", "registry_origin", "wanted_imports"]

_MANIFESTS: Final = 50
_IMPORTS: Final = 100
_SOURCES: Final = 200  # configurations in all
_MOST: Final = 2_000_000  # entries of all of them
_INLINE: Final = "moby.buildkit.cache.v0"


class Snapshots(Protocol):
    """Makes snapshots of layers: `snapshots.SnapshotStore`. All of it waits for the disk."""

    def from_layers(self, layers: Sequence[tuple[Layer, Descriptor]]) -> Snapshot:
        """Layers of images, with their blobs, as a snapshot that is held once."""
        ...

    def draft(self, parent: Snapshot = EMPTY) -> Draft:
        """Begin a layer."""
        ...

    def commit(self, draft: Draft) -> Snapshot:
        """Make it a layer."""
        ...

    def hold(self, snapshot: Snapshot) -> None:
        """Use a snapshot."""
        ...

    def release(self, snapshot: Snapshot) -> None:
        """Use it no longer."""
        ...

    def remove(self, numbers: Iterable[int]) -> int:
        """Remove layers that nobody needs."""
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose word a cache is: what one place says is not believed by builds that believe another one.

    :param repository: where its layers are, and how that is reached: without encryption others can speak for it.
    :param name: which cache of there: a tag, as who may write one need not be who may write another; or a digest.
    """

    repository: str
    name: str

    def __str__(self) -> str:
        return f"{self.repository} {self.name}"


@dataclass(frozen=True, slots=True)
class _Source:
    """One configuration, and where its layers are."""

    origin: Origin
    place: Place
    cache: FoundCache


@dataclass(frozen=True, slots=True)
class Chain:
    """The layers of an imported result, bottom first; None for one of a step that changed nothing."""

    origin: Origin
    place: Place
    layers: tuple[Part | None, ...]


class Imports:
    """All that a build imports (`ImportedCache`). To be used on one event loop."""

    def __init__(self, store: ImageStore, snapshots: Snapshots, worker: Worker) -> None:
        self._store = store
        self._snapshots = snapshots
        self._worker = worker
        self._sources: list[_Source] = []
        self._begun: list[CacheTarget] = []
        self._size = 0

    def begin(self, target: CacheTarget) -> bool:
        """Whether a cache was not looked at before."""
        if target in self._begun:
            return False
        self._begun.append(target)
        return True

    def add(self, origin: Origin, place: Place, cache: FoundCache) -> None:
        """Believe one more, after those before.

        :raises TooLarge: there are too many, or they say too much.
        """
        self._size += cache.size
        if self._size > _MOST or len(self._sources) >= _SOURCES:
            self._size -= cache.size
            raise TooLarge("the caches that the build imports are too large")
        self._sources.append(_Source(origin, place, cache))

    def __bool__(self) -> bool:
        return bool(self._sources)

    def find(self, identity: str, outputs: Sequence[int]) -> str | None:
        """Whether there are all of some outputs; see `ImportedCache.find`."""
        source = self._source(identity, outputs)
        if source is None:
            return None
        chains = [source.cache.results[record_digest(identity, output)] for output in sorted(outputs)]
        layers = [[str.__str__(part.diff_id) if part else "" for part in chain] for chain in chains]
        return imported_identity(f"{source.origin} {layers}", identity)

    def identity_of(self, fast_key: str) -> str | None:
        """The identity that a fast key leads to there."""
        return next((found for source in self._sources if (found := source.cache.keys.get(fast_key))), None)

    def beginnings(
        self, parts: Sequence[tuple[str, int]], wholes: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], tuple[int, int]]:
        """Which results are the lowest layers of other ones; see `ImportedCache.beginnings`."""
        wanted: dict[bytes, list[tuple[str, int]]] = {}
        for part in parts:
            if (chain := self.chain(*part)) is not None:
                *_, whole = _prefixes(chain.layers)
                wanted.setdefault(whole, []).append(part)
        found: dict[tuple[str, int], tuple[int, int]] = {}
        for position, one in enumerate(wholes):
            chain = self.chain(*one)
            for count, prefix in enumerate(_prefixes(chain.layers) if chain and wanted else ()):
                found |= dict.fromkeys(wanted.pop(prefix, ()), (position, count))
        return found

    def chain(self, identity: str, output: int) -> Chain | None:
        """The layers of a result, and where they are."""
        source = self._source(identity, [output])
        if source is None:
            return None
        return Chain(source.origin, source.place, source.cache.results[record_digest(identity, output)])

    def _source(self, identity: str, outputs: Sequence[int]) -> _Source | None:
        digests = {record_digest(identity, output) for output in outputs}
        return next((source for source in self._sources if digests <= source.cache.results.keys()), None)

    @asynccontextmanager
    async def load(self, identity: str, output: int) -> AsyncIterator[Snapshot]:
        """Bring an output here; see `ImportedCache.load`."""
        found = self.chain(identity, output)
        if found is None:
            raise InvalidInput("the imported cache has no such result")
        async with self._loaded(found) as snapshot:
            yield snapshot

    def has_mount(self, key: str) -> bool:
        """Whether there is the content of a cache mount; see `ImportedCache.has_mount`."""
        return self.mount(key) is not None

    def mount(self, key: str) -> Chain | None:
        """The one layer that is a cache mount, and where it is."""
        for source in self._sources:
            if (part := source.cache.mounts.get(key)) is not None:
                return Chain(source.origin, source.place, (part,))
        return None

    @asynccontextmanager
    async def load_mount(self, key: str) -> AsyncIterator[Snapshot]:
        """Bring the content of a cache mount here; see `ImportedCache.load_mount`."""
        found = self.mount(key)
        if found is None:
            raise InvalidInput("the imported cache has no such mount")
        async with self._loaded(found) as snapshot:
            yield snapshot

    @asynccontextmanager
    async def _loaded(self, found: Chain) -> AsyncIterator[Snapshot]:
        chain = found.layers
        parts = [part for part in chain if part is not None]
        ids = [part.diff_id for part in parts]
        async with with_lease(self._store) as lease:
            lease.blob(*(part.blob.digest for part in parts))
            lease.layer(*chain_ids_of(ids))
            for part in parts:
                await found.place.fetch(part.blob)
            snapshot = await self._worker.run(partial(self._unpacked, chain), partial(self._undo, chain))
        try:
            yield snapshot
        finally:
            await self._worker.finish(partial(self._snapshots.release, snapshot))

    def _unpacked(self, chain: Sequence[Part | None], check: Check) -> Snapshot:
        """The snapshot, each of its layers held once; in a thread."""
        found: list[tuple[Layer, Descriptor]] = []
        parent: Digest | None = None
        for part in chain:
            if part is not None:
                check()
                open_blob = partial(self._store.content.open, part.blob.digest)
                layer = self._store.layers.ensure(open_blob, part.diff_id, parent)
                parent = layer.chain_id
                found.append((layer, part.blob))
        full = self._snapshots.from_layers(found)
        pending = iter(full.layers)
        layers: list[SnapshotLayer] = []
        try:
            for part in chain:
                layers += [next(pending)] if part is not None else self._empty().layers
        except BaseException:
            self._let_go(Snapshot((*layers, *pending)), [one for one in layers if one not in full.layers])
            raise
        return Snapshot(tuple(layers))

    def _empty(self) -> Snapshot:
        made = self._snapshots.commit(self._snapshots.draft())
        self._snapshots.hold(made)
        return made

    def _undo(self, chain: Sequence[Part | None], made: Snapshot) -> None:
        """Leave nothing of a snapshot that nobody wants; in a thread."""
        self._let_go(made, [one for part, one in zip(chain, made.layers, strict=True) if part is None])

    def _let_go(self, snapshot: Snapshot, empty: Sequence[SnapshotLayer]) -> None:
        self._snapshots.release(snapshot)
        self._snapshots.remove([layer.number for layer in empty])


def _prefixes(layers: Iterable[Part | None]) -> Iterator[bytes]:
    """A digest of the lowest layers, for each number of them from 0 on."""
    running = hashlib.sha256()
    yield running.digest()
    for part in layers:
        running.update(f"{part.blob.digest} {part.diff_id}\n".encode() if part else b"\n")
        yield running.digest()


def registry_origin(reference: Reference, *, insecure: bool) -> Origin:
    """Whose word is what a registry says under a name.

    :param reference: with its default tag.
    """
    kind = "insecure registry" if insecure else "registry"
    return Origin(f"{kind} {reference.name}", str(reference.digest or reference.tag))


def wanted_imports(given: Sequence[CacheTarget], options: Mapping[str, str]) -> list[CacheTarget]:
    """All caches that a build imports: those of the request, and those of the frontend's option ``cache-imports``.

    :raises InvalidInput: the option is none.
    """
    text = options.get("cache-imports", "")
    more = decode(text.encode(), list[_Wanted], "cache-imports") if text else []
    found = [*given, *(CacheTarget(one.type, one.attributes or {}) for one in more)]
    unique = {(one.type, *sorted(one.attributes.items())): one for one in found if one.type != "inline"}
    if len(unique) > _IMPORTS:
        raise InvalidInput(f"a build cannot import more than {_IMPORTS} caches")
    return list(unique.values())


class _Wanted(Struct):
    """As clients write it."""

    type: str = field(name="Type", default="")
    attributes: dict[str, str] | None = field(name="Attrs", default=None)


class CacheImporter:
    """Imports cache. To be used on one event loop."""

    def __init__(self, store: ImageStore, snapshots: Snapshots, registries: Registries, worker: Worker) -> None:
        self._store = store
        self._snapshots = snapshots
        self._registries = registries
        self._worker = worker

    def imports(self) -> Imports:
        """What one build imports: nothing as yet."""
        return Imports(self._store, self._snapshots, self._worker)

    async def open(
        self, imports: Imports, targets: Sequence[CacheTarget], session: BuildSession, progress: ProgressSink
    ) -> None:
        """Look at some caches that a build imports; one that cannot be had is shown, and left out.

        :param targets: as `wanted_imports` gives them; those that were looked at before are passed over.
        """
        for target in targets:
            if not imports.begin(target):
                continue
            name = target.attributes.get("ref") or target.attributes.get("src") or target.type
            with _shown(f"importing cache manifest from {name}", progress) as vertex:
                origin, place = await self._place(target, session, progress, vertex)
                with_mounts = boolean(target.attributes, MOUNTS, False)
                for cache in await _caches(place, self._worker):
                    imports.add(origin, place, cache if with_mounts else replace(cache, mounts={}))

    async def _place(
        self, target: CacheTarget, session: BuildSession, progress: ProgressSink, vertex: Digest
    ) -> tuple[Origin, Place]:
        """Where a cache is, and whose word it is."""
        attributes = target.attributes
        if target.type == "registry":
            reference = Reference.parse(attributes.get("ref", "")).with_default_tag()
            insecure = boolean(attributes, "registry.insecure", False)
            remote = await self._registries.open(reference, session, progress, vertex, insecure=insecure)
            origin = registry_origin(reference, insecure=insecure)
            return origin, RegistryPlace(remote, origin.name)
        if target.type == "local":
            digest = Digest(attributes.get("digest", ""))
            content = session.content(f"local:{attributes.get('src', '')}")
            return Origin("local", str.__str__(digest)), ClientPlace(content, self._store.content, digest)
        raise InvalidInput(f"unknown cache importer: {target.type[:100]}", hint="use registry or local")


class _shown:
    """Shows work as a vertex of its own, with the error that ended it, which ends nothing else."""

    def __init__(self, name: str, progress: ProgressSink) -> None:
        self._vertex = VertexProgress(digest=Digest.from_bytes(name.encode()), name=name, started=time.time_ns())
        self._progress = progress

    def __enter__(self) -> Digest:
        self._progress(self._vertex)
        return self._vertex.digest

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        is_ours = isinstance(error, WherryError)
        if error is None or is_ours:
            shown = msgspec.structs.replace(self._vertex, completed=time.time_ns(), error=str(error) if error else "")
            self._progress(shown)
        return is_ours


async def _caches(place: Place, worker: Worker) -> list[FoundCache]:
    """The configurations behind a name: one of its own, or those in the configurations of images."""
    top = parse_manifest_or_index(await place.top())
    listed = top.manifests if isinstance(top, Index) else [top.config, *top.layers]
    config = next((one for one in listed if one.media_type == CONFIG_TYPE), None)
    if config is not None:
        data, blobs = await place.read(config), {one.digest: one for one in listed}
        return [await worker.run(lambda _: found_in(data, blobs))]
    found = []
    for manifest in [top] if isinstance(top, Manifest) else [one async for one in _manifests(place, top)]:
        image = await place.read(manifest.config)
        cache = await worker.run(partial(_inline, manifest, image))
        if cache is not None:
            found.append(cache)
    return found


async def _manifests(place: Place, index: Index) -> AsyncIterator[Manifest]:
    for descriptor in index.manifests[:_MANIFESTS]:
        parsed = parse_manifest_or_index(await place.document(descriptor))
        if isinstance(parsed, Manifest):
            yield parsed


class _Root(Struct):
    diff_ids: list[Digest] = []


class _Image(Struct):
    rootfs: _Root = field(default_factory=_Root)
    cache: str = field(name=_INLINE, default="")


def _inline(manifest: Manifest, config: bytes, _check: Check) -> FoundCache | None:
    """The cache in an image's configuration; in a thread."""
    image = decode(config, _Image, "image configuration")
    if not image.cache or len(image.rootfs.diff_ids) != len(manifest.layers):
        return None
    try:
        data = base64.b64decode(image.cache, validate=True)
    except binascii.Error as exc:
        raise InvalidInput("invalid cache in an image's configuration", cause=str(exc)) from exc
    parts = [Part(blob, diff_id) for blob, diff_id in zip(manifest.layers, image.rootfs.diff_ids, strict=True)]
    return found_in(data, {}, inline=parts)
