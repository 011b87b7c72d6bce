"""A container's whole root file system as an archive, without mounting it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from wherry.content.durable import disk_errors
from wherry.layers.overlay_paths import OverlayMount
from wherry.layers.overlay_view import MergedTree
from wherry.layers.pack import Packer
from wherry.linux.trees import unrolled

__all__ = ["export"]


def export(mounts: Sequence[OverlayMount], write: Callable[[bytes], object]) -> None:
    """Write the archive of all files that a container sees, in the order of their names.

    :param mounts: its overlay mounts, ``/`` first; they don't have to be mounted, and may be.
    :param write: takes the archive's bytes, piece by piece.
    :raises SystemFault: a file could not be read.
    :raises TooLarge: a name is longer than readers of archives take, a million bytes.
    """
    packer = Packer(write)
    mounted = {os.fsencode(mount.target.strip("/")): mount for mount in mounts}
    with disk_errors("export a container"), MergedTree.open(mounted[b""].layers) as root:
        for _ in unrolled(_pack(packer, root, b"", mounted)):
            pass
    packer.finish()


def _pack(
    packer: Packer, tree: MergedTree, prefix: bytes, mounted: Mapping[bytes, OverlayMount]
) -> Generator[Any, None, None]:
    """Pack the current directory; generators for subdirectories are yielded, for `unrolled`."""
    for entry in tree.entries():
        here = prefix + tree.path(entry.name)
        if here in mounted:
            with MergedTree.open(mounted[here].layers) as inner:
                packer.add_directory(here, inner.status)
                yield _pack(packer, inner, here + b"/", mounted)
            continue
        packer.add(here, entry, tree.directory(entry))
        if entry.is_directory and tree.enter(entry.name):
            del here  # deep down, the paths of all directories above would be most of the memory
            yield _pack(packer, tree, prefix, mounted)
            tree.leave()
