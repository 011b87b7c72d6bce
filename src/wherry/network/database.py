"""What outlives the daemon, in SQLite: networks, endpoints, and a few values by name.

The tables are in the engine's database, over a connection of their own. A row is written before anything is made in the
kernel and deleted after that is removed, so that whatever a crash leaves in the kernel has either a row or an alias of
ours without one (an orphan).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wherry.database.database import Database, understanding
from wherry.database.disk_reserve import Reserve
from wherry.network.model import Address, Endpoint, Network, Prefix

__all__ = ["NetworkDatabase"]

_T = TypeVar("_T", Network, Endpoint)


class NetworkDatabase:
    """The rows; used from the event loop's thread only.

    :param path: the database file; made when missing.
    :param reserve: what is given up when the disk is full.
    :ivar unreadable: the IDs of networks and endpoints whose rows this version does not understand; they are kept.
    :raises CorruptData: it is no SQLite database.
    :raises Unsupported: a newer version has written it.
    """

    def __init__(self, path: Path, reserve: Reserve | None = None) -> None:
        self._database = Database(path, reserve)
        self.unreadable: set[str] = set()

    def networks(self) -> list[Network]:
        """All networks, oldest first."""
        return sorted(
            self._read("SELECT id, definition FROM networks", Network, "a network"), key=lambda network: network.created
        )

    def endpoints(self) -> list[Endpoint]:
        """All endpoints."""
        return self._read("SELECT id, definition FROM endpoints", Endpoint, "an endpoint")

    def put_network(self, network: Network) -> None:
        """Write a network."""
        self._database.write(
            "INSERT OR REPLACE INTO networks (id, definition) VALUES (?, ?)", network.id, _encode(network)
        )

    def put_endpoint(self, endpoint: Endpoint) -> None:
        """Write an endpoint."""
        self._database.write(
            "INSERT OR REPLACE INTO endpoints (id, definition) VALUES (?, ?)", endpoint.id, _encode(endpoint)
        )

    def delete_network(self, identifier: str) -> None:
        """Remove a network; nothing happens when there is none."""
        self._database.write("DELETE FROM networks WHERE id = ?", identifier)

    def delete_endpoint(self, identifier: str) -> None:
        """Remove an endpoint, now or when there is room; nothing happens when there is none."""
        self._database.write_soon(identifier, "DELETE FROM endpoints WHERE id = ?", identifier)

    def value(self, name: str) -> str | None:
        """A stored value; None when there is none."""
        found = self._database.rows("SELECT value FROM network_words WHERE name = ?", (name,))
        return str(found[0][0]) if found else None

    def value_made_once(self, name: str, make: Callable[[], str]) -> str:
        """A value that is made the first time, and stays."""
        known = self.value(name)
        if known is None:
            known = make()
            self.set_value(name, known)
        return known

    def set_value(self, name: str, value: str) -> None:
        """Store a value."""
        self._database.write("INSERT OR REPLACE INTO network_words (name, value) VALUES (?, ?)", name, value)

    def delete_value(self, name: str) -> None:
        """Remove a value; nothing happens when there is none."""
        self._database.write("DELETE FROM network_words WHERE name = ?", name)

    def when_behind(self, action: Callable[[], None]) -> None:
        """Register a callback for when a row could not be removed; it has to have `flush` called later."""
        self._database.on_backlog = action

    def flush(self) -> bool:
        """Remove the rows that could not be removed; returns whether all are."""
        return self._database.flush()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _read(self, statement: str, kind: type[_T], what: str) -> list[_T]:
        found = []
        for identifier, definition in self._database.rows(statement):
            with understanding(what, identifier, partial(self.unreadable.add, identifier)):
                found.append(_decode(definition, kind))
        return found


def _encode(thing: Network | Endpoint) -> bytes:
    return msgspec.json.encode(thing, enc_hook=str)


def _decode(data: bytes, kind: type[_T]) -> _T:
    return msgspec.json.decode(data, type=kind, dec_hook=_from_text)


def _from_text(kind: Any, text: Any) -> Any:
    if kind is Prefix:
        return ip_network(text)
    return ip_address(text) if kind is Address else kind(text)
