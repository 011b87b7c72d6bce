"""The tables of ``wherry.db``, and the numbered migrations from one version of them to the next.

The file's version is ``PRAGMA user_version``. `migrate` brings a file to the newest version; it runs whenever the file
is opened, before anything else is read or written. Rules for a new migration:

- Append it to `MIGRATIONS`, with the next number. A migration that was released never changes.
- It runs in one transaction, together with its number: a crash leaves the old version or the new one.
- A program refuses a file whose version is higher than the newest that it knows. So every migration, however small,
  makes the file unreadable for the versions before.
- It may have to run on a full disk: rewriting large tables needs a reason.

Version 1 was made table by table, by whichever part needed a table first. So a file of version 1 may lack some of its
tables, and gets them.

The state of a container is in two columns, ``containers.state`` (from its creation) and ``states.state`` (each change
since), by intent: a start then writes one page and not all those that a definition takes. To merge them would rewrite
the table of containers, which may not fit on a full disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from wherry.errors import Unsupported

__all__ = ["MIGRATIONS", "Migration", "check_version", "migrate"]


class Migration(NamedTuple):
    """One step from the version before to `number`.

    :param purpose: for people who read this file.
    :param apply: changes the tables; runs inside a transaction and must not end it.
    """

    number: int
    purpose: str
    apply: Callable[[sqlite3.Connection], object]


_VERSION_1: Final = {
    # engine/container
    "containers": """
CREATE TABLE IF NOT EXISTS containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    definition BLOB NOT NULL,
    state BLOB NOT NULL
) WITHOUT ROWID""",
    "states": """
CREATE TABLE IF NOT EXISTS states (
    id TEXT PRIMARY KEY,
    state BLOB NOT NULL
) WITHOUT ROWID""",
    "containers_end": """
CREATE TRIGGER IF NOT EXISTS containers_end AFTER DELETE ON containers BEGIN
    DELETE FROM states WHERE id = old.id;
END""",
    # network
    "networks": """
