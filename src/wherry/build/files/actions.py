"""The actions of a file operation but for copying: make a file, a directory or a link, remove."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from wherry.build.files.owners import Ids
from wherry.build.files.rooted import Place, file_errors, locate
from wherry.build.files.sources import clean, encoded, expand
from wherry.build.model.graph import MakeDirectory, MakeFile, Remove, Symlink
from wherry.content.durable import write_all
from wherry.errors import InvalidInput, NotFound
from wherry.linux import trees
from wherry.linux.fd import Fd

__all__ = ["make_directories", "make_directory", "make_file", "make_link", "remove", "set_times", "time_of"]

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PERMISSIONS: Final = 0o777


class _Maker:
    """Makes the directories on the way to a path, each with the same looks.

    In a set-group-ID directory they are so, too, and of its group unless an owner is given: as mkdir(2) makes them.
    """

    def __init__(self, mode: int, owner: Ids | None, time: int | None) -> None:
        self._mode = mode & _PERMISSIONS
        self._owner = owner
        self._time = time
        self.count = 0

    def __call__(self, directory: int, name: bytes) -> None:
        os.mkdir(name, 0o700, dir_fd=directory)
        self.count += 1
        with Fd(os.open(name, _DIRECTORY, dir_fd=directory)) as fd:
            if self._owner is not None:
                os.fchown(fd.fileno(), *self._owner)
            handed_down = os.fstat(fd.fileno()).st_mode & stat.S_ISGID
            os.fchmod(fd.fileno(), self._mode | handed_down)
            if self._time is not None:
                os.utime(fd.fileno(), ns=(self._time, self._time))


def make_directories(
    root: int,
    path: bytes,
    *,
    mode: int = 0o755,
    owner: Ids | None,
    time: int | None,
    made: list[bytes] | None = None,
) -> Place:
    """Make a directory and all on the way to it, unless they are there; links are followed, inside.

    :param made: takes the paths of those that were made, for `set_times` when all is in them that shall be.
    :raises InvalidInput: something on the way, or there, is no directory.
    """
    maker = _Maker(mode, owner, time)
    place = locate(root, path, make=maker, call="mkdir")
    try:
        with file_errors("mkdir", path):
            if place.status is None:
                maker(place.directory.fileno(), place.name)
            elif not place.is_directory:
                raise InvalidInput(f"mkdir /{os.fsdecode(path)}: not a directory")
            names = place.path.split(b"/")
            new = [b"/".join(names[: len(names) - number]) for number in range(maker.count)]
            set_times(root, new[1:], time)  # to make one changes the one above
            if made is not None:
                made += new
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            directory = Fd(os.open(place.name, flags, dir_fd=place.directory.fileno()))
            return Place(directory, b".", os.stat(directory.fileno()), place.path)
    finally:
        place.close()


def set_times(root: int, paths: Sequence[bytes], time: int | None) -> None:
    """Give directories a time: the lowest first. Does nothing without one."""
    if time is None:
        return
    for path in filter(None, paths):
        with locate(root, path, follow=False) as place:
            if place.is_directory:
                os.utime(place.name, ns=(time, time), dir_fd=place.directory.fileno(), follow_symlinks=False)


def make_directory(root: int, action: MakeDirectory, owner: Ids | None) -> None:
    """Make a directory; one that is there stays as it is."""
    path, time = clean(action.path), time_of(action.timestamp)
    if action.parents:
        make_directories(root, path, mode=action.mode, owner=owner, time=time).close()
        return
    with locate(root, path, call="mkdir") as place, file_errors("mkdir", path):
        if place.status is None:
            _Maker(action.mode, owner, time)(place.directory.fileno(), place.name)


def make_file(root: int, action: MakeFile, owner: Ids | None) -> None:
    """Write a file, in place of one that is there; a link is followed, inside."""
    path = clean(action.path)
    with locate(root, path, call="open") as place, file_errors("open", path):
        there = place.directory.fileno()
        if place.status is not None and not stat.S_ISREG(place.status.st_mode):
            what = "is a directory" if place.is_directory else "is not a regular file"
            raise InvalidInput(f"open /{os.fsdecode(path)}: {what}")
        is_new = place.status is None
        with Fd(os.open(place.name, _NEW if is_new else _OLD, 0o600, dir_fd=there)) as fd:
            write_all(fd.fileno(), action.data)
            if owner is not None:
                os.fchown(fd.fileno(), *owner)
            if is_new:
                os.fchmod(fd.fileno(), action.mode & _PERMISSIONS)
            if (time := time_of(action.timestamp)) is not None:
                os.utime(fd.fileno(), ns=(time, time))


def make_link(root: int, action: Symlink, owner: Ids | None) -> None:
    """Make a symbolic link, where nothing is."""
    path = clean(action.path)
    with locate(root, path, call="symlink") as place, file_errors("symlink", path):
        there = place.directory.fileno()
        os.symlink(encoded(action.target), place.name, dir_fd=there)
        if owner is not None:
            os.chown(place.name, *owner, dir_fd=there, follow_symlinks=False)
        if (time := time_of(action.timestamp)) is not None:
            os.utime(place.name, ns=(time, time), dir_fd=there, follow_symlinks=False)


def remove(root: int, action: Remove) -> None:
    """Remove a path, with all below it; a link itself.

    :raises NotFound: nothing is there, and that is not allowed.
    """
    if not action.allow_wildcard:
        _remove(root, clean(action.path), allow_not_found=action.allow_not_found)
        return
    for path in expand(root, action.path, wildcards=True, follow=False):
        _remove(root, path, allow_not_found=action.allow_not_found)


def _remove(root: int, path: bytes, *, allow_not_found: bool) -> None:
    if not path:
        raise InvalidInput("rmPath: invalid empty path")
    found = False
    with suppress(NotFound), locate(root, path, follow=False, call="stat") as place, file_errors("unlinkat", path):
        found = place.status is not None
        trees.remove(place.name, dir_fd=place.directory.fileno())
    if not found and not allow_not_found:
        raise NotFound(f"stat /{os.fsdecode(path)}: no such file or directory")


def time_of(timestamp: int) -> int | None:
    """An action's time, in nanoseconds since the epoch; None: it has none.

    :raises InvalidInput: no file system has such a time.
    """
    if not -(1 << 63) <= timestamp < 1 << 63:
        raise InvalidInput(f"invalid timestamp {timestamp}")
    return None if timestamp == -1 else timestamp
