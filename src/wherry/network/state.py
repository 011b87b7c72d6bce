"""What must outlive the daemon, in SQLite: networks, endpoints, a few words about the engine.

The tables are in the engine's database, over a connection of their own. A row is written before the kernel is told and
deleted after, so that whatever a crash leaves in the kernel has either a row or a name of ours without one.
"""

from __future__ import annotations

import sqlite3
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from wherry.errors import CorruptData, OutOfSpace, SystemFault
from wherry.network.model import Address, Endpoint, Network, Prefix

__all__ = ["State"]

# The log becomes a megabyte long at most: it is part of what a container costs on disk.
_PRAGMAS: Final = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=256;"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS networks (id TEXT PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endpoints (id TEXT PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS network_words (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_T = TypeVar("_T", Network, Endpoint)


class State:
    """The rows; used from the event loop's thread only.

    :param path: the database file; made when missing.
    :raises CorruptData: it is no SQLite database.
    """

    def __init__(self, path: Path) -> None:
        opened = None
        try:
            self._connection = opened = sqlite3.connect(path, isolation_level=None, cached_statements=16, timeout=10)
            opened.executescript(_PRAGMAS + _SCHEMA)
        except sqlite3.DatabaseError as exc:
            if opened is not None:
                opened.close()
            raise CorruptData(f"cannot open the database '{path}'", cause=str(exc)) from exc

    def networks(self) -> list[Network]:
        """All networks, oldest first.

        :raises CorruptData: a row cannot be read.
        """
        return sorted(self._read("SELECT definition FROM networks", Network), key=lambda network: network.created)

    def endpoints(self) -> list[Endpoint]:
        """All endpoints.

        :raises CorruptData: a row cannot be read.
        """
        return self._read("SELECT definition FROM endpoints", Endpoint)

    def put_network(self, network: Network) -> None:
        """Write a network."""
        self._write("INSERT OR REPLACE INTO networks VALUES (?, ?)", network.id, _encode(network))

    def put_endpoint(self, endpoint: Endpoint) -> None:
        """Write an endpoint."""
        self._write("INSERT OR REPLACE INTO endpoints VALUES (?, ?)", endpoint.id, _encode(endpoint))

    def delete_network(self, identifier: str) -> None:
        """Remove a network; nothing happens when there is none."""
        self._write("DELETE FROM networks WHERE id = ?", identifier)

    def delete_endpoint(self, identifier: str) -> None:
        """Remove an endpoint; nothing happens when there is none."""
        self._write("DELETE FROM endpoints WHERE id = ?", identifier)

    def word(self, name: str) -> str | None:
        """Something that was noted down."""
        row = self._connection.execute("SELECT value FROM network_words WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_word(self, name: str, value: str) -> None:
        """Note something down."""
        self._write("INSERT OR REPLACE INTO network_words VALUES (?, ?)", name, value)

    def delete_word(self, name: str) -> None:
        """Forget what was noted down; nothing happens when there is nothing."""
        self._write("DELETE FROM network_words WHERE name = ?", name)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _read(self, statement: str, kind: type[_T]) -> list[_T]:
        try:
            return [_decode(row[0], kind) for row in self._connection.execute(statement)]
        except msgspec.MsgspecError as exc:
            raise CorruptData(f"a row of the table of {kind.__name__.lower()}s cannot be read", cause=str(exc)) from exc

    def _write(self, statement: str, *values: object) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.OperationalError as exc:
            kind = OutOfSpace if "full" in str(exc) else SystemFault
            raise kind("cannot write to the database", cause=str(exc)) from exc


def _encode(thing: Network | Endpoint) -> bytes:
    return msgspec.json.encode(thing, enc_hook=str)


def _decode(data: bytes, kind: type[_T]) -> _T:
    return msgspec.json.decode(data, type=kind, dec_hook=_from_text)


def _from_text(kind: Any, text: Any) -> Any:
    if kind is Prefix:
        return ip_network(text)
    return ip_address(text) if kind is Address else kind(text)
