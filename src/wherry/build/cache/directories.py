"""Directories that outlive builds: cache mounts, and what clients have sent.

A directory is a row of ``build_directories`` and ``<root>/<number>/``, in which ``data`` is what users see: its parent
is ours alone, so that no mode or owner of theirs matters. A directory without a row is an orphan, left by a crash.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wherry.build.cache.records import new_id
from wherry.build.cache.threads import Threads
from wherry.build.model.graph import CacheSharing
from wherry.content.durable import disk_errors, remove_tree
from wherry.database.database import Database
from wherry.errors import WherryError
from wherry.linux.fd import Fd
from wherry.linux.files import keep_apart
from wherry.linux.trees import Files

__all__ = ["DirectoryRow", "KeptDirectories", "KeptDirectory", "tree_size"]

_DATA: Final = "data"


@dataclass(slots=True)
class DirectoryRow:
    """One directory.

    :param number: the name of its own directory.
    :param size: in bytes; None: not measured since it was used last.
    :param created: nanoseconds since the epoch; `last_used` as well.
    """

    number: int
    id: str
    kind: str
    key: str
    description: str
    created: int
    last_used: int
    uses: int = 0
    size: int | None = None


class KeptDirectory:
    """A directory in use. To be made by `KeptDirectories.acquire`."""

    def __init__(self, owner: KeptDirectories, row: DirectoryRow, path: Path, *, is_new: bool) -> None:
        self._owner = owner
        self._row = row
        self._is_released = False
        self.path: Final = path
        self.is_new: Final = is_new

    @property
    def number(self) -> int:
        """By which it is known."""
        return self._row.number

    def release(self) -> None:
        """It is not in use any more, and may be pruned from now on; safe to call twice."""
        if not self._is_released:
            self._is_released = True
            self._owner.give_back(self._row)


class KeptDirectories:
    """All of them; to be used from the event loop's thread, `load` and `close` apart.

    :param root: where they are.
    """

    def __init__(self, root: Path, database: Database, threads: Threads) -> None:
        self._root = root
        self._database = database
        self._threads = threads
        self._rows: dict[int, DirectoryRow] = {}
        self._users: Counter[int] = Counter()
        self._exclusive: set[int] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._unfilled: set[int] = set()
        self._last = 0

    def load(self) -> None:
        """Read the rows, and remove what has none. To be called in a thread, before anything else."""
        with disk_errors("make the directory of cache mounts"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with Fd(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
                keep_apart(fd)
            present = {name for name in os.listdir(self._root) if name.isdecimal()}
        columns = "number, id, kind, key, description, created, last_used, uses, size"
        for row in self._database.rows(f"SELECT {columns} FROM build_directories"):
            if str(row[0]) in present:
                self._rows[row[0]] = DirectoryRow(*row)
            else:
                self._database.write("DELETE FROM build_directories WHERE number = ?", row[0])
        self._last = max([0, *self._rows, *map(int, present)])
        for name in present - {str(number) for number in self._rows}:
            remove_tree(self._root / name)

    def rows(self) -> list[DirectoryRow]:
        """All directories."""
        return list(self._rows.values())

    def in_use(self, number: int) -> bool:
        """Whether somebody uses a directory."""
        return self._users[number] > 0

    def has(self, kind: str, key: str) -> bool:
        """Whether there is a directory with a key, in use or not."""
        return bool(self._of(kind, key))

    def paths(self, kind: str) -> Sequence[tuple[str, Path]]:
        """The keys and paths of all directories of a kind."""
        return [(row.key, self._path(row.number)) for row in self._rows.values() if row.kind == kind]

    async def acquire(
        self,
        kind: str,
        key: str,
        description: str,
        *,
        sharing: CacheSharing = CacheSharing.PRIVATE,
        waits: Callable[[], object] = lambda: None,
        fill: Callable[[Path], Awaitable[None]] | None = None,
    ) -> KeptDirectory:
        """Use a directory; made when there is none.

        :param kind: of the record, as in `CacheRecord`.
        :param key: which one; kinds have keys of their own.
        :param sharing: ``private`` gives another one while it is in use, ``locked`` waits.
        :param waits: called once before it waits.
        :param fill: gives a new one its first content, before anybody else sees it.
        :raises OutOfSpace: the disk is full.
        """
        reported = False
        while (found := self._free(kind, key, sharing)) is None:
            if sharing is CacheSharing.PRIVATE or not self._of(kind, key):
                return await self._make(kind, key, description, fill, exclusive=sharing is not CacheSharing.SHARED)
            if not reported:
                reported = True
                waits()
            await self._next_change()
        return self._use(found, sharing)

    def _free(self, kind: str, key: str, sharing: CacheSharing) -> DirectoryRow | None:
        """One that may be used now; of several the one used last."""
        usable = [row for row in self._of(kind, key) if self._may_use(row.number, sharing)]
        return max(usable, key=lambda row: row.last_used, default=None)

    def _of(self, kind: str, key: str) -> list[DirectoryRow]:
        return [row for row in self._rows.values() if row.kind == kind and row.key == key]

    def _may_use(self, number: int, sharing: CacheSharing) -> bool:
        if sharing is CacheSharing.SHARED:
            return number not in self._exclusive and number not in self._unfilled
        return not self._users[number]

    async def _next_change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def _stir(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _make(
        self,
        kind: str,
        key: str,
        description: str,
        fill: Callable[[Path], Awaitable[None]] | None,
        *,
        exclusive: bool,
    ) -> KeptDirectory:
        self._last += 1
        now = time.time_ns()
        row = DirectoryRow(self._last, new_id(), kind, key, description, now, now, uses=1)
        number = row.number
        self._rows[number] = row
        self._users[number] += 1
        self._unfilled.add(number)
        if exclusive:
            self._exclusive.add(number)
        try:
            await self._threads.run(self._make_directory, number, undo=lambda _: self._remove_directory(number))
            await self._complete(row, fill)
        except BaseException:
            del self._rows[number]
            self._unfilled.discard(number)
            self._leave(number)
            raise
        self._unfilled.discard(number)
        self._stir()
        return KeptDirectory(self, row, self._path(number), is_new=True)

    async def _complete(self, row: DirectoryRow, fill: Callable[[Path], Awaitable[None]] | None) -> None:
        """Fill a directory, and write its row then: after a crash there is none that is half full."""
        try:
            if fill is not None:
                await fill(self._path(row.number))
            await self._threads.run(self._write_row, row)
        except BaseException:
            await self._threads.finish(self._remove_directory, row.number)
            raise

    def _make_directory(self, number: int) -> None:
        own = self._root / str(number)
        with disk_errors("make a cache mount"):
            own.mkdir(mode=0o700)
            (own / _DATA).mkdir()
            (own / _DATA).chmod(0o755)

    def _write_row(self, row: DirectoryRow) -> None:
        self._database.write(
            "INSERT INTO build_directories (number, id, kind, key, description, created, last_used, uses, size) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            *(row.number, row.id, row.kind, row.key, row.description, row.created, row.last_used, 1),
        )

    def _use(self, row: DirectoryRow, sharing: CacheSharing) -> KeptDirectory:
        self._users[row.number] += 1
        if sharing is not CacheSharing.SHARED:
            self._exclusive.add(row.number)
        row.last_used, row.uses, row.size = time.time_ns(), row.uses + 1, None
        self._threads.begin(
            self._database.write_soon,
            ("build_directories", row.number),
            "UPDATE build_directories SET last_used = ?, uses = ?, size = NULL WHERE number = ?",
            *(row.last_used, row.uses, row.number),
        )
        return KeptDirectory(self, row, self._path(row.number), is_new=False)

    def give_back(self, row: DirectoryRow) -> None:
        """Somebody uses a directory no longer; for `KeptDirectory.release`."""
        row.size = None
        self._leave(row.number)

    def _leave(self, number: int) -> None:
        self._users[number] -= 1
        if self._users[number] <= 0:
            del self._users[number]
            self._exclusive.discard(number)
        self._stir()

    def _path(self, number: int) -> Path:
        return self._root / str(number) / _DATA

    # --- measuring and removing -------------------------------------------------------------------

    async def measure(self, row: DirectoryRow) -> int:
        """Its size in bytes; remembered until it is used again."""
        if row.size is not None:
            return row.size
        uses = row.uses
        size = await self._threads.run(tree_size, self._path(row.number))
        if row.uses == uses and not self.in_use(row.number) and row.number in self._rows:
            row.size = size
            self._threads.begin(
                self._database.write_soon,
                ("build_directories.size", row.number),
                "UPDATE build_directories SET size = ? WHERE number = ?",
                *(size, row.number),
            )
        return size

    async def remove(self, number: int) -> bool:
        """Remove a directory, unless it is in use; returns whether it went.

        :raises OutOfSpace: the disk is full; it is there as before.
        """
        if number not in self._rows or self.in_use(number):
            return False
        row = self._rows.pop(number)
        failed: list[WherryError] = []

        def work() -> None:
            try:
                self._remove_directory(number)
            except WherryError as error:
                failed.append(error)
                raise

        try:
            await self._threads.run(work)
        finally:
            if failed:
                self._rows[number] = row
                self._stir()
        return True

    def _remove_directory(self, number: int) -> None:
        """Remove the row, and then what it stands for: a directory without a row goes at the next start."""
        self._database.write("DELETE FROM build_directories WHERE number = ?", number)
        remove_tree(self._root / str(number))


def tree_size(path: Path) -> int:
    """The sum of the sizes that a tree's files have on disk, in bytes; 0 for what is gone. May take long."""
    total = 0
    linked: set[int] = set()
    for _, status in Files(path):
        if stat.S_ISDIR(status.st_mode) or status.st_ino in linked:
            continue
        if status.st_nlink > 1:
            linked.add(status.st_ino)
        total += status.st_blocks * 512
    return total
