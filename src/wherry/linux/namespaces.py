"""Namespaces: their kinds, and how to open one; see namespaces(7)."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Final

from wherry.errors import InvalidInput
from wherry.linux._libc import fail
from wherry.linux.fd import Fd, FdLike, number
from wherry.linux.process import CLONE

__all__ = ["KINDS", "kind_of", "namespace_inode", "open_namespace", "open_owner"]

#: The kinds, named as under /proc/<pid>/ns, with their flags.
KINDS: Final = {
    "cgroup": CLONE.NEWCGROUP,
    "ipc": CLONE.NEWIPC,
    "mnt": CLONE.NEWNS,
    "net": CLONE.NEWNET,
    "pid": CLONE.NEWPID,
    "time": CLONE.NEWTIME,
    "user": CLONE.NEWUSER,
    "uts": CLONE.NEWUTS,
}
_NAMES: Final = {int(flag): name for name, flag in KINDS.items()}

# linux/nsfs.h
_NS_GET_USERNS, _NS_GET_NSTYPE = 0xB701, 0xB703


def open_namespace(pid_or_path: int | str | os.PathLike[str], kind: str) -> Fd:
    """Open a namespace for setns(2).

    :param pid_or_path: a process, or a file such as a bind mount of /proc/<pid>/ns/net.
    :param kind: a key of :data:`KINDS`.
    :raises InvalidInput: the path leads to something else than a namespace of this kind.
    """
    path = f"/proc/{pid_or_path}/ns/{kind}" if isinstance(pid_or_path, int) else os.fspath(pid_or_path)
    try:
        # Without O_NONBLOCK, a FIFO in place of a namespace would stop us here.
        fd = Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        fail("open", repr(path), number=error.errno or errno.EIO)
    found = kind_of(fd)
    if found != kind:
        fd.close()
        raise InvalidInput(f"{path!r} is no {kind} namespace", cause=f"it is of kind {found}" if found else None)
    return fd


def kind_of(fd: FdLike) -> str | None:
    """Return the kind of a namespace's descriptor, or None if it is no namespace's."""
    try:
        return _NAMES.get(fcntl.ioctl(number(fd), _NS_GET_NSTYPE))
    except OSError:  # ENOTTY: another kind of file
        return None


def open_owner(fd: FdLike) -> Fd:
    """Open the user namespace that owns a namespace; the capabilities there count."""
    try:
        return Fd(fcntl.ioctl(number(fd), _NS_GET_USERNS))
    except OSError as error:
        fail("ioctl", f"NS_GET_USERNS, descriptor {number(fd)}", number=error.errno or errno.EIO)


def namespace_inode(pid_or_fd: int | Fd, kind: str) -> int:
    """Return the number by which two processes' namespaces can be compared.

    :param pid_or_fd: a process ID, or an open namespace (then ``kind`` does not matter).
    """
    try:
        if isinstance(pid_or_fd, Fd):
            return os.fstat(pid_or_fd.fileno()).st_ino
        return os.stat(f"/proc/{pid_or_fd}/ns/{kind}").st_ino
    except OSError as error:
        fail("stat", f"{kind} namespace of {pid_or_fd}", number=error.errno or errno.EIO)
