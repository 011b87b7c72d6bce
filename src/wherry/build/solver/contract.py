"""What the solver needs of the others: snapshots, and operations on files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from wherry.build.model.graph import Copy, FileOp
from wherry.build.model.service import FileInfo
from wherry.build.model.snapshot import EMPTY, Snapshot
from wherry.build.snapshots.draft import Draft
from wherry.oci.platform import Platform

__all__ = ["Files", "Snapshots"]


class Snapshots(Protocol):
    """Makes layers: `snapshots.SnapshotStore`. All of it waits for the disk."""

    def draft(self, parent: Snapshot = EMPTY) -> Draft:
        """Begin to change a snapshot; it is held until the draft is committed or discarded.

        :raises OutOfSpace: the disk is full.
        """
        ...

    def commit(self, draft: Draft) -> Snapshot:
        """Make it a layer, which is kept until the cache removes it."""
        ...

    def discard(self, draft: Draft) -> None:
        """Remove it; has no effect after `commit`."""
        ...

    def keep(self, snapshot: Snapshot) -> None:
        """Keep the layers of images in a snapshot."""
        ...

    def remove(self, numbers: Iterable[int]) -> int:
        """Remove layers that nobody needs; those in use go when they are released."""
        ...


class Files(Protocol):
    """Operations that need no container. All work happens in threads."""

    async def execute(self, op: FileOp, inputs: Sequence[Snapshot], platform: Platform | None) -> tuple[Snapshot, ...]:
        """Carry out a file operation; returns its outputs, in their order. Cancelled: nothing is left.

        :raises NotFound: a source is missing: BuildKit's words, ``"/x": not found``.
        """
        ...

    async def merge(self, inputs: Sequence[Snapshot]) -> Snapshot:
        """Lay snapshots upon each other."""
        ...

    async def diff(self, lower: Snapshot, upper: Snapshot) -> Snapshot:
        """What has to be laid on `lower` to have `upper`."""
        ...

    async def checksum(self, snapshot: Snapshot, copy: Copy) -> str:
        """Of everything that a copy takes from its source, after wildcards, include and exclude patterns.

        :raises NotFound: nothing is there: BuildKit's words, ``"/x": not found``.
        """
        ...

    async def copy_out(self, snapshot: Snapshot, destination: Path) -> None:
        """Copy all of a snapshot into an empty directory, which takes over the mode and owner of its root.

        For the first content of a cache mount. Modes, owners, times, links and attributes stay as they are.
        """
        ...

    async def read(self, snapshot: Snapshot, path: str, offset: int, length: int) -> bytes:
        """A part of a file, `length` -1: to its end; symbolic links are followed, inside.

        :raises NotFound: there is no such file.
        :raises TooLarge: it is more than fits into a message.
        """
        ...

    async def stat(self, snapshot: Snapshot, path: str) -> FileInfo:
        """One file; symbolic links are followed, inside.

        :raises NotFound: there is no such file.
        """
        ...

    async def list_directory(self, snapshot: Snapshot, path: str, pattern: str) -> list[FileInfo]:
        """The entries of a directory whose names fit a pattern of Go's ``filepath.Match``; empty: all.

        :raises NotFound: there is no such directory.
        """
        ...

    def listing(self, checksum: str) -> Mapping[str, str]:
        """The files that a checksum of a short while ago was made of, and a digest of each; empty: not known."""
        ...

    async def checksum_of(self, snapshot: Snapshot, path: str) -> str:
        """Of a path and all below it, without following it out of the snapshot: of what a mount shows.

        :raises NotFound: it is not there.
        """
        ...
