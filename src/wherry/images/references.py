"""Who needs which blob and which layer: counted in the database, so that what nobody needs can go at once.

A *target* is a blob or an unpacked layer, an *owner* an image by its ID, or a name with a digest. Each row of the table
says that one owner needs one target; how many rows a target has is its reference count. What is only being brought in
belongs to no image yet: whoever does that holds a *lease*, which counts like an image. Leases are kept in memory, as
they end with the process: what a crash leaves has no row, and goes at the next start.

The rule for everybody who brings something in, be it a load, a pull, a build or a commit: *take the lease first*, then
look whether the thing is there, or make it. Then a collection may run at any moment, and waits for nobody.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from sqlite3 import Connection
from typing import Final

from wherry.content.store import ContentStore
from wherry.layers.database import Database
from wherry.layers.store import LayerStore, remove_tree
from wherry.oci.digest import Digest

__all__ = ["SCHEMA", "Lease", "References", "Target", "blob", "layer"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS refs (
    target TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (target, owner)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refs_by_owner ON refs (owner);
"""

#: ``("blob", digest)`` or ``("layer", chain ID)``.
Target = tuple[str, Digest]


def blob(digest: Digest) -> Target:
    """A blob of the content store."""
    return "blob", digest


def layer(chain: Digest) -> Target:
    """An unpacked layer, by its chain ID."""
    return "layer", chain


class References:
    """Counts references, and removes what has none. Safe to use from several threads.

    :param database: with the table of `SCHEMA`.
    """

    def __init__(self, database: Database, content: ContentStore, layers: LayerStore) -> None:
        self._database = database
        self._content = content
        self._layers = layers
        self._lock = threading.Lock()
        self._leased: Counter[Target] = Counter()

    def lease(self) -> Lease:
        """A lease for something that is brought in; for a ``with`` block."""
        return Lease(self)

    @staticmethod
    def add(connection: Connection, owner: str, targets: Iterable[Target]) -> None:
        """Note what an image needs, inside the transaction that makes it known."""
        rows = [(_key(target), owner) for target in targets]
        connection.executemany("INSERT OR IGNORE INTO refs VALUES (?, ?)", rows)

    @staticmethod
    def drop(connection: Connection, owner: str) -> list[Target]:
        """Forget what an image needs, inside the transaction that forgets it.

        :return: what it needed, to be collected afterwards.
        """
        rows = connection.execute("SELECT target FROM refs WHERE owner = ?", (owner,)).fetchall()
        connection.execute("DELETE FROM refs WHERE owner = ?", (owner,))
        return [_target(row[0]) for row in rows]

    def owners(self) -> set[str]:
        """All images, and names with a digest, that have references."""
        return {row[0] for row in self._database.rows("SELECT DISTINCT owner FROM refs")}

    def count(self, target: Target) -> int:
        """How many images and leases need something."""
        [[rows]] = self._database.rows("SELECT COUNT(*) FROM refs WHERE target = ?", (_key(target),))
        return int(rows) + self._leased[target]

    def collect(self, targets: Iterable[Target]) -> int:
        """Remove those that nobody needs.

        :return: the bytes that this gave back: of blobs, and of the files in layers.
        """
        with self._lock:
            doomed = [target for target in targets if not self.count(target)]
            freed = sum(self._delete_blob(digest) for kind, digest in doomed if kind == "blob")
            size, graves = self._layers.forget(chain for kind, chain in doomed if kind == "layer")
        for grave in graves:
            remove_tree(grave)
        return freed + size

    def collect_everything(self) -> int:
        """Remove all that nobody needs, even what nobody ever did: what a crash left; at start.

        :return: the bytes that this gave back.
        """
        blobs = [blob(digest) for digest, _ in list(self._content.walk())]
        return self.collect([*blobs, *(layer(one.chain_id) for one in self._layers)])

    def blobs(self) -> set[Digest]:
        """All blobs that something needs."""
        rows = self._database.rows("SELECT DISTINCT target FROM refs WHERE target LIKE 'blob %'")
        return {_target(row[0])[1] for row in rows} | {digest for kind, digest in self._leased if kind == "blob"}

    def take(self, targets: Iterable[Target]) -> None:
        """Count targets for a lease; from now on they are not collected."""
        with self._lock:
            self._leased.update(targets)

    def give_back(self, targets: Iterable[Target]) -> None:
        """End a lease's count, and collect what has no other."""
        given = list(targets)
        with self._lock:
            self._leased.subtract(given)
            for target in given:
                if not self._leased[target]:
                    del self._leased[target]
        self.collect(given)

    def _delete_blob(self, digest: Digest) -> int:
        size = self._content.size(digest) if digest in self._content else 0
        self._content.delete(digest)
        return size


class Lease:
    """What somebody who brings something in needs until an image owns it. Several threads may work under one.

    Leaving the ``with`` block ends it: what no image needs by then is removed.
    """

    def __init__(self, references: References) -> None:
        self._references = references
        self._lock = threading.Lock()
        self._targets: set[Target] = set()

    def blob(self, *digests: Digest) -> None:
        """Keep blobs; to be called before one looks whether they are there, and before they are committed."""
        self._take(blob(digest) for digest in digests)

    def layer(self, *chains: Digest) -> None:
        """Keep unpacked layers; to be called before one asks for them."""
        self._take(layer(chain) for chain in chains)

    def _take(self, targets: Iterable[Target]) -> None:
        with self._lock:
            new = set(targets) - self._targets
            self._references.take(new)
            self._targets |= new

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            targets, self._targets = self._targets, set()
        self._references.give_back(targets)


def _key(target: Target) -> str:
    return f"{target[0]} {target[1]}"


def _target(key: str) -> Target:
    kind, _, digest = key.partition(" ")
    return kind, Digest(digest)
