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

from wherry.errors import InvalidInput
from wherry.layers.tar.entry import shown

__all__ = [
    "META_PREFIX",
    "OPAQUE_ATTRIBUTE",
    "OPAQUE_WHITEOUT",
    "OVERLAY_ATTRIBUTES",
    "PREFIX",
    "check_name",
    "is_opaque",
    "is_whiteout",
    "make_opaque",
    "make_whiteout",
]

PREFIX: Final = b".wh."
OPAQUE_WHITEOUT: Final = b".wh..wh..opq"
#: AUFS' own bookkeeping (hard link directories, temporary files), which old Docker put into layers; it means nothing.
META_PREFIX: Final = b".wh..wh."

OPAQUE_ATTRIBUTE: Final = "trusted.overlay.opaque"
#: Attributes through which overlayfs steers itself: none comes from an archive, none goes into one.
OVERLAY_ATTRIBUTES: Final = ("trusted.overlay.", "user.overlay.")


def check_name(path: bytes) -> None:
    """Check that a file of a layer would not become a whiteout, or something in one, in the layer's archive.

    :raises InvalidInput: it would.
    """
    name = path.rpartition(b"/")[2]
    if name.startswith(PREFIX):
        raise InvalidInput(
            f"{shown(path)} cannot be in an image: the name would remove other files",
            hint="in a layer's archive, .wh.NAME says that NAME was deleted",
        )


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file of a layer is a whiteout: deleted from the layers below."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: int) -> bool:
    """Whether a layer's directory is opaque: hides the content of the same directory in the layers below.

    :param directory: its descriptor; not one opened with ``O_PATH``.
    """
    with suppress(OSError):
        return os.getxattr(directory, OPAQUE_ATTRIBUTE) == b"y"
    return False


def make_whiteout(directory: int, name: bytes) -> None:
    """Make a whiteout for a name; the kernel lets every user make this one device (since Linux 5.8)."""
    os.mknod(name, stat.S_IFCHR | 0o600, 0, dir_fd=directory)


def make_opaque(directory: int) -> None:
    """Make a layer's directory opaque: it hides the content of the same directory in the layers below.

    :param directory: its descriptor; not one opened with ``O_PATH``.
    """
    os.setxattr(directory, OPAQUE_ATTRIBUTE, b"y")
