"""The containers' table: what is written is read back, by the next daemon too."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from wherry.engine.database import Database
from wherry.errors import CorruptData

PAGE: Final = 4096
FRAME: Final = 24 + PAGE  # SQLite's file format, 4.1: the header of a frame and one page


def test_what_was_written_is_there_for_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(Database(path)) as database:
        database.insert("1", "one", b"first", b"created")
        database.insert("2", "two", b"second", b"created")
        database.set_state("1", b"running")
        database.set_state("1", b"exited")
        database.set_definition("2", "deux", b"another")
    with closing(Database(path)) as database:
        assert sorted(database.rows()) == [("1", "one", b"first", b"exited"), ("2", "deux", b"another", b"created")]


def test_nothing_is_left_of_what_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(Database(path)) as database:
        database.insert("1", "one", b"first", b"created")
        database.set_state("1", b"running")
        database.delete("1")
        database.set_state("1", b"exited")  # told late: nobody's any more
        database.insert("1", "one", b"first", b"created")
        assert database.rows() == [("1", "one", b"first", b"created")]
        database.delete("1")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM states").fetchone() == (0,)


def test_a_state_is_one_page_whatever_the_definition(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(Database(path)) as database:
        database.insert("1", "one", bytes(8 * PAGE), b"created")
        database.set_state("1", b"running")
        log = Path(f"{path}-wal")
        before = log.stat().st_size
        database.set_state("1", b"exited")
        assert log.stat().st_size - before == FRAME


def test_rows_without_a_table_of_states_are_read(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, definition BLOB NOT NULL,"
            " state BLOB NOT NULL) WITHOUT ROWID"
        )
        connection.execute("INSERT INTO containers VALUES ('1', 'one', x'31', x'32')")
    with closing(Database(path)) as database:
        assert database.rows() == [("1", "one", b"1", b"2")]


def test_a_name_is_one_container_s(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "db")) as database:
        database.insert("1", "one", b"", b"")
        with pytest.raises(sqlite3.IntegrityError):
            database.insert("2", "one", b"", b"")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(CorruptData, match="cannot open the database"):
        Database(path)
