"""The procfs of a PID namespace that this process is not in.

A new procfs shows the PID namespace of whoever makes it, and a container that joins another's is set up by a process
that must stay outside (:mod:`wherry.runtime.steps.birth`). Linux 6.17 can be told which one is meant; before that, the
mount that the other container has is copied, and verified, because its owner may have put anything there.
"""

from __future__ import annotations

import os
from typing import Final

from wherry.errors import SystemCallError, Unsupported
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import (
    AT,
    MOUNT_ATTR,
    OPEN_TREE,
    PROC_SUPER_MAGIC,
    fsconfig_create,
    fsconfig_fd,
    fsconfig_string,
    fsmount,
    fsopen,
    mount_setattr,
    open_tree,
    statfs,
)
from wherry.linux.process import CLONE, setns

__all__ = ["procfs_of"]

_SUFFIX: Final = "/ns/pid"
_ALL: Final = int(MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC)


def procfs_of(namespace: Fd, path: str, attributes: int) -> Fd:
    """Return a detached mount of a PID namespace's procfs.

    :param path: where the namespace was found.
    :param attributes: of :class:`MOUNT_ATTR`.
    :raises Unsupported: this kernel cannot make one, and whoever lives in the namespace has none that could be used.
    """
    return _made(namespace, attributes) or _copied(namespace, path, attributes)


def _made(namespace: Fd, attributes: int) -> Fd | None:
    with fsopen("proc") as context:
        fsconfig_string(context, "source", "proc")
        try:
            fsconfig_fd(context, "pidns", namespace)
        except SystemCallError:
            return None  # before Linux 6.17
        fsconfig_create(context)
        return fsmount(context, attributes)


def _copied(namespace: Fd, path: str, attributes: int) -> Fd:
    if not path.endswith(_SUFFIX):
        raise Unsupported(f"the procfs of the PID namespace {path!r} cannot be mounted", hint="it takes Linux 6.17")
    inside = path.removesuffix(_SUFFIX) + "/ns/mnt"
    with Fd(os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)) as own:
        with Fd(os.open(inside, os.O_RDONLY | os.O_CLOEXEC)) as other:
            setns(other, CLONE.NEWNS)
        try:
            tree = open_tree(AT_FDCWD, "/proc", OPEN_TREE.CLONE | AT.NO_AUTOMOUNT)
        finally:
            setns(own, CLONE.NEWNS)
    if not _shows(tree, namespace):
        tree.close()
        raise Unsupported(f"/proc of the container to be joined is not the procfs of its PID namespace ({path})")
    mount_setattr(tree, "", AT.EMPTY_PATH, attr_set=attributes, attr_clr=_ALL & ~attributes)
    return tree


def _shows(tree: Fd, namespace: Fd) -> bool:
    """Whether a mount is of the procfs that belongs to a PID namespace: its first process is in it."""
    if statfs(tree).f_type != PROC_SUPER_MAGIC:
        return False
    try:
        found = os.stat("1/ns/pid", dir_fd=tree.fileno())
    except OSError:
        return False
    wanted = os.fstat(namespace.fileno())
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
