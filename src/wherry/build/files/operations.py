"""All operations on files that a build needs, for the event loop: the work is done in threads."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from wherry.build.files import checksum, difference, read
from wherry.build.files.content_sums import ContentSums, Sums
from wherry.build.files.evaluate import Evaluation, copy_all, own
from wherry.build.files.roots import is_local, open_root
from wherry.build.model.graph import Copy, FileOp
from wherry.build.model.service import FileInfo
from wherry.build.model.snapshot import PASSING, Snapshot
from wherry.build.snapshots.store import SnapshotStore
from wherry.content.threads import Check, Worker
from wherry.linux.fd import Fd
from wherry.oci.platform import Platform

__all__ = ["FileOperations"]

T = TypeVar("T")

#: Checksums of layers that are remembered: these never change.
_REMEMBERED: Final = 4096
#: Checksums of which it is remembered what files they were made of.
_LISTINGS: Final = 16


class FileOperations:
    """Operations on files. All of it for one event loop.

    A snapshot that is given to one of these is held meanwhile. One that comes of one is not held, and stays until
    `SnapshotStore.remove`.

    :param store: makes the layers.
    :param directory: for digests of files that are remembered.
    """

    def __init__(self, store: SnapshotStore, directory: Path) -> None:
        self._store = store
        self._sums = ContentSums(directory)
        self._work = Worker(4, "build files")
        self._lock = threading.Lock()
        self._checksums: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self._listings: OrderedDict[str, dict[str, str]] = OrderedDict()

    def close(self) -> None:
        """End the threads."""
        self._work.close()

    # --- changes ----------------------------------------------------------------------------------

    async def execute(self, op: FileOp, inputs: Sequence[Snapshot], platform: Platform | None) -> tuple[Snapshot, ...]:
        """Carry out a file operation; returns its outputs, in their order. Cancelled: nothing is left.

        :raises NotFound: a source is missing.
        :raises InvalidInput: something is in the way.
        """

        def work(check: Check) -> tuple[Snapshot, ...]:
            return Evaluation(self._store, op, inputs, check).run()

        return await self._work.run(work, lambda made: self._remove(made, inputs))

    async def merge(self, inputs: Sequence[Snapshot]) -> Snapshot:
        """Lay snapshots upon each other.

        :raises InvalidInput: they have too many layers.
        """
        return await self._work.run(
            lambda check: difference.merge(self._store, inputs, check), lambda made: self._remove([made], inputs)
        )

    async def diff(self, lower: Snapshot, upper: Snapshot) -> Snapshot:
        """What has to be laid on `lower` to have `upper`."""
        return await self._work.run(
            lambda check: difference.diff(self._store, lower, upper, check),
            lambda made: self._remove([made], [lower, upper]),
        )

    async def own(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot for a step to run on: a client's directory in it is copied, as later builds change that."""
        if not is_local(snapshot):
            return snapshot
        return await self._work.run(
            lambda check: own(self._store, snapshot, check), lambda made: self._remove([made], [])
        )

    async def copy_out(self, snapshot: Snapshot, destination: Path) -> None:
        """Copy all of a snapshot into an empty directory, which takes over the mode and owner of its root."""

        def work(check: Check) -> None:
            with Fd(os.open(destination, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as target:
                copy_all(open_root(snapshot, self._store.bottom), target, check)

        await self._work.run(work)

    def _remove(self, made: Sequence[Snapshot], inputs: Sequence[Snapshot]) -> None:
        present = {layer.number for snapshot in inputs for layer in snapshot.layers}
        self._store.remove(
            layer.number for snapshot in made for layer in snapshot.layers if layer.number not in present
        )

    # --- checksums --------------------------------------------------------------------------------

    async def checksum(self, snapshot: Snapshot, copy: Copy) -> str:
        """Of everything that a copy takes from its source, after wildcards, include and exclude patterns.

        :raises NotFound: nothing is there: ``"/x": not found``.
        """
        members = (copy.source, copy.follow_symlink, copy.allow_wildcard, copy.include, copy.exclude, copy.parents)
        more = (copy.unpack_archive, copy.allow_empty_wildcard)
        return await self._remembered(
            snapshot,
            ("copy", members, more),
            lambda root, sums, check: checksum.copy_checksum(root, copy, sums, check, self._note),
        )

    def _note(self, found: str, files: dict[bytes, bytes]) -> None:
        listed = {
            os.fsdecode(path).encode(errors="replace").decode(): hashlib.sha256(line).hexdigest()[:8]
            for path, line in files.items()
        }
        with self._lock:
            self._listings[found] = listed
            self._listings.move_to_end(found)
            if len(self._listings) > _LISTINGS:
                self._listings.popitem(last=False)

    def listing(self, checksum: str) -> Mapping[str, str]:
        """The files that a checksum of a short while ago was made of, and a digest of each; empty: not known."""
        with self._lock:
            return self._listings.get(checksum, {})

    async def checksum_of(self, snapshot: Snapshot, path: str) -> str:
        """Of a path and all below it; links are followed, inside.

        :raises NotFound: it is not there.
        """
        return await self._remembered(
            snapshot, ("path", path), lambda root, sums, check: checksum.path_checksum(root, path, sums, check)
        )

    async def _remembered(
        self, snapshot: Snapshot, what: tuple[object, ...], compute: Callable[[int, Sums, Check], str]
    ) -> str:
        if is_local(snapshot):
            return await self._work.run(lambda check: self._local_checksum(snapshot, compute, check))
        key = (snapshot.layers, *what)
        with self._lock:
            found = self._checksums.get(key)
            if found is not None:
                self._checksums.move_to_end(key)
                return found
        found = await self._reading(snapshot, lambda root, check: compute(root, Sums(), check))
        with self._lock:
            self._checksums[key] = found
            if len(self._checksums) > _REMEMBERED:
                self._checksums.popitem(last=False)
        return found

    def _local_checksum(self, snapshot: Snapshot, compute: Callable[[int, Sums, Check], str], check: Check) -> str:
        """Of a client's directory: files that look as they did at the last build are not read again."""
        path = snapshot.layers[0].path
        if snapshot.layers[0].number == PASSING:  # there is no next time
            with open_root(snapshot, self._store.bottom) as root:
                return compute(root.fileno(), Sums(), check)
        sums = self._sums.take(path)
        changed = False
        try:
            with open_root(snapshot, self._store.bottom) as root:
                sums.begin()
                found = compute(root.fileno(), sums, check)
                changed = sums.end()
            return found
        finally:
            self._sums.put(path, sums, changed=changed)

    # --- reading ----------------------------------------------------------------------------------

    async def read(self, snapshot: Snapshot, path: str, offset: int = 0, length: int = -1) -> bytes:
        """A part of a file, `length` -1: to its end; symbolic links are followed, inside.

        :raises NotFound: there is no such file.
        :raises TooLarge: it is more than fits into a message.
        """
        return await self._reading(snapshot, lambda root, _: read.read_file(root, path, offset, length))

    async def stat(self, snapshot: Snapshot, path: str) -> FileInfo:
        """One file; symbolic links are followed, inside.

        :raises NotFound: there is no such file.
        """
        return await self._reading(snapshot, lambda root, _: read.stat_file(root, path))

    async def list_directory(self, snapshot: Snapshot, path: str, pattern: str = "") -> list[FileInfo]:
        """The entries of a directory whose names fit a pattern of Go's ``filepath.Match``; empty: all.

        :raises NotFound: there is no such directory.
        """
        return await self._reading(snapshot, lambda root, _: read.list_directory(root, path, pattern))

    async def _reading(self, snapshot: Snapshot, work: Callable[[int, Check], T]) -> T:
        def opened(check: Check) -> T:
            with open_root(snapshot, self._store.bottom) as root:
                return work(root.fileno(), check)

        return await self._work.run(opened)
