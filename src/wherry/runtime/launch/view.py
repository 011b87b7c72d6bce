"""A container's files as it sees them, for who is outside: a detached copy of its mounts.

The copy is in nobody's mount namespace, and gone when its last descriptor is closed, also by ``kill -9``. What is
looked up in it by openat2(2) with ``RESOLVE_IN_ROOT`` stays in it, whatever the container does meanwhile
(CVE-2018-15664). No process enters the container, no program and no library of it is executed (CVE-2019-14271).

A mount can be copied only by who is in its mount namespace (open_tree(2)), hence both functions are for a thread that
ends afterwards. Devices do not work in the copy: who opens one by mistake gets an error, and nothing from the device.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Final

from wherry.errors import NotFound, SystemCallError
from wherry.linux.fd import AT_FDCWD, Fd, FdLike
from wherry.linux.mount import AT, MOUNT_ATTR, MS, OPEN_TREE, mount, mount_setattr, open_tree
from wherry.linux.process import CLONE, setns, unshare
from wherry.runtime.steps.step import Context, Step

__all__ = ["assembled_view", "running_view"]

_ALL: Final = int(AT.EMPTY_PATH | AT.RECURSIVE)
_COPY: Final = int(OPEN_TREE.CLONE | AT.RECURSIVE)
_HARMLESS: Final = int(MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC | MOUNT_ATTR.NOSUID)


def running_view(container: FdLike) -> Fd:
    """Return a copy of the mounts that a running container sees.

    :param container: the pidfd of its first process.
    :raises NotFound: the container has ended.
    """
    unshare(CLONE.FS)  # the working directory and the root, that the other threads keep
    try:
        setns(container, CLONE.NEWNS)
    except SystemCallError as error:
        if error.errno != errno.ESRCH:
            raise
        raise NotFound("the container has ended") from error
    return _harmless(open_tree(AT_FDCWD, "/", _COPY))


def assembled_view(steps: Iterable[Step], *, read_only: bool) -> Fd:
    """Put together the root of a container that does not run, and return a copy of it.

    :param steps: mount the root and what is in it; the host sees nothing of that.
    :param read_only: whether the root itself is read-only, once all else has a place in it.
    :raises InvalidInput: a source of a bind does not exist, or something in the root is in the way.
    """
    unshare(CLONE.NEWNS)
    mount(None, "/", None, MS.SLAVE | MS.REC)
    context = Context(-1)
    for step in steps:
        step.apply(context)
    with context.root as top:
        if read_only:
            mount_setattr(top, "", AT.EMPTY_PATH, attr_set=MOUNT_ATTR.RDONLY)
        return _harmless(open_tree(top, "", _COPY | AT.EMPTY_PATH))


def _harmless(tree: Fd) -> Fd:
    """Let no device work in it, and let no mount come into it or go out of it."""
    mount_setattr(tree, "", _ALL, attr_set=_HARMLESS, propagation=MS.PRIVATE)
    return tree
