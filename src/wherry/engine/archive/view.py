"""One view of a container's files: paths are looked up in it by the kernel, and never lead out of it."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from typing import Final

from wherry.errors import InvalidInput, NotFound, SystemCallError, SystemFault
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2, openat2_if_there
from wherry.linux.mount import statfs

__all__ = ["IN_ROOT", "View", "absolute", "asserts_directory"]

IN_ROOT: Final = int(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
_ALONE: Final = int(RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS)
_MAX_LINKS: Final = 40  # as many as the kernel follows
_MAX_PATH: Final = 4095

#: File systems whose files are the kernel's: who reads or writes them here would do so as the host (linux/magic.h).
_KERNELS: Final = frozenset({
    0x9FA0,  # proc
    0x62656572,  # sysfs
    0x27E0EB,  # cgroup
    0x63677270,  # cgroup2
    0x64626720,  # debugfs
    0x74726163,  # tracefs
    0x73636673,  # securityfs
    0xCAFE4A11,  # bpf
    0x62656570,  # configfs
    0xDE5E81E4,  # efivarfs
    0x6165676C,  # pstore
    0x19800202,  # mqueue
    0x1CD1,  # devpts
    0xF97CFF8C,  # selinuxfs
    0x43415D53,  # smackfs
    0x42494E4D,  # binfmt_misc
    0x6E736673,  # nsfs
    0x67596969,  # rpc_pipefs
    0x0187,  # autofs
    0x65735543,  # fusectl
    0x7655821,  # resctrl
    0x6E667364,  # nfsd
    0xABBA1974,  # xenfs
})  # fmt: skip


def asserts_directory(path: str) -> bool:
    """Whether a path says by its end that it is a directory: ``/a/``, ``/a/.``."""
    return path.endswith(("/", "/.")) or path == "."


def absolute(path: str) -> str:
    """A path from the root, cleaned as a text, which keeps a ``/.`` or ``/`` at its end."""
    if "\0" in path:
        raise InvalidInput("the path contains a NUL byte")
    cleaned = "/" + posixpath.normpath("/" + path).lstrip("/")
    if path.endswith("/.") or path == ".":
        return cleaned.rstrip("/") + "/."
    return cleaned if cleaned == "/" or not path.endswith("/") else cleaned + "/"


class View:
    """The files of a container.

    :param root: a detached copy of its mounts; it belongs to this object.
    :param ref: the container, as errors name it.
    """

    def __init__(self, root: Fd, ref: str) -> None:
        self.root = root
        self.ref = ref
        self._known: dict[int, bool] = {}

    def missing(self, path: str) -> NotFound:
        """The error for a path at which nothing is, in Docker's words."""
        return NotFound(f"Could not find the file {path} in container {self.ref}")

    def open(self, path: str, flags: int = os.O_PATH | os.O_NOFOLLOW, shown: str | None = None) -> Fd:
        """Open what is at a path; with ``O_NOFOLLOW`` a link at its end is not followed unless the path asserts more.

        :param shown: the path as the caller wrote it.
        :raises NotFound: nothing is there, or something of the kernel's.
        :raises SystemFault: it cannot be opened, as a file that is taken for a directory.
        """
        if asserts_directory(path):
            flags = flags & ~os.O_NOFOLLOW | os.O_DIRECTORY
        shown = path if shown is None else shown
        try:
            found = openat2(self.root, path, flags, resolve=IN_ROOT)
        except SystemCallError as error:
            if error.errno == errno.ENOENT:
                raise self.missing(shown) from error
            raise SystemFault(f"lstat {shown}", cause=os.strerror(error.errno).lower()) from error
        if self.is_kernels(found.fileno()) and not self._is_its_root(found):
            found.close()
            raise self.missing(shown)
        return found

    def _is_its_root(self, file: Fd) -> bool:
        """Whether it is the directory that a file system of the kernel's is mounted on: shown as an empty one."""
        if not stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
            return False
        above = openat2_if_there(file, "..", os.O_PATH | os.O_DIRECTORY, 0)
        if above is None:
            return False
        with above:
            return not self.is_kernels(above.fileno())

    def is_kernels(self, file: int, device: int | None = None) -> bool:
        """Whether a descriptor is of a file system whose files are the kernel's.

        :param device: its ``st_dev``, if that is known.
        """
        device = os.fstat(file).st_dev if device is None else device
        known = self._known.get(device)
        if known is None:
            known = self._known[device] = statfs(file).f_type in _KERNELS
        return known

    def followed(self, path: str) -> str:
        """A path without links, as far as there is something: what a broken link points to stays as it is.

        For people and for comparisons; nothing is opened by it again.
        """
        todo, done, links = path.split("/")[::-1], list[str](), 0
        while todo:
            name = todo.pop()
            if name == "..":
                del done[-1:]
            elif name not in ("", "."):
                goal = self._link([*done, name])
                if goal is None:
                    done.append(name)
                    continue
                links += 1
                if links > _MAX_LINKS:
                    raise SystemFault(f"lstat {path}", cause="too many levels of symbolic links")
                if goal.startswith("/"):
                    done = []
                todo += goal.split("/")[::-1]
        return "/" + "/".join(done)

    def _link(self, way: list[str]) -> str | None:
        """Where a link points to; None for what is none, or is not there."""
        path = "/".join(way)
        if len(os.fsencode(path)) > _MAX_PATH:
            return None
        try:
            found = openat2_if_there(self.root, path, os.O_PATH | os.O_NOFOLLOW, _ALONE)
        except SystemCallError:
            return None
        if found is None:
            return None
        with found:
            is_link = stat.S_ISLNK(os.fstat(found.fileno()).st_mode)
            return os.readlink("", dir_fd=found.fileno()) if is_link else None
