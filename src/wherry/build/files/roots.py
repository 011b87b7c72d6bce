"""The roots of snapshots, opened to work in: a mount, or a client's directory itself."""

from __future__ import annotations

import os

from wherry.build.model.snapshot import Snapshot
from wherry.build.snapshots.mounts import mount_snapshot
from wherry.content.durable import disk_errors
from wherry.linux.fd import Fd

__all__ = ["is_local", "open_root"]


def is_local(snapshot: Snapshot) -> bool:
    """Whether a part of a snapshot is a client's directory, which is no layer: a later build changes it."""
    return any(layer.number < 0 for layer in snapshot.layers)


def open_root(snapshot: Snapshot, bottom: str) -> Fd:
    """Open a snapshot's root, to be read.

    :param bottom: the directory that stands for no layer.
    """
    if len(snapshot.layers) == 1 and is_local(snapshot):
        with disk_errors("open a directory of the build"):
            return Fd(os.open(snapshot.layers[0].path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return mount_snapshot(snapshot, bottom)
