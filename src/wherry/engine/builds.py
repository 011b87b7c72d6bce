"""The engine's builder: its parts put together, at the first build.

A daemon that builds nothing has none of it in memory: `Builds` stands for the builder until somebody needs it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from wherry.content.threads import in_thread
from wherry.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.build.builder.builder import Builder
    from wherry.build.cache.threads import Threads
    from wherry.build.exporters.exporters import Exporters
    from wherry.build.files.operations import FileOperations
    from wherry.build.model.executor import Executor
    from wherry.build.model.progress import Progress, ProgressSink
    from wherry.build.model.request import BuildRequest
    from wherry.build.model.service import BuildRecord, CacheRecord, PruneOptions, ResolvedImage, RunningBuild
    from wherry.build.model.session import BuildSession
    from wherry.build.model.snapshot import Snapshot
    from wherry.build.remote_cache.remote_cache import RemoteCache
    from wherry.build.snapshots.blobs import LayerBlob
    from wherry.build.snapshots.draft import Draft
    from wherry.build.snapshots.store import SnapshotStore
    from wherry.build.sources.contract import Fetch, SourceKey, SourceRequest
    from wherry.build.sources.table import SourceTable
    from wherry.database.database import Database
    from wherry.database.disk_reserve import Reserve
    from wherry.engine.images.transfers import Distribution
    from wherry.engine.settings import Settings
    from wherry.images.reference_counts import Lease
    from wherry.images.store import ImageStore
    from wherry.layers.overlay_paths import OverlayMount
    from wherry.oci.platform import Platform

__all__ = ["BuilderParts", "Builds"]

_DIRECTORY: Final = "build"  # below the data root, and below the exec root
_UNFINISHED: Final = ("drafts", "jobs")  # directories of the builder in which a killed daemon leaves something


class _Closeable(Protocol):
    def close(self) -> None: ...


_P = TypeVar("_P", bound=_Closeable)


@dataclass(frozen=True, kw_only=True)
class BuilderParts:
    """What a builder is put together from.

    :param executor: makes the executor of steps.
    :param tagged: told of each name that an image gets: the image's ID, and the name as people write it.
    :param pruned: told that the cache was pruned, and how many bytes that gave back.
    """

    settings: Settings
    reserve: Reserve
    images: ImageStore
    distribution: Distribution
    executor: Callable[[], Executor]
    tagged: Callable[[str, str], None]
    pruned: Callable[[int], None]


class Builds:
    """The builder, as `wherry.build.model.service.BuildService` has it. All but `ready` comes after `ready`."""

    def __init__(self, parts: BuilderParts) -> None:
        self._parts = parts
        self._workshop: _Workshop | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False

    # --- beginning and end ------------------------------------------------------------------------

    async def ready(self) -> None:
        """Open the builder, unless it is open.

        :raises CorruptData: its part of the database is damaged.
        :raises Unavailable: the daemon ends.
        """
        async with self._opening:
            if self._is_closed:
                raise Unavailable("the daemon ends")
            if self._workshop is None:
                await asyncio.to_thread(_import)
                self._workshop = await _Workshop.opened(self._parts)

    def has_unfinished(self) -> bool:
        """Whether a builder that was killed has left something, which takes up room until the next one is open."""
        directory = self._parts.settings.data_root / _DIRECTORY
        return any(os.listdir(path) for name in _UNFINISHED if (path := directory / name).is_dir())

    def has_cache(self) -> bool:
        """Whether anything was ever built here."""
        return (self._parts.settings.data_root / _DIRECTORY).is_dir()

    async def close(self) -> None:
        """End all builds, and let go of everything."""
        async with self._opening:
            self._is_closed = True
            workshop, self._workshop = self._workshop, None
            if workshop is not None:
                await workshop.close()

    @property
    def _builder(self) -> Builder:
        if self._workshop is None:
            raise Unavailable("the builder is not open")
        return self._workshop.builder

    # --- BuildService -----------------------------------------------------------------------------

    def attach(self, session: BuildSession) -> None:
        """A client's session is there from now on; builds may wait for it."""
        self._builder.attach(session)

    async def detach(self, identifier: str) -> None:
        """A session has ended: its builds are cancelled; returns when nothing of them is left."""
        if self._workshop is not None:
            await self._builder.detach(identifier)

    def begin(self, request: BuildRequest) -> RunningBuild:
        """Begin a build.

        :raises Conflict: there is one with that ID.
        """
        return self._builder.begin(request)

    async def build(self, request: BuildRequest) -> dict[str, str]:
        """A whole build: begin, solve, finish. Being cancelled ends it."""
        return await self._builder.build(request)

    def running(self, ref: str) -> RunningBuild:
        """A build that is under way.

        :raises NotFound: there is none.
        """
        return self._builder.running(ref)

    async def cancel(self, ref: str) -> None:
        """End a build. Does nothing where there is none."""
        if self._workshop is not None:
            await self._builder.cancel(ref)

    def progress(self, ref: str) -> AsyncIterator[Progress]:
        """Everything of a build from its beginning, and on until it ends; waits a while for one that is to come.

        :raises NotFound: there is no such build.
        """
        return self._builder.progress(ref)

    def log(self, ref: str, *, follow: bool = False) -> AsyncIterator[Progress]:
        """Everything of a build from its beginning to what there is now; no build waits for who reads this.

        :param follow: go on until the build ends.
        :raises NotFound: there is no such build.
        """
        return self._builder.log(ref, follow=follow)

    def records(self) -> Sequence[BuildRecord]:
        """The builds of the past that are remembered, and those of now, the oldest first."""
        return self._builder.records()

    def watch_records(self) -> AsyncIterator[BuildRecord]:
        """Each change of a record, from now on."""
        return self._builder.watch_records()

    async def update_record(self, ref: str, *, pinned: bool | None = None, delete: bool = False) -> None:
        """Keep a record, or forget it.

        :raises NotFound: there is no such record.
        """
        await self._builder.update_record(ref, pinned=pinned, delete=delete)

    async def disk_usage(self, filters: Sequence[str] = ()) -> list[CacheRecord]:
        """The entries of the cache that fit one of some filters, in containerd's syntax."""
        return await self._builder.disk_usage(filters)

    async def prune(self, options: PruneOptions) -> AsyncIterator[CacheRecord]:
        """Remove entries that are not in use, the least recently used first; yields each one that went."""
        freed = 0
        try:
            async for record in self._builder.prune(options):
                freed += record.size
                yield record
        except BaseException:  # also where nobody wants the others: some have gone all the same
            if freed:
                self._parts.pruned(freed)
            raise
        self._parts.pruned(freed)


