"""All volumes of this engine, by name; written through to the table ``volumes``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from wherry.database.database import Database, understanding
from wherry.database.disk_reserve import Reserve
from wherry.errors import NotFound
from wherry.volumes.model import Volume

__all__ = ["VolumeStore"]

_INSERT = "INSERT OR REPLACE INTO volumes (name, definition) VALUES (?, ?)"


class VolumeStore:
    """The rows, and the same in memory; used from the event loop's thread only.

    :param path: the database file; made when missing.
    :param reserve: what is given up when the disk is full.
    :ivar database: the connection.
    :ivar unreadable: names of volumes whose rows this version does not understand; they are kept.
    :raises CorruptData: it is no SQLite database.
    :raises Unsupported: a newer version has written it.
    """

    def __init__(self, path: Path, reserve: Reserve | None = None) -> None:
        self.database: Final = Database(path, reserve)
        self._by_name: dict[str, Volume] = {}
        self.unreadable: set[str] = set()
        for name, definition in self.database.rows("SELECT name, definition FROM volumes"):
            with understanding("a volume", name, partial(self.unreadable.add, name)):
                self._by_name[name] = msgspec.json.decode(definition, type=Volume)

    def __iter__(self) -> Iterator[Volume]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Volume:
        """The volume of a name.

        :raises NotFound: there is none.
        """
        found = self._by_name.get(name)
        if found is None:
            raise NotFound("no such volume")
        return found

    def find(self, name: str) -> Volume | None:
        """The volume of a name, if there is one."""
        return self._by_name.get(name)

    def put(self, volume: Volume) -> None:
        """Write one down.

        :raises OutOfSpace: the disk is full; all is as before.
        """
        self.database.write(_INSERT, volume.name, msgspec.json.encode(volume))
        self._by_name[volume.name] = volume
        self.unreadable.discard(volume.name)

    def forget(self, name: str) -> None:
        """Remove a row, now or when there is room: the volume is gone."""
        self._by_name.pop(name, None)
        self.database.write_soon(name, "DELETE FROM volumes WHERE name = ?", name)

    def when_behind(self, action: Callable[[], None]) -> None:
        """Register a callback for when a row could not be removed; it has to have `flush` called later."""
        self.database.on_backlog = action

    def flush(self) -> bool:
        """Remove the rows that could not be removed; returns whether all are."""
        return self.database.flush()

    def close(self) -> None:
        """Close the connection."""
        self.database.close()
