"""The containers' table.

One row per container: its ID, its name, what hardly ever changes about it, and the state it was made with; the two as
JSON, as they are only read whole. What became of its state is in a table of its own, with short rows: SQLite writes
whole pages, and a start is to write one of them, not all those that a definition takes.

WAL with ``synchronous=NORMAL``: a commit costs no fsync and survives the death of the process at any instruction; the
last few commits may be lost when the *machine* dies, which reconciliation handles like any other difference.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from wherry.errors import CorruptData, OutOfSpace, SystemFault

__all__ = ["Database"]

# The log becomes a megabyte long at most: it is part of what a container costs on disk.
_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=256;"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    definition BLOB NOT NULL,
    state BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (
    id TEXT PRIMARY KEY,
    state BLOB NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS containers_end AFTER DELETE ON containers BEGIN
    DELETE FROM states WHERE id = old.id;
END;
"""
_ROWS = """
SELECT id, name, definition, COALESCE(states.state, containers.state)
FROM containers LEFT JOIN states USING (id)
"""
_SET_STATE = """
INSERT INTO states SELECT id, ? FROM containers WHERE id = ?
ON CONFLICT DO UPDATE SET state = excluded.state
"""


class Database:
    """The rows of the containers; used from the event loop's thread only.

    :param path: the database file; made when missing.
    :raises CorruptData: it is no SQLite database.
    """

    def __init__(self, path: Path) -> None:
        opened = None
        try:
            self._connection = opened = sqlite3.connect(path, isolation_level=None, cached_statements=32, timeout=10)
            opened.executescript(_PRAGMAS + _SCHEMA)
        except sqlite3.DatabaseError as exc:
            if opened is not None:
                opened.close()
            raise CorruptData(f"cannot open the database '{path}'", cause=str(exc)) from exc

    def rows(self) -> list[tuple[str, str, bytes, bytes]]:
        """All rows: ID, name, definition, state."""
        return self._connection.execute(_ROWS).fetchall()

    def insert(self, identifier: str, name: str, definition: bytes, state: bytes) -> None:
        """Add a container."""
        self._write("INSERT INTO containers VALUES (?, ?, ?, ?)", identifier, name, definition, state)

    def set_state(self, identifier: str, state: bytes) -> None:
        """Write a container's state; nothing happens when there is no such container."""
        self._write(_SET_STATE, state, identifier)

    def set_definition(self, identifier: str, name: str, definition: bytes) -> None:
        """Write a container's name and definition."""
        self._write("UPDATE containers SET name = ?, definition = ? WHERE id = ?", name, definition, identifier)

    def delete(self, identifier: str) -> None:
        """Remove a container; nothing happens when there is none."""
        self._write("DELETE FROM containers WHERE id = ?", identifier)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _write(self, statement: str, *values: object) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.OperationalError as exc:
            kind = OutOfSpace if "full" in str(exc) else SystemFault
            raise kind("cannot write to the database", cause=str(exc)) from exc
