"""A mount namespace of the engine's own, in which volumes are mounted that are more than directories.

Nobody is in it: it lives by a descriptor, of which the keeper holds another one. So nothing is mounted on the host,
several containers have one mount (a tmpfs, an overlay would be another one otherwise), no container can change what
the others get, and a daemon's restart loses nothing. A mount can be copied only by who is in its namespace
(open_tree(2)); so a thread goes there and does not come back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.errors import SystemCallError
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.mount import (
    AT,
    MNT,
    MOVE_MOUNT,
    MS,
    OPEN_TREE,
    fsconfig_create,
    fsconfig_string,
    fsmount,
    fsopen,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    umount2,
)
from wherry.linux.process import CLONE, setns, unshare

__all__ = ["MountSpace"]

_BENEATH: Final = int(RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS)
_SAME_MOUNT: Final = int(RESOLVE.NO_XDEV | RESOLVE.NO_SYMLINKS)
_COPY: Final = int(OPEN_TREE.CLONE | AT.EMPTY_PATH | AT.RECURSIVE)
_FROM: Final = int(MOVE_MOUNT.F_EMPTY_PATH)


class MountSpace:
    """The namespace. Each method is to be called in a thread that ends afterwards.

    :param descriptor: of the namespace; owned.
    """

    def __init__(self, descriptor: Fd) -> None:
        self.descriptor: Final = descriptor

    @classmethod
    def make(cls, place: Path) -> MountSpace:
        """Make one that is empty.

        :param place: an empty directory, on which the new root is mounted for a moment, in the new namespace only.
        """
        unshare(CLONE.FS | CLONE.NEWNS)
        mount_setattr(AT_FDCWD, "/", int(AT.RECURSIVE), propagation=int(MS.PRIVATE))
        descriptor = Fd(os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
        with fsopen("tmpfs") as context:
            fsconfig_string(context, "mode", "700")
            fsconfig_create(context)
            with fsmount(context) as root:
                move_mount(root, "", AT_FDCWD, place, _FROM)
        os.chdir(place)
        pivot_root(".", ".")
        umount2(".", int(MNT.DETACH))
        return cls(descriptor)

    def attach(self, name: str, tree: Fd) -> None:
        """Mount a detached mount under a name, under which nothing is mounted."""
        self._enter()
        with suppress(FileExistsError):
            os.mkdir(f"/{name}", 0o700)
        move_mount(tree, "", AT_FDCWD, f"/{name}", _FROM)

    def take(self, name: str, subpath: str) -> Fd:
        """Copy what is mounted under a name, or a part of it, as a detached mount."""
        self._enter()
        with (
            Fd(os.open(f"/{name}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as top,
            openat2(top, subpath or ".", os.O_PATH, resolve=_BENEATH) as part,
        ):
            return open_tree(part, "", _COPY)

    def detach(self, names: Iterable[str]) -> None:
        """Unmount what is under these names; who has a copy keeps it."""
        self._enter()
        for name in names:
            while _is_mounted(name):  # twice, where somebody died, or gave up, between mounting and taking note
                umount2(f"/{name}", int(MNT.DETACH))
            with suppress(FileNotFoundError):
                os.rmdir(f"/{name}")

    def names(self) -> list[str]:
        """The names under which something is mounted."""
        self._enter()
        return [name for name in os.listdir("/") if _is_mounted(name)]

    def _enter(self) -> None:
        unshare(CLONE.FS)  # the working directory and the root, that the other threads keep
        setns(self.descriptor, CLONE.NEWNS)


def _is_mounted(name: str) -> bool:
    """Whether something is mounted under a name; whoever serves it is not asked."""
    try:
        openat2(AT_FDCWD, f"/{name}", os.O_PATH, resolve=_SAME_MOUNT).close()
    except SystemCallError as error:
        if error.errno == errno.EXDEV:
            return True
        if error.errno != errno.ENOENT:
            raise
    return False
