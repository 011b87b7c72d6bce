"""How deletions are written: in archives, and in overlayfs' layers.

In an archive (OCI image specification, layer.md, "Whiteouts") an empty file ``.wh.NAME`` says that the layers below
have no NAME any more, and ``.wh..wh..opq`` that nothing of theirs in its directory is left. In a layer's directory
(Documentation/filesystems/overlayfs.rst) the former is a character device 0:0 called NAME, the latter the attribute
``trusted.overlay.opaque`` with the value ``y``.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

__all__ = [
    "HIDDEN",
    "OPAQUE_ATTRIBUTE",
    "OPAQUE_MARK",
    "OVERLAY_ATTRIBUTES",
    "PREFIX",
    "is_opaque",
    "is_whiteout",
    "make_opaque",
    "make_whiteout",
]

PREFIX: Final = b".wh."
OPAQUE_MARK: Final = b".wh..wh..opq"
#: AUFS' own bookkeeping (hard link directories, temporary files), which old Docker put into layers; it means nothing.
HIDDEN: Final = b".wh..wh."

OPAQUE_ATTRIBUTE: Final = "trusted.overlay.opaque"
#: Attributes through which overlayfs steers itself: none comes from an archive, none goes into one.
OVERLAY_ATTRIBUTES: Final = ("trusted.overlay.", "user.overlay.")


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file of a layer says that the layers below don't have it any more."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: int) -> bool:
    """Whether a layer's directory hides what the layers below have in theirs.

    :param directory: its descriptor; not one opened with ``O_PATH``.
    """
    with suppress(OSError):
        return os.getxattr(directory, OPAQUE_ATTRIBUTE) == b"y"
    return False


def make_whiteout(directory: int, name: bytes) -> None:
    """Mark a name as deleted; the kernel lets every user make this one device (since Linux 5.8)."""
    os.mknod(name, stat.S_IFCHR | 0o600, 0, dir_fd=directory)


def make_opaque(directory: int) -> None:
    """Let a layer's directory hide what the layers below have in theirs.

    :param directory: its descriptor; not one opened with ``O_PATH``.
    """
    os.setxattr(directory, OPAQUE_ATTRIBUTE, b"y")
