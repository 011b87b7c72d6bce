"""A layer of the builder becomes an archive: written, hashed, and its tree sealed, in one reading."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, NamedTuple

from wherry.build.snapshots.rows import Packed
from wherry.content.durable import disk_errors
from wherry.content.store import ContentStore
from wherry.layers.overlay_view import MergedTree
from wherry.layers.pack import Packer
from wherry.layers.tar.entry import MAX_NAME
from wherry.layers.tree_digest import TreeDigest
from wherry.layers.whiteouts import check_name
from wherry.linux.trees import unrolled
from wherry.oci import media_types
from wherry.oci.digest import Digest

__all__ = ["PackedFile", "pack"]

_PIECE: Final = 1 << 20


class PackedFile(NamedTuple):
    """An archive that is no blob yet.

    :param path: of the file; unsynced.
    """

    path: Path
    packed: Packed


def pack(directory: str, content: ContentStore) -> PackedFile:
    """Pack a layer's directory, in overlayfs' form, as it stands: every whiteout in it goes along.

    So a layer has one archive, upon whatever layers it lies.

    :raises TooLarge: a name is longer than an image's may be.
    :raises OutOfSpace: the disk is full; nothing is left.
    """
    with content.stage(hashed=False) as staged, disk_errors("pack a layer"):
        gathering = _Gathering(staged.write)
        with MergedTree.open([directory]) as tree:
            seal = TreeDigest(tree.status)
            packer = Packer(gathering.write, MAX_NAME, seal, room=staged.need)
            for _ in unrolled(_pack(packer, tree, seal)):
                pass
        packer.finish()
        digest = gathering.finish()
        path = content.temporary()
        staged.path.rename(path)
        return PackedFile(path, Packed(digest, digest, staged.size, media_types.OCI_LAYER, seal.hexdigest()))


def _pack(packer: Packer, tree: MergedTree, seal: TreeDigest) -> Generator[Any, None, None]:
    """Pack the present directory; generators are for `unrolled`."""
    for entry in tree.entries(whiteouts=True):
        if entry.is_whiteout:
            packer.add_whiteout(tree.path(b"")[:-1], entry.name)
            seal.add(tree.path(entry.name), entry.status, {})
            continue
        check_name(tree.path(entry.name))
        packer.add(tree.path(entry.name), entry, tree.directory(entry))
        if entry.is_directory and tree.enter(entry.name):
            if tree.is_opaque:
                packer.add_opaque(tree.path(b"")[:-1])
            yield _pack(packer, tree, seal)
            tree.leave()


class _Gathering:
    """Makes large pieces of small ones, and hashes them: a call for each header would cost more than the hashing."""

    def __init__(self, write: Any) -> None:
        self._write = write
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= _PIECE:
            self._flush()

    def finish(self) -> Digest:
        self._flush()
        return Digest.from_hash(self._hash)

    def _flush(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._hash.update(data)
        self._write(data)
