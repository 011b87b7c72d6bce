"""The cache of one data root: records, directories, and what of them goes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wherry.build.cache.contract import Layers
from wherry.build.cache.directories import DirectoryRow, KeptDirectories
from wherry.build.cache.filters import fits_any
from wherry.build.cache.memory import Memory
from wherry.build.cache.policy import CacheLimits, Disk, keep_bytes
from wherry.build.cache.records import Record, Records, new_id
from wherry.build.cache.threads import Threads
from wherry.build.model.service import CacheRecord, PruneOptions
from wherry.build.model.snapshot import Snapshot
from wherry.content.durable import disk_errors
from wherry.content.threads import finished
from wherry.database.database import Database
from wherry.errors import NotFound, WherryError

__all__ = ["BuildCache", "Held"]

_log: Final = logging.getLogger(__name__)
_KEYS: Final = 100_000
"""Fast keys that are remembered."""
_INTERNAL: Final = ("internal", "frontend")


@dataclass(frozen=True, slots=True)
class Held:
    """A record in use, and its snapshot; to be given to `BuildCache.release` once."""

    record: Record
    snapshot: Snapshot


class BuildCache:
    """All that is kept between builds. To be used from the event loop's thread.

    :param root: the builder's directory; kept directories are below it.
    :param database: not a durable connection.
    :param disk: what the file system of `root` has.
    :param lookups: a connection for looking up, so that no look-up waits for a commit; None: `database`.
    """

    def __init__(
        self,
        root: Path,
        database: Database,
        layers: Layers,
        threads: Threads,
        *,
        disk: Callable[[], Disk] | None = None,
        lookups: Database | None = None,
    ) -> None:
        self.records: Final = Records(database, lookups)
        self.memory: Final = Memory(database, lookups)
        self.directories: Final = KeptDirectories(root / "directories", database, threads)
        self._layers = layers
        self._threads = threads
        self._disk = disk or (lambda: _disk_of(root))
        self._writing: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self._pruning = asyncio.Lock()
        self._prunings: set[asyncio.Task[None]] = set()

    def load(self) -> None:
        """Make rows and disk agree. To be called in a thread, after the snapshots', before anything else."""
        self.directories.load()
        lost = [record for record in self.records.load() if self._layers.snapshot(record.layers) is None]
        for record in lost:
            self.records.take_out(record, is_lost=True)
        self.records.delete([record.id for record in lost])
        self._layers.retain(self.records.layers())
        self.records.forget_keys(_KEYS)

    async def close(self) -> None:
        """End what removes entries, and write what waits."""
        for task in (prunings := list(self._prunings)):
            task.cancel()
        for task in prunings:
            await finished(task)
        while pending := [task for task in (*self._releasing, self._writing) if task is not None and not task.done()]:
            await asyncio.wait(pending)
        try:
            await self._threads.run(self.records.flush)
        except WherryError as error:
            _log.warning("the build cache cannot be written: what was built last is forgotten: %s", error)

    # --- results ----------------------------------------------------------------------------------

    def find(self, identity: str, output: int = 0) -> Held | None:
        """A result that is there, and is in use from now on."""
        record = self.records.find(identity, output)
        return None if record is None else self._taken(record)

    def _taken(self, record: Record) -> Held | None:
        snapshot = self._layers.snapshot(record.layers)
        if snapshot is None:
            return None
        held = self._hold(record, snapshot)
        if held is not None:
            self.records.touch(record.id)
            self._write_soon()
        return held

    def has(self, identity: str, output: int = 0) -> bool:
        """Whether there is a result."""
        record = self.records.find(identity, output)
        return record is not None and self._layers.snapshot(record.layers) is not None

    def _hold(self, record: Record, snapshot: Snapshot) -> Held | None:
        try:
            self._layers.hold(snapshot)
        except NotFound:  # it has gone in this moment
            return None
        self.records.hold(record.id)
        return Held(record, snapshot)

    def hold_again(self, held: Held) -> None:
        """A result that is in use is in use once more."""
        self._layers.hold(held.snapshot)
        self.records.hold(held.record.id)

    async def release(self, helds: Iterable[Held]) -> None:
        """Some results are not in use any more."""
        some = list(helds)
        for held in some:
            self.records.release(held.record.id)
        if some:
            await self._threads.finish(self._release, [held.snapshot for held in some])

    def release_soon(self, helds: Iterable[Held]) -> None:
        """The same, without waiting for it."""
        some = list(helds)
        if some:
            task = asyncio.get_running_loop().create_task(self.release(some), name="wherry-build-cache")
            self._releasing.add(task)
            task.add_done_callback(self._releasing.discard)

    def keep(self, snapshot: Snapshot) -> None:
        """Keep the layers of images in a snapshot. To be called in a thread."""
        self._layers.keep(snapshot)

    def _release(self, snapshots: Sequence[Snapshot]) -> None:
        for snapshot in snapshots:
            try:
                self._layers.release(snapshot)
            except WherryError as error:  # it is released; what was to go with it goes at the next start
                _log.warning("layers of the build cache cannot be removed: %s", error)

    def add(
        self,
        identity: str,
        snapshot: Snapshot,
        *,
        output: int = 0,
        kind: str = "regular",
        description: str = "",
        parents: Sequence[str] = (),
    ) -> Held:
        """Add a result whose layers are whole, and kept (`Layers.keep`); it is in use from now on.

        Where there is one already, that one is given, and the layers of the new one may go.

        :raises NotFound: a layer is gone.
        """
        before = self.records.find(identity, output)
        if before is not None and (held := self._taken(before)) is not None:
            return held
        now = time.time_ns()
        record = Record(
            id=new_id(),
            identity=identity,
            output=output,
            kind=kind,
            description=description,
            layers=tuple(layer.number for layer in snapshot.layers),
            parents=tuple(dict.fromkeys(parents)),
            created=now,
            last_used=now,
        )
        held = self._hold(record, snapshot)
        if held is None:
            raise NotFound("a layer of a build's result has gone")
        self.records.add(record, before)
        self._layers.want(record.layers)
        self._write_soon()
        return held

    def remove_unless_recorded(self, snapshot: Snapshot) -> None:
        """Remove layers of a snapshot that became no result. To be called in a thread."""
        self._remove_layers([one.number for one in snapshot.layers])

    def _remove_layers(self, numbers: Sequence[int]) -> None:
        """Remove those of some layers that no record has: one may come at any moment, and wants its own back."""
        self._layers.remove([number for number in numbers if not self.records.has_layer(number)])
        self._layers.want([number for number in numbers if self.records.has_layer(number)])

    def link(self, fast_key: str, identity: str) -> None:
        """A fast key leads to an identity from now on."""
        self.records.link(fast_key, identity)
        self._write_soon()

    def _write_soon(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write(), name="wherry-build-cache")

    async def _write(self) -> None:
        while self.records.has_unwritten:
            try:
                await self._threads.run(self.records.flush)
            except WherryError as error:
                _log.warning("the build cache cannot be written; it is tried again with the next step: %s", error)
                return

    # --- what there is ----------------------------------------------------------------------------

    async def usage(self, filters: Sequence[str] = ()) -> list[CacheRecord]:
        """The entries that fit one of some filters."""
        fits = fits_any(filters)
        return [entry for entry in (await self._entries()).values() if fits(entry)]

    async def _entries(self) -> dict[str, CacheRecord]:
        await self._threads.run(self.records.flush)
        entries = await self._threads.run(self._measured)
        for row in self.directories.rows():
            size = await self.directories.measure(row)
            entries[row.id] = self._directory_entry(row, size)
        return entries

    def _measured(self) -> dict[str, CacheRecord]:
        """The records as entries. A layer counts where it appears first; runs in a thread."""
        records = {record.id: record for record in self.records.all()}
        entries = {}
        for record in records.values():
            below = {number for parent in record.parents if parent in records for number in records[parent].layers}
            own = [number for number in record.layers if number not in below]
            size = record.size
            if size is None:
                size = sum(self._size(number) for number in own)
                self.records.set_size(record.id, size)
            shared = bool(record.layers) and self._layers.is_shared(record.layers[-1])
            entries[record.id] = _entry(record, size, shared=shared, in_use=self.records.is_held(record.id))
        return entries

    def _by_id(self) -> dict[str, Record]:
        return {record.id: record for record in self.records.all()}

    def _size(self, number: int) -> int:
        try:
            return self._layers.size(number)
        except NotFound:
            return 0

    def _directory_entry(self, row: DirectoryRow, size: int) -> CacheRecord:
        return CacheRecord(
            id=row.id,
            kind=row.kind,
            description=row.description,
            mutable=True,
            in_use=self.directories.in_use(row.number),
            size=size,
            created=row.created,
            last_used=row.last_used,
            usage_count=row.uses,
        )

    # --- pruning ----------------------------------------------------------------------------------

    async def prune(self, options: PruneOptions) -> AsyncIterator[CacheRecord]:
        """Remove entries that are not in use, the least recently used first; yields each one that went.

        An entry that others lie upon goes after these. Who takes none of them, or is slow, keeps nobody waiting.

        :raises InvalidInput: a filter is wrong.
        :raises OutOfSpace: the disk is full; what has not gone is there as before.
        """
        gone: asyncio.Queue[CacheRecord | None] = asyncio.Queue()
        pruning = self._prune(options, fits_any(options.filters), gone.put_nowait)
        task = asyncio.get_running_loop().create_task(pruning, name="wherry-build-prune")
        self._prunings.add(task)
        task.add_done_callback(self._prunings.discard)
        task.add_done_callback(lambda _: gone.put_nowait(None))
        try:
            while (entry := await gone.get()) is not None:
                yield entry
            if not task.cancelled():
                task.result()
        finally:
            task.cancel()
            await finished(task)

    async def _prune(
        self, options: PruneOptions, fits: Callable[[CacheRecord], bool], went: Callable[[CacheRecord], object]
    ) -> None:
        async with self._pruning:
            entries = await self._entries()
            records = await self._threads.run(self._by_id)
            total = sum(entry.size for entry in entries.values() if not entry.shared)
            keep = keep_bytes(total, await self._threads.run(self._disk), options)
            directories = {row.id: row for row in self.directories.rows()}
            for entry in _removable(entries, options, fits, self.records.is_held):
                if keep is not None and total <= keep:
                    return
                if entry.id in directories:
                    has_gone = await self.directories.remove(directories[entry.id].number)
                else:
                    has_gone = entry.id in records and await self._remove(records[entry.id])
                if has_gone:
                    total -= entry.size if not entry.shared else 0
                    went(entry)

    async def _remove(self, record: Record) -> bool:
        """Remove a record, and the layers that no other one has."""
        free = self.records.take_out(record)
        if free is None:
            return False
        await self._threads.run(self._remove_rows, record, free)
        return True

    def _remove_rows(self, record: Record, layers: Sequence[int]) -> None:
        try:
            self.records.delete([record.id])
        except BaseException:
            self.records.put_back(record)
            raise
        self._remove_layers(layers)

    async def collect(self, limits: CacheLimits) -> int:
        """Prune by the policies; returns how many bytes that gave back, without what images have as well."""
        freed = 0
        disk = await self._threads.run(self._disk)
        total = sum(entry.size for entry in (await self._entries()).values() if not entry.shared)
        for options in limits.policies(disk):
            keep = keep_bytes(total - freed, disk, options)
            if keep is None or total - freed > keep:
                async for entry in self.prune(options):
                    freed += entry.size if not entry.shared else 0
        return freed


