"""The overlay mounts of a container, as plain values for the runtime."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from wherry.content.durable import disk_errors

__all__ = ["OverlayMount", "make_directories"]


@dataclass(frozen=True, slots=True)
class OverlayMount:
    """One overlay mount: layers, and a writable directory on top of them.

    A container's root is a list of them, in the order in which they are to be mounted; the first one's target is ``/``.

    :param target: where it goes in the container.
    :param lower: the layers' directories, top first; there may be hundreds.
    :param upper: the writable directory.
    :param work: overlayfs' own directory, on the same file system as `upper`.
    """

    target: str
    lower: tuple[str, ...]
    upper: str
    work: str

    @property
    def layers(self) -> tuple[str, ...]:
        """All directories, the writable one first, for `overlay_view` and `diff`."""
        return (self.upper, *self.lower)

    def describe(self) -> str:
        """A line for people."""
        return (
            f"overlay on {self.target}: {self.upper} over {len(self.lower)} layer{'s' if len(self.lower) != 1 else ''}"
        )


def make_directories(mounts: Sequence[OverlayMount]) -> None:
    """Make the writable and the work directories of mounts, where they are missing.

    The writable directory becomes the mount's root and so decides how that looks: it takes over owner and mode from
    the topmost layer.
    """
    for mount in mounts:
        with disk_errors("make a container's directories"):
            if os.path.isdir(mount.upper) and os.path.isdir(mount.work):
                continue
            os.makedirs(mount.work, mode=0o700, exist_ok=True)
            if os.path.isdir(mount.upper):
                continue
            model = os.stat(mount.lower[0])
            os.makedirs(mount.upper)
            os.chown(mount.upper, model.st_uid, model.st_gid)
            os.chmod(mount.upper, stat.S_IMODE(model.st_mode))
