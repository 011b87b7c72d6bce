"""The records of the cache: which result belongs to which identity, on disk and in a short queue before it.

A record is added when its layers are whole, and then written within moments by a thread (`Records.flush`): what a
crash takes away is a record, never a layer of one. Looking up asks the queue first, and then SQLite.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from wherry.database.database import Database, understanding

__all__ = ["Record", "Records", "new_id"]

_COLUMNS: Final = "id, identity, output, kind, description, layers, parents, size, created, last_used, uses"
_MANY: Final = 500  # values in one statement
_DESCRIPTION: Final = 4096  # characters


class Record(Struct, frozen=True, kw_only=True):
    """A result that can be used again.

    :param identity: of the vertex, as in `keys`.
    :param output: which of the vertex's.
    :param kind: as in `CacheRecord`.
    :param layers: numbers, bottom first.
    :param parents: IDs of the records that it lies upon.
    :param size: of the layers that its parents do not have, in bytes; None: not measured yet.
    :param created: nanoseconds since the epoch; `last_used` as well.
    """

    id: str
    identity: str
    output: int = 0
    kind: str = "regular"
    description: str = ""
    layers: tuple[int, ...] = ()
    parents: tuple[str, ...] = ()
    size: int | None = None
    created: int = 0
    last_used: int = 0
    uses: int = 1


def new_id() -> str:
    """A new ID of a record, of the form that BuildKit's have."""
    return f"{secrets.randbits(128):032x}"[:25]