def _disk_of(path: Path) -> Disk:
    with disk_errors("look at the room for the build cache"):
        found = os.statvfs(path)
    return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def _entry(record: Record, size: int, *, shared: bool, in_use: bool) -> CacheRecord:
    return CacheRecord(
        id=record.id,
        kind=record.kind,
        parents=record.parents,
        description=record.description,
        in_use=in_use,
        shared=shared,
        size=size,
        created=record.created,
        last_used=record.last_used,
        usage_count=record.uses,
    )


def _removable(
    entries: Mapping[str, CacheRecord],
    options: PruneOptions,
    fits: Callable[[CacheRecord], bool],
    is_held: Callable[[str], bool],
) -> Sequence[CacheRecord]:
    """What may go, in the order in which it goes: the least recently used first, and children before their parents."""
    cutoff = time.time_ns() - options.keep_duration
    children = Counter(parent for entry in entries.values() for parent in entry.parents)
    chosen: list[CacheRecord] = []
    ready = [entry for entry in entries.values() if not children[entry.id]]
    while ready:
        ready.sort(key=lambda entry: (entry.last_used or 0, entry.usage_count), reverse=True)
        entry = ready.pop()
        if not _may_go(entry, options, cutoff) or is_held(entry.id) or not fits(entry):
            continue  # and so its parents stay as well
        chosen.append(entry)
        for parent in entry.parents:
            children[parent] -= 1
            if not children[parent] and parent in entries:
                ready.append(entries[parent])
    return chosen


def _may_go(entry: CacheRecord, options: PruneOptions, cutoff: int) -> bool:
    if entry.in_use or (options.keep_duration and (entry.last_used or 0) > cutoff):
        return False
    return options.all or not (entry.shared or entry.kind in _INTERNAL)
