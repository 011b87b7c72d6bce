"""Filling a fresh tmpfs with what the image has at its place (mount option ``tmpcopyup``)."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

from wherry.linux.fd import Fd

__all__ = ["copy"]

_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_CHUNK: Final = 1 << 20


def copy(source: Fd, target: Fd) -> None:
    """Copy a directory's content into another: kinds, modes, owners, times, extended attributes where allowed.

    Links are copied as links, so nothing outside of the source is ever read. Device nodes and sockets are left out:
    a container gets devices from its specification only.
    """
    with (
        _opened(".", source.fileno(), os.O_DIRECTORY) as from_fd,
        _opened(".", target.fileno(), os.O_DIRECTORY) as to_fd,
    ):
        _copy_tree(from_fd.fileno(), to_fd.fileno())


def _opened(name: str, directory: int, flags: int = 0) -> Fd:
    return Fd(os.open(name, _OPEN | flags, dir_fd=directory))


def _copy_tree(source: int, target: int) -> None:
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            with _opened(name, source, os.O_DIRECTORY) as below, _opened(name, target, os.O_DIRECTORY) as made:
                _copy_tree(below.fileno(), made.fileno())
        elif stat.S_ISREG(status.st_mode):
            _copy_file(name, source, target)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(name, 0o600, dir_fd=target)
        else:
            continue
        _copy_properties(name, target, status)
    _copy_properties(".", target, os.stat(".", dir_fd=source))


def _copy_file(name: str, source: int, target: int) -> None:
    writing = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with _opened(name, source) as from_fd, Fd(os.open(name, writing, 0o600, dir_fd=target)) as to_fd:
        while os.sendfile(to_fd.fileno(), from_fd.fileno(), None, _CHUNK):
            pass
        for attribute in _attributes(from_fd.fileno()):
            with contextlib.suppress(OSError):  # a tmpfs keeps few kinds of them
                os.setxattr(to_fd.fileno(), attribute, os.getxattr(from_fd.fileno(), attribute))


def _attributes(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError:  # ENOTSUP: this file system has none
        return []


def _copy_properties(name: str, directory: int, status: os.stat_result) -> None:
    os.chown(name, status.st_uid, status.st_gid, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=directory)
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=directory, follow_symlinks=False)
