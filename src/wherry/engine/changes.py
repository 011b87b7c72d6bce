"""What a container changed, without what the engine itself had to make: the places to mount things on."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wherry.layers.diff import Change, ChangeKind, changes
from wherry.layers.overlay import OverlayMount

__all__ = ["own_changes"]

_MADE: Final = frozenset(
    "/proc /sys /dev /dev/pts /dev/shm /dev/mqueue /dev/console /etc/hosts /etc/hostname /etc/resolv.conf".split()
)


def own_changes(mounts: Sequence[OverlayMount]) -> list[Change]:
    """All differences between a container and its image that the container has made.

    An image need not have the directories and files that everything of the kernel's and ours is mounted on; the runtime
    makes what is missing, empty. As in Docker, that is no change of the container's, nor is what it does to the
    directories around.
    """
    found = changes(mounts)
    made = {change.path for change in found if change.path in _MADE and _is_empty(Path(mounts[0].upper + change.path))}
    left = [change for change in found if change.path not in made]
    touched = {posixpath.dirname(path) for path in made}
    return [change for change in left if not _only_around(change, touched, left)]


def _is_empty(path: Path) -> bool:
    try:
        status = path.lstat()  # a link is the container's, and must not lead out of its directory
    except OSError:
        return False
    if stat.S_ISDIR(status.st_mode):
        return not any(path.iterdir())
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _only_around(change: Change, touched: set[str], left: Sequence[Change]) -> bool:
    """Whether a directory is listed only because something was made in it."""
    if change.kind is ChangeKind.DELETED or change.path not in touched:
        return False
    return not any(other.path.startswith(change.path + "/") for other in left)