CREATE TABLE IF NOT EXISTS networks (id TEXT PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID""",
    "endpoints": """
CREATE TABLE IF NOT EXISTS endpoints (id TEXT PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID""",
    "network_words": """
CREATE TABLE IF NOT EXISTS network_words (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID""",
    # layers
    "layers": """
CREATE TABLE IF NOT EXISTS layers (
    number INTEGER PRIMARY KEY,
    chain_id TEXT NOT NULL UNIQUE,
    diff_id TEXT NOT NULL,
    parent TEXT,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL
)""",
    "seals": """
CREATE TABLE IF NOT EXISTS seals (
    number INTEGER PRIMARY KEY,
    seal TEXT NOT NULL
)""",
    # images
    "images": """
CREATE TABLE IF NOT EXISTS images (
    id TEXT PRIMARY KEY,
    manifest TEXT NOT NULL,
    added INTEGER NOT NULL,
    parts TEXT NOT NULL,
    built_in INTEGER NOT NULL,
    removed INTEGER NOT NULL
) WITHOUT ROWID""",
    "names": """
CREATE TABLE IF NOT EXISTS names (
    name TEXT PRIMARY KEY,
    image TEXT NOT NULL
) WITHOUT ROWID""",
    "indexes": """
CREATE TABLE IF NOT EXISTS indexes (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL
) WITHOUT ROWID""",
    "refs": """
CREATE TABLE IF NOT EXISTS refs (
    target TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (target, owner)
) WITHOUT ROWID""",
    "refs_by_owner": "CREATE INDEX IF NOT EXISTS refs_by_owner ON refs (owner)",
    "origins": """
CREATE TABLE IF NOT EXISTS origins (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, repository)
) WITHOUT ROWID""",
    "packed_layers": """
CREATE TABLE IF NOT EXISTS packed_layers (
    blob TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL
) WITHOUT ROWID""",
    # how many changes about images there were; see `witness`
    "changes": """
CREATE TABLE IF NOT EXISTS changes (id INTEGER PRIMARY KEY CHECK (id = 0), number INTEGER NOT NULL)""",
}
"""What version 1 consists of, by name."""


def _make_version_1(connection: sqlite3.Connection) -> None:
    for statement in _VERSION_1.values():
        connection.execute(statement)


# A layer that the builder keeps; see `wherry.build.snapshots.rows`. A number is never given twice (AUTOINCREMENT): what
# is remembered of one must not come to mean another.
_BUILD_LAYERS: Final = """
CREATE TABLE IF NOT EXISTS build_layers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    unsynced_since TEXT NOT NULL,
    diff_id TEXT,
    blob TEXT,
    blob_size INTEGER,
    media_type TEXT,
    seal TEXT
)"""


def _add_build_layers(connection: sqlite3.Connection) -> None:
    connection.execute(_BUILD_LAYERS)


# The build cache and the builds of the past; see `wherry.build.cache` and `wherry.build.history`.
_BUILD_CACHE: Final = (
    """
CREATE TABLE build_records (
    id TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    output INTEGER NOT NULL,
    kind TEXT NOT NULL,
    description TEXT NOT NULL,
    layers TEXT NOT NULL,
    parents TEXT NOT NULL,
    size INTEGER,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    UNIQUE (identity, output)
) WITHOUT ROWID""",
    """
CREATE TABLE build_keys (
    key TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    used INTEGER NOT NULL
) WITHOUT ROWID""",
    """
CREATE TABLE build_directories (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    description TEXT NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    size INTEGER
)""",
    "CREATE TABLE build_words (name TEXT PRIMARY KEY, value TEXT NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID",
    """
CREATE TABLE build_history (
    ref TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID""",
)


def _add_build_cache(connection: sqlite3.Connection) -> None:
    for statement in _BUILD_CACHE:
        connection.execute(statement)


# Directories with a limit on their size; see `wherry.layers.projects`. A number is never given twice.
_PROJECTS: Final = """
CREATE TABLE projects (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL UNIQUE
)"""


def _add_projects(connection: sqlite3.Connection) -> None:
    connection.execute(_PROJECTS)


# See `wherry.volumes.store`.
_VOLUMES: Final = "CREATE TABLE volumes (name TEXT PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID"


def _add_volumes(connection: sqlite3.Connection) -> None:
    connection.execute(_VOLUMES)


MIGRATIONS: Final = (
    Migration(1, "the tables of the first versions", _make_version_1),
    Migration(2, "layers of the builder", _add_build_layers),
    Migration(3, "the build cache", _add_build_cache),
    Migration(4, "project quotas", _add_projects),
    Migration(5, "volumes", _add_volumes),
)


def check_version(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Refuse a file that a newer program has migrated; writes nothing.

    :raises Unsupported: its version is unknown.
    """
    found, known = _version(connection), migrations[-1].number
    if found > known:
        raise Unsupported(
            f"the database '{path}' was written by a newer version: its tables are version {found}, "
            f"this program knows version {known}",
            hint="start the newer version, or give this one another --data-root",
        )


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the tables to the newest version, step by step.

    :param connection: in autocommit mode, its version checked.
    :raises sqlite3.DatabaseError: a step failed; the file has the version of the step before.
    """
    for migration in migrations:
        if migration.number > _reached(connection):
            _run(connection, migration)


def _run(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if migration.number > _reached(connection):  # another process may have run it while this one waited
            migration.apply(connection)
            connection.execute(f"PRAGMA user_version={migration.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # an error like that of a full disk may have ended it
            connection.execute("ROLLBACK")
        raise


def _reached(connection: sqlite3.Connection) -> int:
    """The file's version; 0 for one of version 1 that lacks tables of that version."""
    version = _version(connection)
    return 0 if version == 1 and not _is_whole(connection) else version


def _version(connection: sqlite3.Connection) -> int:
    [[found]] = connection.execute("PRAGMA user_version")
    return int(found)


def _is_whole(connection: sqlite3.Connection) -> bool:
    """Whether a file of version 1 has all of that version's tables."""
    return _VERSION_1.keys() <= {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
