"""Copy a mount of a running container for another: ``/dev/shm`` of containers that share an IPC namespace.

A mount can be copied only by who is in its mount namespace (open_tree(2)); so a thread goes there and does not come
back. The copy is detached: it is in no namespace until somebody attaches it, and its file system stays while either
container has it. What stands at the path is the container's affair, hence what is looked at before it is taken.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from wherry.errors import Conflict, NotFound, SystemCallError
from wherry.linux.fd import AT_FDCWD, Fd, FdLike
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.mount import AT, MOUNT_ATTR, OPEN_TREE, TMPFS_MAGIC, mount_setattr, open_tree, statfs
from wherry.linux.process import CLONE, setns, unshare

__all__ = ["borrowed"]

_FLAGS: Final = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC


def borrowed(container: FdLike, path: str) -> Fd:
    """Return a detached copy of the tmpfs that a container has at a path.

    To be called in a thread that ends afterwards: it is in the container's mount namespace from then on. It may wait
    for as long as the container likes, who can have mounted anything there.

    :param container: the pidfd of its first process.
    :raises NotFound: the container has ended.
    :raises Conflict: it has something else at this path.
    """
    unshare(CLONE.FS)  # the working directory and the root, that the other threads keep
    try:
        setns(container, CLONE.NEWNS)
    except SystemCallError as error:
        if error.errno != errno.ESRCH:
            raise
        raise NotFound("the container has ended") from error
    with _opened(path) as place:
        if statfs(place).f_type != TMPFS_MAGIC:
            raise Conflict(f"there is no tmpfs at {path!r} any more")
        tree = open_tree(place, "", OPEN_TREE.CLONE | AT.EMPTY_PATH)
    mount_setattr(tree, "", AT.EMPTY_PATH, attr_set=_FLAGS)
    return tree


def _opened(path: str) -> Fd:
    try:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
        return openat2(AT_FDCWD, path, flags, resolve=RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS)
    except SystemCallError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise Conflict(f"there is no directory at {path!r} any more") from error
