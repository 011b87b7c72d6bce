"""A data root as the program made it whose tables had version 1, with containers, images and networks.

``wherry.sql`` is a dump of its database; ``blobs`` are its images' manifests and configurations. Of the layers there is
no more than a file, and of their archives nothing: nobody reads them at a start.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

__all__ = ["CONTAINERS", "NETWORKS", "make"]

_HERE: Final = Path(__file__).parent / "data_root_1"

CONTAINERS: Final = {
    "created": "a7aea2a5277d8ece81dd9af117fc54855910ed3d48cc83fcda6792981e0d1338",
    "exited": "b711c9aca932e537e3737c22fae5e7e34b2f5577990f4612a17997078aa3c495",
    "running": "c294a9896d37607894226483a5d1327e179f44a04c7515d994bd123381764de1",
}
NETWORKS: Final = {
    "bridge": "dcbeaff13b7a8a54b55ad10181b28cfefa4fd4f8a356e210ea275054bc64c076",
    "host": "b5f6b2252b8a08c47ab70006dbd729b75e7ef2a3e5b5c7e0e266fd679419b09c",
    "lan": "cd5f7601ca2ca3fff3467bb97200eb38cbcce2051f34e5eba12e607adae04058",
    "none": "0024c79170cc105db498765016a322970522e224a07c650ed1e5cc13d737bf9c",
}
_CHANGES: Final = 9  # in the table of that name


def make(root: Path) -> Path:
    """Make it. :returns: the database."""
    root.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(root / "wherry.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript((_HERE / "wherry.sql").read_text())
    (root / "witness").write_bytes(_CHANGES.to_bytes(8, "big"))
    blobs = root / "content" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for blob in (_HERE / "blobs").iterdir():
        (blobs / blob.name).write_bytes(blob.read_bytes())
    for layer in ("0", "1", "2"):
        (root / "layers" / layer).mkdir(parents=True)
    (root / "layers" / "2" / "hello").write_text("hello\n")
    for container in CONTAINERS.values():
        for directory in ("upper", "work", "logs"):
            (root / "containers" / container / directory).mkdir(parents=True)
    return root / "wherry.db"
