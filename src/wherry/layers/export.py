"""A container's whole root file system as an archive, without mounting it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence

from wherry.content.durable import disk_errors
from wherry.layers.merged import MergedDirectory
from wherry.layers.overlay import OverlayMount
from wherry.layers.pack import Packer

__all__ = ["export"]


def export(mounts: Sequence[OverlayMount], write: Callable[[bytes], object]) -> None:
    """Write the archive of all files that a container sees, in the order of their names.

    :param mounts: its overlay mounts, ``/`` first; they don't have to be mounted, and may be.
    :param write: takes the archive's bytes, piece by piece.
    :raises SystemFault: a file could not be read.
    """
    packer = Packer(write)
    places = {os.fsencode(mount.target.strip("/")): mount for mount in mounts}
    with disk_errors("export a container"), MergedDirectory.open_root(places[b""].layers) as root:
        _pack(packer, root, b"", places)
    packer.finish()


def _pack(packer: Packer, directory: MergedDirectory, path: bytes, places: Mapping[bytes, OverlayMount]) -> None:
    for entry in directory.entries():
        here = path + b"/" + entry.name if path else entry.name
        if here in places:
            with MergedDirectory.open_root(places[here].layers) as inner:
                packer.add_directory(here, inner.status)
                _pack(packer, inner, here, places)
            continue
        packer.add(here, entry)
        if stat.S_ISDIR(entry.status.st_mode):
            opened = directory.open(entry.name)
            if opened is not None:
                with opened:
                    _pack(packer, opened, here, places)
