"""The packages of an RPM database (``rpmdb.sqlite``): headers as ``lib/header.c`` of rpm writes them, read strictly."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from typing import Final, NamedTuple

from wherry.errors import CorruptData

__all__ = ["RpmPackage", "rpm_packages"]

_NAME, _VERSION, _RELEASE, _EPOCH, _LICENSE, _ARCHITECTURE = 1000, 1001, 1002, 1003, 1014, 1022
_INT32, _STRING, _I18N_STRING = 4, 6, 9
_ENTRY: Final = struct.Struct(">IiiI")
_MAX_ENTRIES: Final = 65535
_MOST: Final = 100_000
_TURN: Final = 10_000  # of SQLite's own instructions
_MOST_TURNS: Final = 10_000
# No view, whose reading might never end, and no virtual table.
_IS_TABLE: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'Packages' AND rootpage > 0"


class RpmPackage(NamedTuple):
    """One package."""

    name: str
    version: str
    architecture: str
    license: str


def rpm_packages(data: bytes, check: Callable[[], None]) -> Iterator[RpmPackage]:
    """The packages in a database's file.

    :param check: called often.
    :raises CorruptData: it is none, or takes too long to be read.
    """
    turns = count()

    def tick() -> int:
        check()
        return next(turns) > _MOST_TURNS

    with closing(sqlite3.connect(":memory:")) as database:
        database.set_progress_handler(tick, _TURN)
        try:
            database.deserialize(_without_log(data))
            database.execute("PRAGMA trusted_schema = OFF")
            if not database.execute(_IS_TABLE).fetchall():
                raise CorruptData("the RPM database has no packages")
            for (blob,) in database.execute("SELECT blob FROM Packages LIMIT ?", (_MOST,)):
                if isinstance(blob, bytes) and (found := _package(blob)):
                    yield found
        except (sqlite3.Error, OverflowError) as exc:
            raise CorruptData("the RPM database cannot be read", cause=str(exc)) from exc


def _without_log(data: bytes) -> bytes:
    """A database whose header does not ask for a log beside it (sqlite.org/fileformat2.html, 1.3.3)."""
    if data[:16] != b"SQLite format 3\0" or len(data) < 512:
        raise CorruptData("the RPM database is no SQLite file")
    return data[:18] + b"\1\1" + data[20:]


def _package(blob: bytes) -> RpmPackage | None:
    """A header: counts of entries and bytes, the entries, the bytes that they point into."""
    if len(blob) < 8:
        return None
    entries, length = struct.unpack_from(">II", blob)
    begin = 8 + entries * _ENTRY.size
    if entries > _MAX_ENTRIES or begin + length > len(blob):
        return None
    store = blob[begin : begin + length]
    found: dict[int, str] = {}
    for tag, kind, offset, _ in _ENTRY.iter_unpack(blob[8:begin]):
        if tag in (_NAME, _VERSION, _RELEASE, _LICENSE, _ARCHITECTURE) and kind in (_STRING, _I18N_STRING):
            if 0 <= offset < length:
                found[tag] = store[offset : store.find(b"\0", offset)].decode(errors="replace")
        elif tag == _EPOCH and kind == _INT32 and 0 <= offset <= length - 4:
            found[tag] = str(int.from_bytes(store[offset : offset + 4], "big"))
    version = f"{found.get(_VERSION, '')}-{found.get(_RELEASE, '')}".strip("-")
    if found.get(_EPOCH, "0") != "0":
        version = f"{found[_EPOCH]}:{version}"
    return RpmPackage(found.get(_NAME, ""), version, found.get(_ARCHITECTURE, ""), found.get(_LICENSE, ""))
