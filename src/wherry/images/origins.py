"""What is known of layers in registries: where a blob was seen, and what an uncompressed layer became when it was sent.

Only hints: a push asks the registry before it relies on one. They save bytes, never decide what they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from wherry.layers.database import Database
from wherry.oci.digest import Digest

__all__ = ["SCHEMA", "Origins", "Packed"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS origins (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, repository)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS packed_layers (
    blob TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL
) WITHOUT ROWID;
"""
_MOST: Final = 50  # repositories that are remembered for one blob


class Packed(NamedTuple):
    """What a blob became when it was compressed."""

    digest: Digest
    size: int


class Origins:
    """The hints of one data root. Safe to use from several threads.

    :param database: with the tables of `SCHEMA`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, digests: Collection[Digest], repository: str) -> None:
        """Blobs are in a repository, by its full name: ``docker.io/library/debian``."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO origins SELECT ?, ? WHERE (SELECT count(*) FROM origins WHERE digest = ?) < ?",
                [(str(digest), repository, str(digest), _MOST) for digest in digests],
            )

    def repositories(self, digest: Digest) -> Sequence[str]:
        """The repositories in which a blob was seen."""
        rows = self._database.rows("SELECT repository FROM origins WHERE digest = ?", (str(digest),))
        return [row[0] for row in rows]

    def forget(self, digest: Digest, repository: str) -> None:
        """A blob is not in a repository any more."""
        with self._database.transaction() as connection:
            values = (str(digest), repository)
            connection.execute("DELETE FROM origins WHERE digest = ? AND repository = ?", values)

    def packed(self, blob: Digest) -> Packed | None:
        """What a blob became when it was compressed the last time; the same bytes always become the same."""
        rows = self._database.rows("SELECT digest, size FROM packed_layers WHERE blob = ?", (str(blob),))
        return Packed(Digest(rows[0][0]), rows[0][1]) if rows else None

    def pack(self, blob: Digest, packed: Packed) -> None:
        """Remember what a blob became."""
        with self._database.transaction() as connection:
            values = (str(blob), str(packed.digest), packed.size)
            connection.execute("REPLACE INTO packed_layers VALUES (?, ?, ?)", values)

    def retain(self, blobs: Collection[Digest]) -> None:
        """Forget everything about blobs that are not among `blobs`."""
        rows = self._database.rows("SELECT blob, digest FROM packed_layers")
        gone = {blob for blob, _ in rows} - {str(blob) for blob in blobs}
        kept = {str(blob) for blob in blobs} | {digest for blob, digest in rows if blob not in gone}
        lost = {row[0] for row in self._database.rows("SELECT DISTINCT digest FROM origins")} - kept
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM packed_layers WHERE blob = ?", [(blob,) for blob in gone])
            connection.executemany("DELETE FROM origins WHERE digest = ?", [(digest,) for digest in lost])
