"""Mount points for the kernel's and the engine's own mounts, where an image lacks them.

They could be made in each container's writable layer. Made once for each image, as one more layer on top of it, they
cost a container neither time nor space, and they are no change of the container's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wherry.layers.overlay_view import MergedTree

__all__ = ["make_mountpoints"]

_DIRECTORIES: Final = (b"dev", b"proc", b"sys")
_FILES: Final = (b"hostname", b"hosts", b"resolv.conf")  # in /etc


def make_mountpoints(layers: Sequence[str], target: Path) -> None:
    """Make a layer that adds the mount points that the layers below lack, and changes nothing else.

    Where `/etc` is a link in the image, nothing is added below it: what it leads to is known only to the kernel.

    :param layers: an image's directories, top first.
    :param target: to be made.
    """
    with MergedTree.open(layers) as root:
        target.mkdir()
        for name in _DIRECTORIES:
            if root.find(name) is None:
                (target / os.fsdecode(name)).mkdir(mode=0o755)
        _add_files(root, target)
        _take_over(target, root.status)


def _add_files(root: MergedTree, target: Path) -> None:
    found = root.find(b"etc")
    if found is not None and not stat.S_ISDIR(found.status.st_mode):
        return
    missing: tuple[bytes, ...] = _FILES
    if root.enter(b"etc"):
        missing = tuple(name for name in _FILES if root.find(name) is None)
        root.leave()
    if not missing:
        return
    etc = target / "etc"
    etc.mkdir(mode=0o755)
    for name in missing:
        (etc / os.fsdecode(name)).touch(mode=0o644)
    if found is not None:
        _take_over(etc, found.status)


def _take_over(directory: Path, model: os.stat_result) -> None:
    """A merged directory looks like its topmost part."""
    os.chown(directory, model.st_uid, model.st_gid)
    directory.chmod(stat.S_IMODE(model.st_mode))
    os.utime(directory, ns=(model.st_atime_ns, model.st_mtime_ns))
