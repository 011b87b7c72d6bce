"""The builds of the past, as many as are remembered; and those of now."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from weakref import WeakSet

import msgspec

from wherry.build.cache.threads import Threads
from wherry.build.history.spool import Spool
from wherry.build.model.service import BuildRecord
from wherry.content.durable import disk_errors
from wherry.database.database import Database, understanding
from wherry.errors import NotFound, WherryError
from wherry.oci.digest import Digest

__all__ = ["History"]

_log: Final = logging.getLogger(__name__)
_INTERNAL: Final = 16  #: builds in no list whose end a client may still ask for
_WATCHED: Final = 1000
"""Changes that one who watches may be behind, before the oldest are left out."""


class History:
    """Records of builds, and files with what happened in them. To be used from the event loop's thread.

    :param root: the directory of the files.
    :param most: how many builds of the past to remember, beside those that are pinned.
    """

    def __init__(self, root: Path, database: Database, threads: Threads, most: int = 50) -> None:
        self._root = root
        self._database = database
        self._threads = threads
        self._most = most
        self._records: dict[str, BuildRecord] = {}
        self._watchers: WeakSet[_Watcher] = WeakSet()

    def load(self) -> None:
        """Read what is remembered, and remove files of builds that a crash has cut off. To be called in a thread."""
        with disk_errors("make the directory of builds"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for ref, data in self._database.rows("SELECT ref, record FROM build_history ORDER BY created, ref"):
            with understanding("a build of the past", ref):
                self._records[ref] = msgspec.json.decode(data, type=BuildRecord)
        known = {self.path(ref).name for ref in self._records}
        with disk_errors("look at the builds of the past"):
            for name in os.listdir(self._root):
                if name not in known:
                    (self._root / name).unlink()

    def path(self, ref: str) -> Path:
        """Of the file with what happened in a build; `ref` is a client's text, and no name of a file."""
        return self._root / Digest.from_bytes(ref.encode(errors="surrogatepass")).hex

    def records(self) -> list[BuildRecord]:
        """The builds that are remembered, and those of now, the oldest first."""
        shown = (record for record in self._records.values() if not record.internal)
        return sorted(shown, key=lambda record: record.created)

    def get(self, ref: str) -> BuildRecord:
        """One of them.

        :raises NotFound: it is not remembered.
        """
        record = self._records.get(ref)
        if record is None:
            raise NotFound(f"no such build: {ref}")
        return record

    def is_pinned(self, ref: str) -> bool:
        """Whether there is a record that is to be kept."""
        return ref in self._records and self._records[ref].pinned

    def set(self, record: BuildRecord) -> None:
        """A build has begun, or goes on; not stored before `end`. What was said of its record meanwhile stays."""
        before = self._records.get(record.ref)
        if before is not None and before.created == record.created:
            record = msgspec.structs.replace(record, pinned=before.pinned, generation=before.generation + 1)
        self._put(record)

    def _put(self, record: BuildRecord) -> None:
        self._records[record.ref] = record
        if not record.internal:
            self._publish(record)

    async def end(self, ref: str, spool: Spool) -> None:
        """A build is over, and its record is set: store what happened, and forget the oldest ones.

        What cannot be stored is forgotten with the end of this process.
        """
        try:
            await spool.store()
            if not self.get(ref).internal:
                await self._threads.run(self._write, self.get(ref))
        except WherryError as error:
            _log.warning("a build cannot be remembered: %s", error)
        past = [one for one in self.records() if one.completed is not None and not one.pinned]
        internal = [one for one in self._records.values() if one.internal and one.completed is not None]
        for one in [*past[: max(0, len(past) - self._most)], *internal[: max(0, len(internal) - _INTERNAL)]]:
            await self._forget(one.ref)

    def _write(self, record: BuildRecord) -> None:
        self._database.write(
            "INSERT OR REPLACE INTO build_history (ref, created, record) VALUES (?, ?, ?)",
            *(record.ref, record.created, msgspec.json.encode(record)),
        )

    async def update(self, ref: str, *, pinned: bool | None = None, delete: bool = False) -> None:
        """Keep a record, or forget it.

        :raises NotFound: there is no such record.
        """
        record = self.get(ref)
        if delete:
            if record.completed is not None:
                await self._forget(ref)
            return
        if pinned is not None and pinned != record.pinned:
            record = msgspec.structs.replace(record, pinned=pinned, generation=record.generation + 1)
            self._put(record)
            if record.completed is not None:
                await self._threads.run(self._write, record)

    async def _forget(self, ref: str) -> None:
        if self._records.pop(ref, None) is not None:
            await self._threads.finish(self._remove, ref)

    def _remove(self, ref: str) -> None:
        self._database.write_soon(("build_history", ref), "DELETE FROM build_history WHERE ref = ?", ref)
        with suppress(OSError):
            self.path(ref).unlink()

    def watch(self) -> AsyncIterator[BuildRecord]:
        """Each change of a record, from now on; as long as somebody has the iterator."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        return watcher

    def _publish(self, record: BuildRecord) -> None:
        for watcher in list(self._watchers):
            watcher.put(record)


class _Watcher:
    """Changes for one who watches; the oldest are left out where he is too far behind."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[BuildRecord] = asyncio.Queue(_WATCHED)

    def put(self, record: BuildRecord) -> None:
        """A record has changed."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(record)

    def __aiter__(self) -> AsyncIterator[BuildRecord]:
        return self

    async def __anext__(self) -> BuildRecord:
        return await self._queue.get()