def _import() -> None:
    """Import all of it, in a thread: it takes longer than anything on the event loop may."""
    import wherry.build.builder.builder  # noqa: PLC0415
    import wherry.build.exporters.exporters  # noqa: PLC0415
    import wherry.build.files.operations  # noqa: PLC0415
    import wherry.build.snapshots.mounts  # noqa: PLC0415
    import wherry.build.snapshots.store  # noqa: PLC0415
    import wherry.build.sources.table  # noqa: PLC0415
    import wherry.engine.build.executor  # noqa: PLC0415, F401


class _Workshop:
    """The builder and its parts; made on the event loop, after the import.

    :param ends: gets what closes each part, as soon as there is that part.
    """

    def __init__(self, parts: BuilderParts, ends: AsyncExitStack) -> None:
        from wherry.build.builder.builder import Builder  # noqa: PLC0415
        from wherry.build.cache.cache import BuildCache  # noqa: PLC0415
        from wherry.build.cache.policy import parse_settings  # noqa: PLC0415
        from wherry.build.cache.threads import Threads  # noqa: PLC0415
        from wherry.build.exporters.exporters import Exporters  # noqa: PLC0415
        from wherry.build.files.operations import FileOperations  # noqa: PLC0415
        from wherry.build.remote_cache.remote_cache import RemoteCache  # noqa: PLC0415
        from wherry.build.snapshots.mounts import mount_snapshot  # noqa: PLC0415
        from wherry.build.sources.table import SourceTable  # noqa: PLC0415
        from wherry.database.database import Database  # noqa: PLC0415

        settings, images = parts.settings, parts.images
        root = settings.data_root / _DIRECTORY
        self._ends = ends
        database: Database = self._closed_at_the_end(Database(settings.data_root / "wherry.db", parts.reserve))
        lookups: Database = self._closed_at_the_end(Database(settings.data_root / "wherry.db", parts.reserve))
        self._threads: Threads = self._closed_at_the_end(Threads())
        patient: Threads = self._closed_at_the_end(Threads(4))
        self._snapshots: SnapshotStore = self._closed_at_the_end(_snapshots(parts, root, database))
        files: FileOperations = self._closed_at_the_end(FileOperations(self._snapshots, root / "sums"))
        cache = BuildCache(root, database, self._snapshots, self._threads, lookups=lookups)
        layers = _Layers(self._snapshots, patient)
        remote_cache: RemoteCache = self._closed_at_the_end(
            RemoteCache(
                images, self._snapshots, layers, parts.distribution, directories=cache.directories, own=files.own
            )
        )
        exporters: Exporters = self._closed_at_the_end(
            Exporters(
                images,
                layers=layers,
                mount=lambda snapshot: mount_snapshot(snapshot, self._snapshots.bottom),
                registries=parts.distribution,
                tagged=parts.tagged,
            )
        )
        drafts = _Drafts(self._snapshots, self._threads)
        table: SourceTable = SourceTable(images, parts.distribution, cache.directories, drafts, cache.memory)
        ends.push_async_callback(table.close)
        self.builder: Builder = Builder(
            root,
            settings.exec_root / _DIRECTORY,
            database,
            cache=cache,
            snapshots=self._snapshots,
            files=files,
            sources=_Sources(table, images, self._snapshots, self._threads),
            executor=parts.executor(),
            exporters=exporters.by_type,
            threads=self._threads,
            settings=parse_settings(dict(settings.builder)),
            remote_cache=remote_cache,
        )
        ends.push_async_callback(self.builder.close)

    @classmethod
    async def opened(cls, parts: BuilderParts) -> _Workshop:
        """Make it, make the disk and the database agree, and remove what a killed daemon has left.

        Where that fails, all that was made is closed.
        """
        async with AsyncExitStack() as ends:
            workshop = cls(parts, ends)
            await workshop._threads.run(workshop._snapshots.reconcile)
            await workshop.builder.start()
            workshop._ends = ends.pop_all()
            return workshop

    def _closed_at_the_end(self, part: _P) -> _P:
        """Note a part that waits for its threads, or for the disk, when it is closed."""
        self._ends.push_async_callback(in_thread, part.close)
        return part

    async def close(self) -> None:
        """End all builds, and close all parts, the last one first; an error of one keeps none of the others open."""
        await self._ends.aclose()


