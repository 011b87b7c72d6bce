"""Reference counts of blobs and layers in the database, so that what nothing references is removed at once.

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

from wherry.content.durable import remove_tree
from wherry.content.store import ContentStore
from wherry.database.database import Database
from wherry.layers.store import LayerStore
from wherry.oci.digest import Digest

__all__ = ["BUILD_OWNER", "Lease", "ReferenceCounts", "Target", "blob", "layer"]

#: What the owners begin with that are layers of the build cache, by their number; others are images and names.
BUILD_OWNER: Final = "build:"


#: ``("blob", digest)`` or ``("layer", chain ID)``.
Target = tuple[str, Digest]


def blob(digest: Digest) -> Target:
    """A blob of the content store."""
    return "blob", digest


def layer(chain_id: Digest) -> Target:
    """An unpacked layer, by its chain ID."""
    return "layer", chain_id


class ReferenceCounts:
    """Counts references and removes unreferenced content. Thread-safe.

    :param database: the engine's.
    """

    def __init__(self, database: Database, content: ContentStore, layers: LayerStore) -> None:
        self._database = database
        self._content = content
        self._layers = layers
        self._lock = threading.Lock()
        self._leased: Counter[Target] = Counter()
        self._spared: frozenset[Target] = frozenset()

    def lease(self) -> Lease:
        """A lease for something that is brought in; for a ``with`` block."""
        return Lease(self)

    @staticmethod
    def add(connection: Connection, owner: str, targets: Iterable[Target]) -> None:
        """Add an image's references, inside the transaction that adds the image."""
        rows = [(_key(target), owner) for target in targets]
        connection.executemany("INSERT OR IGNORE INTO refs (target, owner) VALUES (?, ?)", rows)

    @staticmethod
    def drop(connection: Connection, owner: str) -> list[Target]:
        """Delete an image's references, inside the transaction that deletes the image.

        :return: what it needed, to be collected afterwards.
        """
        rows = connection.execute("SELECT target FROM refs WHERE owner = ?", (owner,)).fetchall()
        connection.execute("DELETE FROM refs WHERE owner = ?", (owner,))
        return [_target(row[0]) for row in rows]

    @staticmethod
    def drop_some(connection: Connection, owner: str, targets: Iterable[Target]) -> list[Target]:
        """Delete some of an image's references, inside a transaction.

        :return: them, to be collected afterwards.
        """
        dropped = list(targets)
        rows = [(owner, _key(target)) for target in dropped]
        connection.executemany("DELETE FROM refs WHERE owner = ? AND target = ?", rows)
        return dropped

    def keep(self, owner: str, targets: Iterable[Target]) -> None:
        """Add references of an owner that has no row of its own to be written with them."""
        with self._database.transaction() as connection:
            self.add(connection, owner, targets)

    def let_go(self, owners: Iterable[str]) -> int:
        """Delete all references of such owners, and remove what nothing needs any more.

        :return: the bytes that this gave back.
        """
        with self._database.transaction() as connection:
            dropped = [target for owner in owners for target in self.drop(connection, owner)]
        return self.delete_unreferenced(dropped)

    def owners(self) -> set[str]:
        """All images, names with a digest, and layers of the build cache, that have references."""
        return {row[0] for row in self._database.rows("SELECT DISTINCT owner FROM refs")}

    def count(self, target: Target) -> int:
        """How many images and leases need something."""
        [[rows]] = self._database.rows("SELECT COUNT(*) FROM refs WHERE target = ?", (_key(target),))
        return int(rows) + self._leased[target]

    def others_need(self, target: Target, owner: str) -> bool:
        """Whether an image, or anything else than one owner, needs something; leases do not count."""
        query = "SELECT 1 FROM refs WHERE target = ? AND owner != ? LIMIT 1"
        return bool(self._database.rows(query, (_key(target), owner)))

    def delete_unreferenced(self, targets: Iterable[Target]) -> int:
        """Remove the unreferenced among these.

        :return: the bytes that this gave back: of blobs, and of the files in layers.
        """
        with self._lock:
            unreferenced = [target for target in targets if target not in self._spared and not self.count(target)]
            freed = sum(self._delete_blob(digest) for kind, digest in unreferenced if kind == "blob")
            size, graves = self._layers.forget(chain_id for kind, chain_id in unreferenced if kind == "layer")
        for grave in graves:
            remove_tree(grave)
        return freed + size

    def delete_all_unreferenced(self) -> int:
        """Remove everything unreferenced, including what a crash left behind and what was spared. Called at start.

        :return: the bytes that this gave back.
        """
        self._spared = frozenset()
        blobs = [blob(digest) for digest, _ in list(self._content.walk())]
        return self.delete_unreferenced([*blobs, *(layer(one.chain_id) for one in self._layers)])

    def spare(self, digests: Iterable[Digest]) -> None:
        """Keep unreferenced blobs until `delete_all_unreferenced`."""
        self._spared = frozenset(map(blob, digests))

    def orphans(self) -> list[Digest]:
        """Blobs without a reference or a lease."""
        needed = self.blobs()
        return [digest for digest, _ in self._content.walk() if digest not in needed]

    def blobs(self) -> set[Digest]:
        """All blobs that something needs."""
        rows = self._database.rows("SELECT DISTINCT target FROM refs WHERE target LIKE 'blob %'")
        return {_target(row[0])[1] for row in rows} | {digest for kind, digest in self._leased if kind == "blob"}

    def blobs_by_owner(self) -> dict[str, set[Digest]]:
        """The blobs that each image needs, by its ID, and each name with a digest or an index."""
        found: dict[str, set[Digest]] = {}
        for target, owner in self._database.rows("SELECT target, owner FROM refs WHERE target LIKE 'blob %'"):
            found.setdefault(owner, set()).add(_target(target)[1])
        return found

    def take(self, targets: Iterable[Target]) -> None:
        """Count targets for a lease; they are not collected while it is held."""
        with self._lock:
            self._leased.update(targets)

    def give_back(self, targets: Iterable[Target]) -> None:
        """Release a lease's targets, and collect the unreferenced among them."""
        given = list(targets)
        with self._lock:
            self._leased.subtract(given)
            for target in given:
                if not self._leased[target]:
                    del self._leased[target]
        self.delete_unreferenced(given)

    def _delete_blob(self, digest: Digest) -> int:
        size = self._content.size(digest) if digest in self._content else 0
        self._content.delete(digest)
        return size


class Lease:
    """Blobs and layers in use by an operation until an image references them. Several threads may share one.

    Leaving the ``with`` block ends it: what no image needs by then is removed.
    """

    def __init__(self, references: ReferenceCounts) -> None:
        self._references = references
        self._lock = threading.Lock()
        self._targets: set[Target] = set()

    def blob(self, *digests: Digest) -> None:
        """Keep blobs; to be called before one looks whether they are there, and before they are committed."""
        self._take(blob(digest) for digest in digests)

    def layer(self, *chain_ids: Digest) -> None:
        """Keep unpacked layers; to be called before one asks for them."""
        self._take(layer(chain_id) for chain_id in chain_ids)

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
