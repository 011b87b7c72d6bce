"""A directory tree like another one, made of hard links: no data is copied, however large the files are."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from wherry.content.durable import disk_errors
from wherry.linux import trees

__all__ = ["Judge", "everything", "excluded", "link_tree"]

Judge = Callable[[bytes, Any], tuple[bool, bool, Any]]
"""Whether a path is taken; whether, of a directory, something below may be; and what to give for what is in it."""


def everything(path: bytes, above: Any) -> tuple[bool, bool, Any]:
    """Takes everything."""
    return True, True, None


def link_tree(source: Path, destination: Path, judge: Judge = everything, above: Any = None) -> int:
    """Make a directory like another one on the same file system, of which nobody changes a file. In a thread.

    Whatever was in the directory before is removed.

    :param above: for `judge` of what is at the top.
    :return: the sum of the files' sizes, in bytes.
    """
    with disk_errors("link a build context"):
        for name in os.listdir(destination):
            trees.remove(destination / name)
        with trees.Descent.open(source) as there, trees.Descent.open(destination) as here:
            return _Linking(there, here, judge).run(above)


def excluded(source: Path, judge: Judge, most: int) -> tuple[int, list[bytes]] | None:
    """What of a directory is not taken: whole directories, and files in others. In a thread.

    :param most: how many of these there may be.
    :return: the sum of the sizes of all files that are taken, in bytes, and the paths. None: there are more, or
        something may be taken of a directory that is not.
    """
    with disk_errors("look through a build context"), trees.Descent.open(source) as way:
        size, paths = 0, list[bytes]()
        for one in trees.unrolled(_sizes(way, b"", judge, None)):
            if isinstance(one, int):
                size += one
                continue
            if one is None or len(paths) == most:
                return None
            paths.append(one)
        return size, paths


def _sizes(way: trees.Descent, prefix: bytes, judge: Judge, above: Any) -> Generator[Any, None, None]:
    folders = []
    with os.scandir(way.fileno()) as scan:
        for entry in scan:
            name = os.fsencode(entry.name)
            taken, entered, below = judge(prefix + name, above)
            is_directory = entry.is_dir(follow_symlinks=False)
            if not taken:
                yield None if is_directory and entered else prefix + name
            elif is_directory:
                folders.append((name, below))
            else:
                yield entry.stat(follow_symlinks=False).st_size
    for name, below in folders:
        way.enter(name)
        yield _sizes(way, prefix + name + b"/", judge, below)
        way.leave()


class _Folder(NamedTuple):
    """A directory that is entered, or will be; `below` is for `Judge` of what is in it."""

    name: bytes
    status: os.stat_result
    taken: bool
    below: Any


class _Linking:
    """Goes through both trees at once, without recursion."""

    def __init__(self, there: trees.Descent, here: trees.Descent, judge: Judge) -> None:
        self._there = there
        self._here = here
        self._judge = judge
        self._way: list[bytes] = []
        self._size = 0

    def run(self, above: Any) -> int:
        """Link everything; the sum of the sizes."""
        top = _Folder(b"", os.fstat(self._there.fileno()), True, above)
        pending = [(top, self._level(above))]
        while pending:
            folder, folders = pending[-1]
            if folders:
                self._enter(below := folders.pop())
                pending.append((below, self._level(below.below)))
                continue
            pending.pop()
            self._finish(folder)
        return self._size

    def _enter(self, folder: _Folder) -> None:
        self._there.enter(folder.name)
        os.mkdir(folder.name, 0o700, dir_fd=self._here.fileno())
        self._here.enter(folder.name)
        self._way.append(folder.name)

    def _level(self, above: Any) -> list[_Folder]:
        """Link the files of a directory; its directories are to be entered."""
        folders = []
        prefix = b"/".join([*self._way, b""])
        there, here = self._there.fileno(), self._here.fileno()
        for text in sorted(os.listdir(there), reverse=True):
            name = os.fsencode(text)
            status = os.stat(name, dir_fd=there, follow_symlinks=False)
            taken, entered, below = self._judge(prefix + name, above)
            if stat.S_ISDIR(status.st_mode):
                if taken or entered:
                    folders.append(_Folder(name, status, taken, below))
            elif taken:
                os.link(name, name, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
                self._size += status.st_size
        return folders

    def _finish(self, folder: _Folder) -> None:
        """Mode and times of a directory, once everything is in it; one that only something in it needed may go."""
        fd, moment = self._here.fileno(), folder.status.st_mtime_ns
        if not self._way:
            os.utime(fd, ns=(moment, moment))
            return
        os.fchmod(fd, stat.S_IMODE(folder.status.st_mode))
        os.utime(fd, ns=(moment, moment))
        self._way.pop()
        self._there.leave()
        self._here.leave()
        if not folder.taken:
            with suppress(OSError):
                os.rmdir(folder.name, dir_fd=self._here.fileno())
