"""A database of an earlier version is migrated, step by step, and keeps what is in it."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from support import old_data_root
from wherry.database.database import Database
from wherry.database.schema import MIGRATIONS, Migration
from wherry.engine.container.database import ContainerDatabase
from wherry.errors import CorruptData, Unsupported
from wherry.images.store import ImageStore
from wherry.network.database import NetworkDatabase

NEWEST: Final = MIGRATIONS[-1].number


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        [[found]] = connection.execute("PRAGMA user_version")
        return int(found)


def names(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")}


def adding(*statements: str) -> Callable[[sqlite3.Connection], object]:
    def apply(connection: sqlite3.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    return apply


NEXT: Final = Migration(NEWEST + 1, "a table", adding("CREATE TABLE things (name TEXT)"))
AFTER: Final = Migration(NEWEST + 2, "a row", adding("INSERT INTO things VALUES ('one')"))


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(1, NEWEST + 1))


def test_a_new_database_has_the_newest_version(tmp_path: Path) -> None:
    Database(tmp_path / "db").close()
    assert version(tmp_path / "db") == NEWEST


def test_the_tables_of_a_new_database_are_those_of_a_migrated_one(tmp_path: Path) -> None:
    old = old_data_root.make(tmp_path / "old")
    Database(old).close()
    Database(tmp_path / "new").close()
    assert names(old) == names(tmp_path / "new")


def test_containers_images_and_networks_of_version_1_are_kept(tmp_path: Path) -> None:
    path = old_data_root.make(tmp_path)
    with closing(ContainerDatabase(path)) as containers:
        rows = {name: (identifier, state) for identifier, name, _, state in containers.rows()}
        assert {name: identifier for name, (identifier, _) in rows.items()} == old_data_root.CONTAINERS
        assert {name: b'"status":"%s"' % name.encode() in state for name, (_, state) in rows.items()} == {
            "created": True,
            "exited": True,
            "running": True,
        }
    with closing(NetworkDatabase(path)) as networks:
        assert {network.name: network.id for network in networks.networks()} == old_data_root.NETWORKS
        [endpoint] = networks.endpoints()
        assert (endpoint.owner, str(endpoint.ipv4)) == (old_data_root.CONTAINERS["running"], "10.241.7.2")
        assert networks.value("ula") == "fd03:d6d2:a936::/48"
        assert not networks.unreadable
    with closing(ImageStore(tmp_path)) as images:
        assert images.resolve("small:1").repo_tags == ["small:1", "team/small:2"]
        assert images.resolve("host").built_in
        assert [layer.number for layer in images.resolve("team/small:2").layers] == [2]
    assert version(path) == NEWEST


def test_a_table_that_a_database_of_version_1_lacks_is_made(tmp_path: Path) -> None:
    path = old_data_root.make(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE packed_layers")
    with closing(Database(path)) as database:
        assert database.rows("SELECT * FROM packed_layers") == []
        assert len(database.rows("SELECT * FROM containers")) == len(old_data_root.CONTAINERS)


def test_steps_run_in_order_and_once(tmp_path: Path) -> None:
    path = old_data_root.make(tmp_path)
    for _ in range(2):
        with closing(Database(path, migrations=[*MIGRATIONS, NEXT, AFTER])) as database:
            assert database.rows("SELECT * FROM things") == [("one",)]
    assert version(path) == AFTER.number


def test_of_several_that_open_the_file_at_once_one_runs_a_step(tmp_path: Path) -> None:
    path = old_data_root.make(tmp_path)
    started = threading.Barrier(4)

    def slow(connection: sqlite3.Connection) -> None:
        time.sleep(0.2)  # while the others have read the version before, and wait
        connection.execute("CREATE TABLE things (name TEXT)")

    def open_one(_: int) -> list[tuple[str]]:
        started.wait()
        with closing(Database(path, migrations=[*MIGRATIONS, Migration(NEXT.number, "slow", slow), AFTER])) as database:
            return database.rows("SELECT * FROM things")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(open_one, range(4))) == [[("one",)]] * 4


def test_a_step_that_fails_leaves_the_version_before(tmp_path: Path) -> None:
    path = old_data_root.make(tmp_path)
    failing = Migration(AFTER.number, "half", adding("INSERT INTO things VALUES ('half')", "SELECT nothing"))
    with pytest.raises(CorruptData, match="cannot open the database"):
        Database(path, migrations=[*MIGRATIONS, NEXT, failing])
    assert version(path) == NEXT.number
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM things").fetchall() == []


def test_a_program_that_is_killed_within_a_step_leaves_the_version_before(tmp_path: Path) -> None:
    path = old_data_root.make(tmp_path)

    def die(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO things VALUES ('half')")
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        Database(path, migrations=[*MIGRATIONS, NEXT, Migration(AFTER.number, "half", die)])
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert version(path) == NEXT.number
    with closing(Database(path, migrations=[*MIGRATIONS, NEXT, AFTER])) as database:
        assert database.rows("SELECT * FROM things") == [("one",)]


def test_a_program_that_knows_no_such_version_refuses_it_and_writes_nothing(tmp_path: Path) -> None:
    path = old_data_root.make(tmp_path)
    Database(path, migrations=[*MIGRATIONS, NEXT]).close()
    before = path.read_bytes()
    with pytest.raises(Unsupported, match=f"tables are version {NEXT.number}, this program knows version {NEWEST}"):
        Database(path)
    assert path.read_bytes() == before
