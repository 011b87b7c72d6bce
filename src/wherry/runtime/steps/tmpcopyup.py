"""Fill a new tmpfs with the image's files at that path (mount option ``tmpcopyup``)."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from typing import Any, Final

from wherry.linux.fd import Fd
from wherry.linux.trees import Descent, unrolled

__all__ = ["copy"]

_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_CHUNK: Final = 1 << 20


def copy(source: Fd, target: Fd) -> None:
    """Copy a directory's content into another: kinds, modes, owners, times, extended attributes where allowed.

    Links are copied as links, so nothing outside of the source is ever read. Device nodes and sockets are left out:
    a container gets devices from its specification only.
    """
    with (
        Descent(_opened(".", source.fileno(), os.O_DIRECTORY)) as come_from,
        Descent(_opened(".", target.fileno(), os.O_DIRECTORY)) as go_to,
    ):
        for _ in unrolled(_copy_tree(come_from, go_to)):
            pass


def _opened(name: str, directory: int, flags: int = 0) -> Fd:
    return Fd(os.open(name, _OPEN | flags, dir_fd=directory))


def _copy_tree(come_from: Descent, go_to: Descent) -> Generator[Any, None, None]:
    """Copy the present directory; those in it are yielded for `unrolled`."""
    for name in os.listdir(come_from.fileno()):
        source, target = come_from.fileno(), go_to.fileno()
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            come_from.enter(name)
            go_to.enter(name)
            yield _copy_tree(come_from, go_to)
            come_from.leave()
            go_to.leave()
        elif stat.S_ISREG(status.st_mode):
            _copy_file(name, source, target)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(name, 0o600, dir_fd=target)
        else:
            continue
        _copy_properties(name, go_to.fileno(), status)
    _copy_properties(".", go_to.fileno(), os.stat(".", dir_fd=come_from.fileno()))


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