class Records:
    """The tables ``build_records`` and ``build_keys``. Safe to use from several threads.

    :param database: not a durable connection: a commit must not wait for the disk.
    :param lookups: a connection of its own for looking up, which then waits for no commit; None: the same.
    """

    def __init__(self, database: Database, lookups: Database | None = None) -> None:
        self._database = database
        self._lookups = lookups or database
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._added: dict[tuple[str, int], Record] = {}
        self._linked: dict[str, str] = {}
        self._touched: dict[str, tuple[int, int]] = {}
        self._gone: set[str] = set()
        self._held: Counter[str] = Counter()
        self._children: Counter[str] = Counter()
        self._layers: Counter[int] = Counter()

    def load(self) -> list[Record]:
        """Count what lies upon what; returns all records. To be called before anything else."""
        records = self.all()
        for record in records:
            self._count(record)
        return records

    def _count(self, record: Record) -> None:
        self._children.update(record.parents)
        self._layers.update(record.layers)

    # --- looking up -------------------------------------------------------------------------------

    def find(self, identity: str, output: int = 0) -> Record | None:
        """The record of a result."""
        with self._lock:
            found = self._added.get((identity, output))
        if found is None:
            query = f"SELECT {_COLUMNS} FROM build_records WHERE identity = ? AND output = ?"
            found = next(iter(self._understood(self._lookups.rows(query, (identity, output)))), None)
        return None if found is None or found.id in self._gone else found

    def identity_of(self, fast_key: str) -> str | None:
        """The identity that a fast key led to before."""
        with self._lock:
            waiting = self._linked.get(fast_key)
        if waiting is not None:
            return waiting
        rows = self._lookups.rows("SELECT identity FROM build_keys WHERE key = ?", (fast_key,))
        return rows[0][0] if rows else None

    def all(self) -> list[Record]:
        """All records, without those that still wait to be written: `flush` comes first. May take long."""
        return self._understood(self._database.rows(f"SELECT {_COLUMNS} FROM build_records"))

    def _understood(self, rows: Iterable[tuple[Any, ...]]) -> list[Record]:
        found = []
        for row in rows:
            with understanding("a record of the build cache", row[0]):
                found.append(_record(row))
        return found

    # --- changing ---------------------------------------------------------------------------------

    def add(self, record: Record, lost: Record | None = None) -> None:
        """Add a record.

        :param lost: the one with its identity and output, which is replaced: its layers are gone.
        """
        record = msgspec.structs.replace(record, description=record.description[:_DESCRIPTION])
        with self._lock:
            if lost is not None:
                self._discount(lost)
            self._added[record.identity, record.output] = record
            self._count(record)

    def link(self, fast_key: str, identity: str) -> None:
        """A fast key leads to an identity from now on."""
        with self._lock:
            self._linked[fast_key] = identity

    def touch(self, identifier: str) -> None:
        """A record was used."""
        with self._lock:
            self._touched[identifier] = (time.time_ns(), self._touched.get(identifier, (0, 0))[1] + 1)

    def set_size(self, identifier: str, size: int) -> None:
        """Note a record's size."""
        self._database.write("UPDATE build_records SET size = ? WHERE id = ?", size, identifier)

    def take_out(self, record: Record, *, is_lost: bool = False) -> list[int] | None:
        """Nobody finds a record from now on; `delete` follows.

        :param is_lost: its layers are gone, whoever uses it.
        :return: the layers that no record has any more; None: it is in use, or others lie upon it.
        """
        with self._lock:
            needed = self._held[record.id] or self._children[record.id]
            if record.id in self._gone or (needed and not is_lost):
                return None
            self._gone.add(record.id)
            return self._discount(record)

    def put_back(self, record: Record) -> None:
        """A record that was taken out and could not be deleted is found again."""
        with self._lock:
            if record.id in self._gone:
                self._gone.discard(record.id)
                self._count(record)

    def _discount(self, record: Record) -> list[int]:
        for parent in record.parents:
            _count_down(self._children, parent)
        for number in record.layers:
            _count_down(self._layers, number)
        return [number for number in dict.fromkeys(record.layers) if not self._layers[number]]

    def delete(self, identifiers: Sequence[str]) -> None:
        """Delete rows of records that were taken out. Keys that lead to them stay: they are true."""
        self.flush()
        for start in range(0, len(identifiers), _MANY):
            some = identifiers[start : start + _MANY]
            marks = ", ".join("?" * len(some))
            self._database.write(f"DELETE FROM build_records WHERE id IN ({marks})", *some)
        with self._lock:
            self._gone.difference_update(identifiers)

    def layers(self) -> list[int]:
        """The layers that records have."""
        return list(self._layers)

    def has_layer(self, number: int) -> bool:
        """Whether a record has a layer."""
        return self._layers[number] > 0

    @property
    def has_unwritten(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._added or self._linked or self._touched)

    def flush(self) -> None:
        """Write what waits.

        :raises OutOfSpace: the disk is full; it goes on waiting.
        """
        with self._flushing:
            with self._lock:
                added, linked, touched = dict(self._added), dict(self._linked), dict(self._touched)
            if not (added or linked or touched):
                return
            now = time.time_ns()
            with self._database.transaction() as connection:
                marks = ", ".join("?" * 11)
                connection.executemany(
                    f"INSERT OR REPLACE INTO build_records ({_COLUMNS}) VALUES ({marks})", map(_row, added.values())
                )
                connection.executemany(
                    "INSERT OR REPLACE INTO build_keys (key, identity, used) VALUES (?, ?, ?)",
                    [(key, identity, now) for key, identity in linked.items()],
                )
                connection.executemany(
                    "UPDATE build_records SET last_used = ?, uses = uses + ? WHERE id = ?",
                    [(used, count, identifier) for identifier, (used, count) in touched.items()],
                )
            with self._lock:
                _subtract(self._added, added)
                _subtract(self._linked, linked)
                for identifier, (used, count) in touched.items():
                    self._subtract_use(identifier, used, count)

    def _subtract_use(self, identifier: str, used: int, count: int) -> None:
        now_used, now_count = self._touched[identifier]
        if now_count == count:
            del self._touched[identifier]
        else:
            self._touched[identifier] = (now_used, now_count - count)

    def forget_keys(self, most: int) -> None:
        """Bound the number of fast keys that are remembered; the oldest go."""
        self._database.write(
            "DELETE FROM build_keys WHERE key IN (SELECT key FROM build_keys ORDER BY used DESC LIMIT -1 OFFSET ?)",
            most,
        )

    # --- holding ----------------------------------------------------------------------------------

    def hold(self, identifier: str) -> None:
        """A record is in use, once more: it is not removed before as many calls of `release`."""
        with self._lock:
            self._held[identifier] += 1

    def release(self, identifier: str) -> None:
        """It is in use once less."""
        with self._lock:
            self._held[identifier] -= 1
            if self._held[identifier] <= 0:
                del self._held[identifier]

    def is_held(self, identifier: str) -> bool:
        """Whether it is in use."""
        return identifier in self._held


def _count_down(counter: Counter[Any], key: object) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _subtract(waiting: dict[Any, Any], written: dict[Any, Any]) -> None:
    for key, value in written.items():
        if waiting.get(key) is value:
            del waiting[key]


def _row(record: Record) -> tuple[Any, ...]:
    layers, parents = msgspec.json.encode(record.layers).decode(), msgspec.json.encode(record.parents).decode()
    return (
        *(record.id, record.identity, record.output, record.kind, record.description, layers, parents),
        *(record.size, record.created, record.last_used, record.uses),
    )


def _record(row: Sequence[Any]) -> Record:
    identifier, identity, output, kind, description, layers, parents, size, created, last_used, uses = row
    return Record(
        id=identifier,
        identity=identity,
        output=output,
        kind=kind,
        description=description,
        layers=msgspec.json.decode(layers, type=tuple[int, ...]),
        parents=msgspec.json.decode(parents, type=tuple[str, ...]),
        size=size,
        created=created,
        last_used=last_used,
        uses=uses,
    )