def _snapshots(parts: BuilderParts, root: Path, database: Database) -> SnapshotStore:
    from wherry.build.snapshots.store import SnapshotStore  # noqa: PLC0415

    images = parts.images
    return SnapshotStore(root, database, layers=images.layers, content=images.content, references=images.references)


class _Layers:
    """Blobs of snapshots, for exporters: computing them takes long."""

    def __init__(self, store: SnapshotStore, threads: Threads) -> None:
        self._store = store
        self._threads = threads

    async def blobs(self, snapshot: Snapshot, lease: Lease) -> Sequence[LayerBlob]:
        """The blobs of a snapshot's layers, one for each, bottom first."""
        return await self._threads.run(self._store.blobs, snapshot, lease)


class _Sources:
    """The sources; layers of images become snapshots of the builder's, which it can hold and keep."""

    def __init__(self, table: SourceTable, images: ImageStore, store: SnapshotStore, threads: Threads) -> None:
        self._table = table
        self._images = images
        self._store = store
        self._threads = threads

    def open(self, request: SourceRequest) -> Fetch:
        """Begin with the source that an identifier's scheme names; see `Sources.open`."""
        fetch = self._table.open(request)
        of_images = request.op.identifier.startswith(("docker-image://", "oci-layout://"))
        return _ImageFetch(fetch, self) if of_images else fetch

    async def resolve_image(
        self, reference: str, platform: Platform | None, mode: str, session: BuildSession, progress: ProgressSink
    ) -> ResolvedImage:
        """What an image's name means; see `Sources.resolve_image`."""
        return await self._table.resolve_image(reference, platform, mode, session, progress)

    async def hold(self, snapshot: Snapshot) -> Snapshot:
        """Hold the layers of an image; returns what is to be released."""
        return await self._threads.run(self._hold, snapshot, undo=self._store.release)

    def _hold(self, snapshot: Snapshot) -> Snapshot:
        numbers = [layer.number for layer in snapshot.layers]
        for image in self._images.list() if numbers else ():
            if [layer.number for layer in image.layers][: len(numbers)] == numbers:
                return self._store.from_image(image)
        self._store.hold(snapshot)
        return snapshot

    async def release(self, snapshot: Snapshot) -> None:
        """Hold them no longer."""
        await self._threads.finish(self._store.release, snapshot)


class _ImageFetch:
    """One use of an image."""

    def __init__(self, fetch: Fetch, sources: _Sources) -> None:
        self._fetch = fetch
        self._sources = sources
        self._held: Snapshot | None = None

    async def key(self) -> SourceKey:
        """What the files are."""
        return await self._fetch.key()

    async def snapshot(self) -> Snapshot:
        """The files."""
        found = await self._fetch.snapshot()
        self._held = await self._sources.hold(found)
        return found

    async def close(self) -> None:
        """Leave nothing behind."""
        held, self._held = self._held, None
        if held is not None:
            await self._sources.release(held)
        await self._fetch.close()


class _Drafts:
    """Makes layers, for sources."""

    def __init__(self, store: SnapshotStore, threads: Threads) -> None:
        self._store = store
        self._threads = threads

    async def draft(self, base: Snapshot) -> _Draft:
        """Begin one on top of a snapshot."""
        made = await self._threads.run(self._store.draft, base, undo=self._store.discard)
        return _Draft(made, self._store, self._threads)


class _Draft:
    """A layer that is being made."""

    def __init__(self, draft: Draft, store: SnapshotStore, threads: Threads) -> None:
        self._draft = draft
        self._store = store
        self._threads = threads

    @property
    def overlay(self) -> OverlayMount:
        """Its writable directory, which is there, is what becomes the layer."""
        return self._draft.overlay()

    async def commit(self) -> Snapshot:
        """It becomes a layer, as it is."""
        return await self._threads.run(self._store.commit, self._draft)

    async def discard(self) -> None:
        """Remove it; does nothing after `commit`."""
        await self._threads.run(self._store.discard, self._draft)
