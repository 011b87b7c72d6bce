"""The containers' table.

One row per container: its ID, its name, its definition, which hardly ever changes, and the state from its creation;
both are JSON, as they are only read whole. Later states are in a table of their own, with short rows: SQLite writes
whole pages, and a start writes one page instead of all those of a definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from wherry.database.database import Database
from wherry.database.disk_reserve import Reserve

__all__ = ["ContainerDatabase"]

_ROWS = "SELECT id, name, definition, state FROM containers"
_STATES = "SELECT id, state FROM states"
_INSERT = "INSERT INTO containers (id, name, definition, state) VALUES (?, ?, ?, ?)"
_SET_DEFINITION = "UPDATE containers SET name = ?, definition = ? WHERE id = ?"
_SET_STATE = """
INSERT INTO states (id, state) SELECT id, ? FROM containers WHERE id = ?
ON CONFLICT DO UPDATE SET state = excluded.state
"""


class ContainerDatabase:
    """The rows of the containers; used from the event loop's thread only.

    :param path: the database file; made when missing.
    :param reserve: what is given up when the disk is full.
    :raises CorruptData: it is no SQLite database.
    :raises Unsupported: a newer version has written it.
    """

    def __init__(self, path: Path, reserve: Reserve | None = None) -> None:
        self._database = Database(path, reserve)

    @property
    def connection(self) -> Database:
        """The connection, for other tables about containers."""
        return self._database

    def rows(self) -> Iterator[tuple[str, str, bytes, bytes]]:
        """All rows, one after the other: ID, name, definition, state."""
        later: dict[str, bytes] = dict(self._database.each(_STATES))  # a join looks each of them up, for twice the time
        for identifier, name, definition, first in self._database.each(_ROWS):
            yield identifier, name, definition, later.get(identifier, first)

    def insert(self, identifier: str, name: str, definition: bytes, state: bytes) -> None:
        """Add a container."""
        self._database.write(_INSERT, identifier, name, definition, state)

    def set_state(self, identifier: str, state: bytes) -> None:
        """Write a container's state, now or when there is room; nothing happens when there is no such container."""
        self._database.write_soon(("state", identifier), _SET_STATE, state, identifier)

    def set_definition(self, identifier: str, name: str, definition: bytes) -> None:
        """Write a container's name and definition."""
        self._database.write(_SET_DEFINITION, name, definition, identifier)

    def note_definition(self, identifier: str, name: str, definition: bytes) -> None:
        """Write a container's name and definition, now or when there is room."""
        self._database.write_soon(("definition", identifier), _SET_DEFINITION, name, definition, identifier)

    def delete(self, identifier: str) -> None:
        """Remove a container; nothing happens when there is none."""
        self._database.write("DELETE FROM containers WHERE id = ?", identifier)

    def when_behind(self, action: Callable[[], None]) -> None:
        """Have something called whenever states could not be written; it is to see to it that `flush` is called."""
        self._database.on_backlog = action

    def flush(self) -> bool:
        """Write the states that could not be written; returns whether all are."""
        return self._database.flush()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()
