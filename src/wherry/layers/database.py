"""The connection to the SQLite database that layers and images keep their rows in.

One connection, WAL, ``synchronous=FULL``: rows about images are few, and each stands for bytes that were synced with
care; a row must be as durable as what it speaks of. Threads: any may use it, one at a time; :meth:`transaction` holds
the lock, so that what happens inside is seen whole by the others.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wherry.errors import CorruptData, OutOfSpace, SystemFault

__all__ = ["Database"]

#: Pages of 4 KiB, and bytes. An image changes some twenty pages: SQLite's own thousand would let the log outgrow all
#: that a dozen small images take.
_SMALL_LOG = "PRAGMA wal_autocheckpoint=64; PRAGMA journal_size_limit=262144;"


class Database:
    """A connection that threads may share.

    :param path: the database file; made when missing. Others may have connections of their own.
    :param schema: ``CREATE TABLE IF NOT EXISTS`` statements.
    :raises CorruptData: it is no SQLite database.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._lock = threading.RLock()
        opened = None
        try:
            self._connection = opened = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            opened.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _SMALL_LOG + schema)
        except sqlite3.DatabaseError as exc:
            if opened is not None:
                opened.close()
            raise CorruptData(f"cannot open the database '{path}'", cause=str(exc)) from exc

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows that a query gives."""
        with self._lock, _translated():
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Several statements that happen all or not at all, and durably; a nested one belongs to the outer one.

        :raises OutOfSpace: the disk is full.
        """
        with self._lock, _translated():
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as exc:
        kind = OutOfSpace if "full" in str(exc) else SystemFault
        raise kind("cannot use the database", cause=str(exc)) from exc
