"""One connection to the engine's SQLite file, and the policy that holds for all of them.

- The schema is migrated before anything else happens (`schema`).
- The journal is a write-ahead log that is checkpointed every 256 pages, and whose room is allocated before it is
  needed: what is written on a full disk goes into it.
- A commit survives the program's death at any instruction. Only a *durable* connection syncs each commit, so that it
  survives the machine's death as well: rows about images are as durable as the bytes that they stand for. The others
  lose their last few commits with the machine, which reconciliation handles like any other difference.
- Writers of one process wait at a lock, and get it when it is free. SQLite's own waiting polls, and lets a thread that
  writes again and again overtake one that waits, for seconds; it is for other processes only, ten seconds at most. The
  event loop is among those who wait, so nothing slow but the sync of a commit happens inside a transaction.
- A full disk is `OutOfSpace`, after the reserve was spent.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from wherry.database.disk_reserve import Reserve
from wherry.database.schema import MIGRATIONS, Migration, check_version, migrate
from wherry.database.witness import Witness
from wherry.errors import CorruptData, OutOfSpace, SystemFault, WherryError

__all__ = ["WAL_SIZE", "Database", "understanding"]

_log: Final = logging.getLogger(__name__)

#: Bytes. The log reaches a megabyte before it begins again: 256 pages with their headers, and one more transaction.
WAL_SIZE: Final = 1280 << 10
#: Each connection could cache 2 MB, and there are several; the kernel has the file's pages, too.
_PRAGMAS: Final = ("PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=256", "PRAGMA cache_size=-256")
_BUSY_SECONDS: Final = 10.0
#: The lock of each file's writers in this process, by device and inode; as SQLite has it for the files' locks.
_WRITE_LOCKS: Final = WeakValueDictionary[tuple[int, int], threading.RLock]()
_FINDING_A_LOCK: Final = threading.Lock()
_COUNT_CHANGE: Final = "INSERT INTO changes (id, number) VALUES (0, 1) ON CONFLICT DO UPDATE SET number = number + 1"


class Database:
    """One connection. Threads may share it, one at a time; `transaction` holds the lock.

    :param path: the database file; made when missing. Others may have connections of their own.
    :param reserve: spent when the disk is full.
    :param durable: whether each commit survives the machine's death, at the cost of a sync.
    :param witness: the number beside the database that tells when it has lost changes. It counts transactions, so a
        database with a witness is changed by `transaction` only.
    :raises CorruptData: it is no SQLite database.
    :raises Unsupported: a newer version has written it.
    :raises OutOfSpace: the disk is full.
    """

    def __init__(
        self,
        path: Path,
        reserve: Reserve | None = None,
        *,
        durable: bool = False,
        witness: Witness | None = None,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self._lock = threading.RLock()
        self._reserve = reserve
        self._witness = witness
        self._backlog: dict[object, tuple[str, tuple[object, ...]]] = {}
        self.on_backlog: Callable[[], None] = lambda: None
        self._connection = _open(path, reserve, migrations, durable=durable)
        try:
            self._write_lock: Final = _write_lock_of(path)
            self._lost_changes = witness is not None and witness.contradicts(self._last_change())
        except BaseException:
            self._connection.close()
            raise

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._lock, _translated():
            return self._connection.execute(query, values).fetchall()

    def each(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one after the other, where all at once are too much; to be read to the end."""
        with self._lock, _translated():
            yield from self._connection.execute(query)

    def close(self) -> None:
        """Write what waits, and close the connection."""
        with self._lock:
            self.flush()
            self._connection.close()

    # --- single statements ------------------------------------------------------------------------

    def write(self, statement: str, *values: object) -> None:
        """Execute one statement.

        :raises OutOfSpace: the disk is full; nothing happened.
        :raises SystemFault: the database does not take it.
        """
        with self._lock, self._write_lock, _translated():
            if self._backlog:
                self._flush()
            self._execute(statement, values)

    def write_soon(self, key: object, statement: str, *values: object) -> None:
        """Execute a statement about what *has* happened, which no error can undo: now, or when there is room.

        :param key: what it is about; of several that wait, the last one counts. `on_backlog` is called when it has to
            wait, and has to see to a later `flush`.
        """
        with self._lock:
            self._backlog.pop(key, None)
            try:
                self.write(statement, *values)
            except WherryError:
                self._backlog[key] = (statement, values)
                self.on_backlog()

    def flush(self) -> bool:
        """Write what waits; returns whether nothing waits any more."""
        with self._lock, self._write_lock, suppress(sqlite3.DatabaseError):
            self._flush()
        return not self._backlog

    def _flush(self) -> None:
        for key, (statement, values) in list(self._backlog.items()):
            self._execute(statement, values)
            del self._backlog[key]

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.OperationalError as exc:
            if not _says_full(exc) or self._reserve is None or not self._reserve.spend():
                raise
            self._connection.execute(statement, values)

    # --- transactions -----------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Several statements that happen all or not at all; a nested one belongs to the outer one.

        :raises OutOfSpace: the disk is full.
        """
        with self._lock, self._write_lock, _translated():
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            before = self._connection.total_changes
            try:
                yield self._connection
                changed = self._witness is not None and self._connection.total_changes != before
                if changed:
                    self._connection.execute(_COUNT_CHANGE)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # an error like that of a full disk may have ended it
                    self._connection.execute("ROLLBACK")
                raise
            if changed and not self._lost_changes:
                self._update_witness()

    @property
    def has_lost_changes(self) -> bool:
        """Whether it was damaged or replaced, so that what it does not know may be in use all the same."""
        return self._lost_changes

    def believe(self) -> None:
        """Take the database for complete from now on."""
        self._lost_changes = False
        with self.transaction() as connection:
            connection.execute(_COUNT_CHANGE)

    def doubt(self) -> None:
        """Remember beyond the end of this process that it has lost changes."""
        if self._witness is not None:
            self._witness.remember_loss()

    def _update_witness(self) -> None:
        if self._witness is not None:
            self._witness.write(self._last_change())

    def _last_change(self) -> int:
        [[number]] = self.rows("SELECT COALESCE(MAX(number), 0) FROM changes")
        return int(number)


def _open(path: Path, reserve: Reserve | None, migrations: Sequence[Migration], *, durable: bool) -> sqlite3.Connection:
    for last in (False, True):
        opened = sqlite3.connect(
            path, isolation_level=None, cached_statements=32, timeout=_BUSY_SECONDS, check_same_thread=False
        )
        try:
            check_version(opened, path, migrations)
            for pragma in (*_PRAGMAS, f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}"):
                opened.execute(pragma)
            migrate(opened, migrations)
        except sqlite3.DatabaseError as exc:
            opened.close()
            if not last and reserve is not None and _is_full(exc, path):
                reserve.lend(Path(f"{path}-wal"), Path(f"{path}-shm"))
                if reserve.spend():
                    continue
            raise _opening_error(exc, path) from exc
        except BaseException:
            opened.close()
            raise
        _lengthen_log(path)
        break
    return opened


def _write_lock_of(path: Path) -> threading.RLock:
    status = path.stat()
    with _FINDING_A_LOCK:
        return _WRITE_LOCKS.setdefault((status.st_dev, status.st_ino), threading.RLock())


def _says_full(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _is_full(error: sqlite3.DatabaseError, path: Path) -> bool:
    """Whether it was for want of room; SQLite has several words for it where it makes files."""
    if _says_full(error):
        return True
    found = os.statvfs(path.parent)
    no_room = found.f_bavail * found.f_frsize < 64 << 10 or (found.f_files > 0 and not found.f_favail)
    return no_room and isinstance(error, sqlite3.OperationalError)


def _opening_error(error: sqlite3.DatabaseError, path: Path) -> WherryError:
    if _is_full(error, path):
        return OutOfSpace(f"cannot open the database '{path}': the disk is full", cause=str(error))
    return CorruptData(f"cannot open the database '{path}'", cause=str(error))


def _lengthen_log(path: Path) -> None:
    """Allocate the room that the log will need while there is some."""
    with suppress(OSError):
        fd = os.open(f"{path}-wal", os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size < WAL_SIZE:
                os.posix_fallocate(fd, 0, WAL_SIZE)  # zeros are no frames of it
        finally:
            os.close(fd)


@contextmanager
def _translated() -> Iterator[None]:
    """SQLite's errors as wherry's.

    :raises OutOfSpace: the disk is full.
    :raises SystemFault: anything else.
    """
    try:
        yield
    except sqlite3.DatabaseError as exc:
        kind = OutOfSpace if _says_full(exc) else SystemFault
        raise kind("cannot write to the database", cause=str(exc)) from exc


@contextmanager
def understanding(what: str, key: object, otherwise: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Read a row. One that this version does not understand stays as it is, and is logged.

    :param what: what it is a row of: ``"a container"``.
    :param key: by which it is found.
    :param otherwise: called when it is not understood.
    """
    try:
        yield
    except (WherryError, msgspec.MsgspecError, ValueError, TypeError, AttributeError) as exc:
        _log.error(
            "%s cannot be understood; its row and what belongs to it are kept, and left alone",
            what,
            extra={"row": key, "error": str(exc)},
        )
        otherwise()
