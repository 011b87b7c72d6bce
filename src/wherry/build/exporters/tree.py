"""The exporters of a result's files: as one archive (``tar``), or into a directory of the client's (``local``)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final

from wherry.build.exporters.contract import Product
from wherry.build.exporters.options import boolean, epoch_of
from wherry.build.exporters.steps import step
from wherry.build.model.request import Export
from wherry.build.model.snapshot import Snapshot
from wherry.content.durable import disk_errors
from wherry.content.thread_stream import pieces_of
from wherry.content.threads import Check, Worker
from wherry.errors import InvalidInput
from wherry.layers.overlay_view import MergedTree
from wherry.layers.pack import Packer
from wherry.linux.fd import Fd
from wherry.linux.trees import Descent, unrolled
from wherry.oci.platform import Platform

__all__ = ["LocalExporter", "Mount", "TarExporter", "pack_directory"]

#: Mounts a snapshot where nobody else sees it, to be read; gone when the descriptor is closed.
Mount = Callable[[Snapshot], Fd]

_DIRECTORY_MODE: Final = 0o755


class TarExporter:
    """Sends a result's root file system as an archive."""

    async def export(self, product: Product, export: Export) -> dict[str, str]:
        """Send it.

        :raises InvalidInput: an option makes no sense.
        :raises NotFound: the client takes no files.
        """
        trees = _by_directory(product, export.attributes)
        epoch = epoch_of(export.attributes, product.result.metadata)

        def write(sink: Callable[[bytes], object]) -> None:
            _write(sink, trees, epoch)

        with step(product, "sending tarball"):
            async with aclosing(pieces_of(write)) as pieces:
                await product.session.send_file(export.number, {}, pieces)
        return {}


class LocalExporter:
    """Sends a result's files to a directory of the client's."""

    def __init__(self, mount: Mount, worker: Worker) -> None:
        self._mount = mount
        self._worker = worker

    async def export(self, product: Product, export: Export) -> dict[str, str]:
        """Send them.

        :raises InvalidInput: an option makes no sense.
        :raises NotFound: the client takes no files.
        """
        if export.attributes.get("mode", "copy") != "copy":
            raise InvalidInput(f"invalid local exporter mode {export.attributes['mode'][:100]!r}")
        epoch = epoch_of(export.attributes, product.result.metadata)
        for prefix, snapshot in _by_directory(product, export.attributes).items():
            with step(product, f"copying files {prefix}".rstrip()):
                mounted = await self._worker.run(partial(self._mounted, snapshot), Fd.close)
                try:
                    root = Path(f"/proc/self/fd/{mounted.fileno()}")
                    await product.session.send_tree(export.number, root, prefix=prefix, modified=epoch)
                finally:
                    await self._worker.finish(mounted.close)
        return {}

    def _mounted(self, snapshot: Snapshot, _: Check) -> Fd:
        return self._mount(snapshot)


def _by_directory(product: Product, attributes: Mapping[str, str]) -> dict[str, Snapshot]:
    """The snapshots by the directories that they go into; ``linux_amd64`` where there are several platforms.

    :raises InvalidInput: several would go into one.
    """
    keys = [*product.result.refs]
    split = boolean(attributes, "platform-split", keys != [""])
    found = {
        str(Platform.parse(key)).replace("/", "_") if split and key else "": product.snapshots.get(key, Snapshot())
        for key in keys
    }
    if len(found) < len(keys):
        raise InvalidInput(
            f"cannot put the files of {len(keys)} platforms into one directory with platform-split=false"
        )
    return found


def _write(write: Callable[[bytes], object], trees: Mapping[str, Snapshot], epoch: int | None) -> None:
    """Write all files, in the order of their names; in a thread of its own."""
    packer = Packer(write, modified=epoch)
    with disk_errors("pack a file system"):
        for name, snapshot in trees.items():
            prefix = os.fsencode(name and name + "/")
            if not snapshot.layers:
                continue
            with MergedTree.open(snapshot.lower) as tree:
                if name:
                    packer.add_directory(os.fsencode(name), tree.status)
                for _ in unrolled(_pack(packer, tree, prefix)):
                    pass
    packer.finish()


def pack_directory(write: Callable[[bytes], object], *, root: Path, prefix: bytes, modified: int | None) -> None:
    """Write a directory's content as an archive, without devices and FIFOs; in a thread of its own.

    :param root: may be a descriptor's name in ``/proc/self/fd``.
    :param prefix: the name of a directory in the archive that it goes into; empty: the top.
    :param modified: nanoseconds since the epoch, for all entries; None: as the files have it.
    """
    packer = Packer(write, modified=modified)
    top = Fd(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))  # what is behind a name in /proc is no link
    with disk_errors("pack a file system"), MergedTree([Descent(top)]) as tree:
        if prefix:
            packer.add_directory(prefix, tree.status)
        for _ in unrolled(_pack(packer, tree, prefix and prefix + b"/", plain=True)):
            pass
    packer.finish()


def _pack(packer: Packer, tree: MergedTree, prefix: bytes, *, plain: bool = False) -> Generator[Any, None, None]:
    """Pack the present directory; generators for subdirectories are yielded, for `unrolled`.

    :param plain: leave out what is no file, directory or link.
    """
    for entry in tree.entries():
        if plain and not _is_plain(entry.status.st_mode):
            continue
        packer.add(prefix + tree.path(entry.name), entry, tree.directory(entry))
        if entry.is_directory and tree.enter(entry.name):
            yield _pack(packer, tree, prefix, plain=plain)
            tree.leave()


def _is_plain(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
