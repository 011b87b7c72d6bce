"""A transaction happens whole or not at all, and its error is that of what failed."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from wherry.database.database import Database
from wherry.errors import SystemFault


@pytest.mark.parametrize("durable", [True, False])
def test_the_error_is_told_when_sqlite_has_ended_the_transaction_for_it(tmp_path: Path, durable: bool) -> None:
    # SQLite ends the transaction itself for some errors, that of a full disk among them (lang_transaction.html)
    with closing(Database(tmp_path / "db", durable=durable)) as database:
        database.write("CREATE TABLE things (name TEXT)")
        database.write(
            "CREATE TRIGGER full BEFORE INSERT ON things WHEN new.name = 'large' BEGIN"
            " SELECT RAISE(ROLLBACK, 'there is no room'); END"
        )
        with pytest.raises(SystemFault, match="there is no room"), database.transaction() as connection:
            connection.executemany("INSERT INTO things VALUES (?)", [("small",), ("large",)])
        assert database.rows("SELECT name FROM things") == []
        with database.transaction() as connection:
            connection.execute("INSERT INTO things VALUES ('small')")
        assert database.rows("SELECT name FROM things") == [("small",)]


def test_all_connections_follow_one_policy(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "db")) as one, closing(Database(tmp_path / "db", durable=True)) as other:
        policies = [
            [database.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "wal_autocheckpoint", "busy_timeout")]
            for database in (one, other)
        ]
        assert policies == [["wal", 256, 10_000]] * 2
        assert [database.rows("PRAGMA synchronous") for database in (one, other)] == [[(1,)], [(2,)]]


def test_a_writer_gets_its_turn_among_another_s_transactions(tmp_path: Path) -> None:
    # SQLite's own waiting polls: who writes again and again overtakes who waits, for seconds
    ended = threading.Event()
    with closing(Database(tmp_path / "db")) as loop, closing(Database(tmp_path / "db", durable=True)) as images:

        def write_again_and_again() -> None:
            while not ended.is_set():
                with images.transaction() as connection:
                    connection.execute("REPLACE INTO names VALUES ('name', 'image')")
                    ended.wait(0.03)
                time.sleep(0.001)

        writer = threading.Thread(target=write_again_and_again)
        writer.start()
        began = time.monotonic()
        for number in range(10):
            loop.write("INSERT INTO network_words VALUES (?, 'value')", str(number))
        taken = time.monotonic() - began
        ended.set()
        writer.join()
        assert len(loop.rows("SELECT * FROM network_words")) == 10
        assert taken < 10
