"""A part of a volume is mounted instead of all of it.

Containers can change what is in a volume at any time: a directory on the way may become a link that leads elsewhere
(CVE-2024-29018 was of that kind). So the kernel looks the path up in one step, below the volume's directory, and what
it finds is copied as a detached mount, which stays what it is whatever becomes of the name.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from wherry.errors import InvalidInput, SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.mount import AT, MOUNT_ATTR, OPEN_TREE, mount_setattr, open_tree
from wherry.volumes.contract import Mounted

__all__ = ["place", "taken"]

_BENEATH: Final = int(RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS)
_COPY: Final = int(OPEN_TREE.CLONE | AT.EMPTY_PATH | AT.RECURSIVE)
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR)
_OUTSIDE: Final = (errno.EXDEV, errno.ELOOP)


def place(found: Mounted, subpath: str, *, writable: bool) -> Fd:
    """Return what is to be attached, a detached mount. In a thread that ends afterwards.

    :raises InvalidInput: nothing is at the path, or it leads out of the volume.
    """
    try:
        tree = taken(found.path, subpath) if found.take is None else found.take(subpath)
    except SystemCallError as error:
        if error.errno in _ABSENT:
            reason = os.strerror(error.errno).lower()
            raise InvalidInput(f"cannot access path {found.path}/{subpath}", cause=reason) from error
        if error.errno in _OUTSIDE:
            raise InvalidInput(f"path escapes from base: {subpath} leads out of the volume") from error
        raise
    if not writable:
        _make_read_only(tree)
    return tree


def taken(directory: str, subpath: str) -> Fd:
    """Copy the mount of a path below a directory."""
    with (
        Fd(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as top,
        openat2(top, subpath or ".", os.O_PATH, resolve=_BENEATH) as part,
    ):
        return open_tree(part, "", _COPY)


def _make_read_only(tree: Fd) -> None:
    mount_setattr(tree, "", int(AT.EMPTY_PATH | AT.RECURSIVE), attr_set=MOUNT_ATTR.RDONLY)
