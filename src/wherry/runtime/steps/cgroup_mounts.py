"""Mount the container's view of its cgroups on /sys/fs/cgroup."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from wherry.errors import SystemCallError
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import AT, MOUNT_ATTR, MS, OPEN_TREE, mount, mount_setattr, open_tree
from wherry.runtime import cgroups
from wherry.runtime.steps import path_in_root
from wherry.runtime.steps.mounts import attach, new_file_system, propagate
from wherry.runtime.steps.step import Context

__all__ = ["Hierarchy", "MountCgroups", "hierarchies", "mounted"]

_SAME_FLAGS: Final = int(MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC)


class Hierarchy(NamedTuple):
    """A mounted control group hierarchy.

    :param mount_point: where, on the host.
    :param version: 1 or 2.
    :param options: what names a version 1 hierarchy to the kernel: controllers, or ``name=...``; also the file
        system's own.
    """

    mount_point: str
    version: int
    options: tuple[str, ...]

    @property
    def directory(self) -> str:
        """Its name under /sys/fs/cgroup."""
        return os.path.basename(self.mount_point)


class MountCgroups(NamedTuple):
    """Mount the control groups.

    Version 1: the container's group is bound, hierarchy by hierarchy. Mounting the hierarchies anew in the cgroup
    namespace would look the same, and make nine superblocks, which cost memory and, at the container's end, time. That
    is done only in a user namespace, which may not bind what is the host's.
    Version 2: mounted anew with a cgroup namespace, where its root is the container's group, and else shown whole. The
    host's own mount is bound then: one that is made in the host's cgroup namespace decides on the options of all, so
    that the host would lose ``nsdelegate``, and with it what keeps containers from their own limits; cgroups(7).

    :param path: the container's group.
    :param private: whether the container has a cgroup namespace of its own.
    """

    destination: str
    attributes: int
    propagation: tuple[int, ...]
    path: str
    private: bool

    def describe(self) -> str:
        return f"mount the control groups on {self.destination}"

    def apply(self, context: Context) -> None:
        found = hierarchies()
        target = path_in_root.ordinary_directory(context.root, self.destination)
        if cgroups.hierarchies().version == 1:
            old = [one for one in found if one.version == 1]
            self._mount_old(target.fd, old, remount=self.private and context.user_namespace)
        else:
            tree = self._tree(next((one.mount_point for one in found if one.version == 2), "/sys/fs/cgroup"), context)
            attach(tree, target.fd)
            propagate(tree, self.propagation)

    def _tree(self, host: str, context: Context) -> Fd:
        if not self.private:
            return _copied(host + (self.path if context.user_namespace else ""), self.attributes)
        try:
            return new_file_system("cgroup2", "cgroup", (), self.attributes)
        except SystemCallError as error:
            # A user namespace that does not own its cgroup namespace may not mount it anew.
            if error.errno not in (errno.EPERM, errno.EBUSY):
                raise
        return _copied(host, self.attributes)

    def _mount_old(self, target: Fd, old: list[Hierarchy], *, remount: bool) -> None:
        """Version 1: a tmpfs with one directory per hierarchy, and links for controllers mounted together."""
        shelf = new_file_system("tmpfs", "tmpfs", (("mode", "755"),), self.attributes & ~MOUNT_ATTR.RDONLY)
        attach(shelf, target)
        propagate(shelf, self.propagation)
        # Nobody else reaches this fresh tmpfs, so that names relative to it are as safe as descriptors, and one
        # mount(2) does what takes six calls otherwise: there are about ten hierarchies.
        os.fchdir(shelf.fileno())
        for one in old:
            os.mkdir(one.directory, 0o755)
            if remount:
                # Read-only, nosuid, nodev, noexec have the same numbers in both interfaces.
                mount("cgroup", one.directory, "cgroup", self.attributes & _SAME_FLAGS, ",".join(one.options))
            else:
                mount(one.mount_point + self.path, one.directory, None, MS.BIND)
            for controller in one.directory.split(",") if "," in one.directory else ():
                os.symlink(one.directory, controller)
        os.chdir("/")
        if self.attributes:
            mount_setattr(shelf, "", AT.EMPTY_PATH | (0 if remount else AT.RECURSIVE), attr_set=self.attributes)


def _copied(path: str, attributes: int) -> Fd:
    tree = open_tree(AT_FDCWD, path, OPEN_TREE.CLONE)
    if attributes:
        mount_setattr(tree, "", AT.EMPTY_PATH, attributes)
    return tree


#: Options that do not name a hierarchy. Most may not even be repeated in a cgroup namespace.
_ORDINARY: Final = frozenset(
    {"rw", "ro", "seclabel", "clone_children", "xattr", "noprefix", "cpuset_v2_mode", "favordynmods"}
)


_known: tuple[Hierarchy, ...] | None = None


def hierarchies() -> tuple[Hierarchy, ...]:
    """Return the hierarchies of this machine; looked up once, best by the engine's process for all its children."""
    global _known  # noqa: PLW0603  nobody mounts cgroups later on
    if _known is None:
        _known = tuple(mounted())
    return _known


def mounted() -> Iterator[Hierarchy]:
    """Read which hierarchies are mounted, each once, from /proc/self/mountinfo (proc(5))."""
    seen: set[object] = set()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            front, _, back = line.partition(" - ")
            kind, _, options = back.split(" ", 2)
            if kind not in ("cgroup", "cgroup2") or not front.split(" ")[4].startswith("/sys/fs/cgroup"):
                continue
            named = tuple(option for option in options.strip().split(",") if _names_hierarchy(option))
            key = (kind, named if kind == "cgroup" else ())
            if key not in seen:
                seen.add(key)
                yield Hierarchy(front.split(" ")[4], 2 if kind == "cgroup2" else 1, named)


def _names_hierarchy(option: str) -> bool:
    return option not in _ORDINARY and not option.startswith("release_agent=")
