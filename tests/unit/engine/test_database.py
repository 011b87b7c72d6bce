"""The containers' table: what is written is read back, by the next daemon too."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from wherry.database.database import WAL_SIZE
from wherry.engine.container.database import ContainerDatabase
from wherry.errors import CorruptData, OutOfSpace, SystemFault, Unsupported

PAGE: Final = 4096


def test_what_was_written_is_there_for_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(ContainerDatabase(path)) as database:
        database.insert("1", "one", b"first", b"created")
        database.insert("2", "two", b"second", b"created")
        database.set_state("1", b"running")
        database.set_state("1", b"exited")
        database.set_definition("2", "deux", b"another")
    with closing(ContainerDatabase(path)) as database:
        assert sorted(database.rows()) == [("1", "one", b"first", b"exited"), ("2", "deux", b"another", b"created")]


def test_nothing_is_left_of_what_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(ContainerDatabase(path)) as database:
        database.insert("1", "one", b"first", b"created")
        database.set_state("1", b"running")
        database.delete("1")
        database.set_state("1", b"exited")  # told late: nobody's any more
        database.insert("1", "one", b"first", b"created")
        assert list(database.rows()) == [("1", "one", b"first", b"created")]
        database.delete("1")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM states").fetchone() == (0,)


def test_a_state_is_one_page_whatever_the_definition(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(ContainerDatabase(path)) as database:
        database.insert("1", "one", bytes(8 * PAGE), b"created")
        database.set_state("1", b"running")
        assert pages_in_log(path) > 1
        database.set_state("1", b"exited")  # the log begins anew, as all of it is in the database now
        assert pages_in_log(path) == 1


def pages_in_log(path: Path) -> int:
    """Move what is in the log to where it belongs, and return how much that was."""
    with closing(sqlite3.connect(path)) as connection:
        _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)


def test_the_log_has_its_room_before_it_is_needed(tmp_path: Path) -> None:
    with closing(ContainerDatabase(tmp_path / "db")):
        log = (tmp_path / "db-wal").stat()
        assert log.st_size == WAL_SIZE
        assert log.st_blocks * 512 >= WAL_SIZE
    with closing(ContainerDatabase(tmp_path / "db")) as database:
        assert list(database.rows()) == []


def test_what_happened_is_written_when_there_is_room_again(tmp_path: Path) -> None:
    path, told = tmp_path / "db", list[int]()
    with closing(ContainerDatabase(path)) as database:
        database.when_behind(lambda: told.append(1))
        database.insert("1", "one", b"first", b"created")
        database._database._connection.execute("PRAGMA max_page_count=1")  # no page can be added any more
        database.set_state("1", bytes(20 * PAGE))
        assert (told, database.flush()) == ([1], False)
        with pytest.raises(OutOfSpace):
            database.insert("2", "two", bytes(20 * PAGE), b"created")
        database.set_state("1", bytes(21 * PAGE))  # the last one counts
        database._database._connection.execute("PRAGMA max_page_count=1000")
        assert database.flush()
        assert list(database.rows()) == [("1", "one", b"first", bytes(21 * PAGE))]


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    ContainerDatabase(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    with pytest.raises(Unsupported, match="newer version: its tables are version 99"):
        ContainerDatabase(path)
    assert path.read_bytes() == before


def test_a_column_that_was_added_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "db"
    ContainerDatabase(path).close()
    with closing(sqlite3.connect(path)) as connection:
        for table in ("containers", "states"):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN more TEXT")
    with closing(ContainerDatabase(path)) as database:
        database.insert("1", "one", b"first", b"created")
        database.set_state("1", b"running")
        database.set_definition("1", "uno", b"second")
        assert list(database.rows()) == [("1", "uno", b"second", b"running")]


def test_rows_without_a_table_of_states_are_read(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, definition BLOB NOT NULL,"
            " state BLOB NOT NULL) WITHOUT ROWID"
        )
        connection.execute("INSERT INTO containers VALUES ('1', 'one', x'31', x'32')")
    with closing(ContainerDatabase(path)) as database:
        assert list(database.rows()) == [("1", "one", b"1", b"2")]


def test_a_name_is_one_container_s(tmp_path: Path) -> None:
    with closing(ContainerDatabase(tmp_path / "db")) as database:
        database.insert("1", "one", b"", b"")
        with pytest.raises(SystemFault, match="UNIQUE"):
            database.insert("2", "one", b"", b"")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(CorruptData, match="cannot open the database"):
        ContainerDatabase(path)
