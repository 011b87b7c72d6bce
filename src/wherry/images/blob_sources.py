"""Repositories in which blobs were seen, and the compressed digests of pushed layers (containerd: distribution.source).

Only hints: a push asks the registry before it relies on one. They save bytes, never decide what they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from wherry.database.database import Database
from wherry.oci.digest import Digest

__all__ = ["BlobSources", "Packed"]

_MOST: Final = 50  # repositories that are remembered for one blob


class Packed(NamedTuple):
    """Digest and size of a blob's compressed form."""

    digest: Digest
    size: int


class BlobSources:
    """The hints of one data root. Safe to use from several threads.

    :param database: the engine's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, digests: Collection[Digest], repository: str) -> None:
        """Blobs are in a repository, by its full name: ``docker.io/library/debian``."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO origins (digest, repository) "
                "SELECT ?, ? WHERE (SELECT count(*) FROM origins WHERE digest = ?) < ?",
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
        """The compressed form of a blob from its last push; compression is reproducible."""
        rows = self._database.rows("SELECT digest, size FROM packed_layers WHERE blob = ?", (str(blob),))
        return Packed(Digest(rows[0][0]), rows[0][1]) if rows else None

    def pack(self, blob: Digest, packed: Packed) -> None:
        """Record the compressed form of a blob."""
        with self._database.transaction() as connection:
            values = (str(blob), str(packed.digest), packed.size)
            connection.execute("REPLACE INTO packed_layers (blob, digest, size) VALUES (?, ?, ?)", values)

    def retain(self, blobs: Collection[Digest]) -> None:
        """Forget everything about blobs that are not among `blobs`."""
        rows = self._database.rows("SELECT blob, digest FROM packed_layers")
        gone = {blob for blob, _ in rows} - {str(blob) for blob in blobs}
        kept = {str(blob) for blob in blobs} | {digest for blob, digest in rows if blob not in gone}
        lost = {row[0] for row in self._database.rows("SELECT DISTINCT digest FROM origins")} - kept
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM packed_layers WHERE blob = ?", [(blob,) for blob in gone])
            connection.executemany("DELETE FROM origins WHERE digest = ?", [(digest,) for digest in lost])
