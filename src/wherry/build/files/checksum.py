"""The checksum of files' content, for the cache: of what a copy would take, or of all below a path.

It covers paths, kinds, modes, owners, links' targets, extended attributes and contents; not times. Two trees with the
same checksum are copied to the same files.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Generator
from typing import Any

from wherry.build.files.content_sums import Sums
from wherry.build.files.rooted import Place, check_length, file_errors, locate
from wherry.build.files.selection import ALL, TOP, Selection, States
from wherry.build.files.sources import clean, expand, wanted
from wherry.build.model.graph import Copy
from wherry.errors import NotFound
from wherry.layers.file_content import attributes
from wherry.linux.trees import Descent, unrolled

__all__ = ["copy_checksum", "path_checksum"]

Check = Callable[[], object]
Note = Callable[[str, dict[bytes, bytes]], object]

_LISTED = 1000


def copy_checksum(
    root: int, copy: Copy, sums: Sums, check: Check = lambda: None, note: Note = lambda checksum, files: None
) -> str:
    """The checksum of everything that a copy takes from its source.

    :param root: a descriptor of the source's root.
    :param sums: remembers files' digests.
    :param check: called for each file: raises where the work is not wanted any more.
    :param note: called with the checksum and what some of the files, by their paths, are like.
    :raises NotFound: nothing is at the source: ``"/x": not found``.
    :raises InvalidInput: a pattern is none.
    """
    taken = wanted(copy)
    follow = copy.follow_symlink or copy.unpack_archive
    running = _Running(sums, Selection(taken.include, copy.exclude), check)
    try:
        found = expand(root, taken.source, wildcards=copy.allow_wildcard, follow=copy.follow_symlink, check=check)
    except NotFound:
        raise _not_found(taken.source) from None
    if not found and not copy.allow_empty_wildcard:
        raise _not_found(taken.source)
    names = len(found) > 1 or found != [clean(taken.source)]
    for path in found:
        _add(running, root, path, follow=follow, name=path if names else b"")
    found_sum = running.hexdigest()
    note(found_sum, running.listing)
    return found_sum


def path_checksum(root: int, path: str, sums: Sums, check: Check = lambda: None) -> str:
    """The checksum of a path, and of all below it; links are followed, inside.

    :raises NotFound: nothing is there.
    """
    running = _Running(sums, ALL, check)
    _add(running, root, clean(path), follow=True, name=b"")
    return running.hexdigest()


def _add(running: _Running, root: int, path: bytes, *, follow: bool, name: bytes) -> None:
    try:
        place = locate(root, path, follow=follow)
    except NotFound:
        raise _not_found(os.fsdecode(path)) from None
    with place:
        if place.status is None:
            raise _not_found(os.fsdecode(path))
        with file_errors("read", path):
            running.add(place, name)


def _not_found(path: str) -> NotFound:
    """BuildKit's words."""
    return NotFound(f'"/{path.lstrip("/")}": not found')


class _Running:
    """A checksum in the making."""

    def __init__(self, sums: Sums, selection: Selection, check: Check) -> None:
        self._sums = sums
        self._selection = selection
        self._check = check
        self._hash = hashlib.sha256()
        self.listing: dict[bytes, bytes] = {}

    def hexdigest(self) -> str:
        """What came of it so far."""
        return self._hash.hexdigest()

    def add(self, place: Place, name: bytes) -> None:
        """Add what is at a place, under a name of its own."""
        assert place.status is not None
        self._add_entry(place.directory.fileno(), place.name, name, place.status)
        if place.is_directory:
            with Descent(place.open_directory()) as way:
                # A directory that is only on the way to something that is taken counts once that is.
                for _ in unrolled(self._below(way, b"", TOP, [])):
                    pass

    def _below(self, way: Descent, path: bytes, above: States, waiting: list[bytes]) -> Generator[Any, None, None]:
        """Add what is in the present directory; generators are for `unrolled`.

        :param waiting: lines of directories on the way that were not taken themselves, until something in them is.
        """
        directory = way.fileno()
        names = sorted(map(os.fsencode, os.listdir(directory)), reverse=True)
        while names:
            self._check()
            name = names.pop()
            here = path + name
            check_length(here)
            verdict = self._selection.judge(here, above)
            if not verdict.taken and not verdict.entered:
                continue
            directory = way.fileno()
            try:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:  # overlayfs lists a whiteout where nothing is below
                continue
            if not stat.S_ISDIR(status.st_mode):
                if verdict.taken:
                    self._flush(waiting)
                    self._add_entry(directory, name, here, status)
                continue
            waiting.append(self._line(directory, name, here, status))
            depth = len(waiting)
            if verdict.taken:
                self._flush(waiting)
            if verdict.entered:
                way.enter(name)
                yield self._below(way, here + b"/", verdict.below, waiting)
                way.leave()
            if len(waiting) == depth:  # nothing in it was taken
                waiting.pop()

    def _note(self, path: bytes, line: bytes) -> bytes:
        """Remember what a file is like, of some: an explanation may want to name it."""
        if len(self.listing) < _LISTED:
            self.listing[path] = line
        return line

    def _flush(self, waiting: list[bytes]) -> None:
        for line in waiting:
            self._hash.update(line)
        waiting.clear()

    def _add_entry(self, directory: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        self._hash.update(self._note(path, self._line(directory, name, path, status)))

    def _line(self, directory: int, name: bytes, path: bytes, status: os.stat_result) -> bytes:
        """One file for the hash; each part tells its length, so that no two trees make the same bytes."""
        mode = status.st_mode
        kind = stat.S_IFMT(mode)
        more = b""
        if kind == stat.S_IFREG:  # what is remembered of it covers its attributes as well
            return b"%d %d %d %d\n%s%s" % (
                len(path), mode, status.st_uid, status.st_gid, path,
                self._sums.digest(directory, name, status, self._check),
            )  # fmt: skip
        if kind == stat.S_IFLNK:
            more = os.readlink(name, dir_fd=directory)
            mode = stat.S_IFLNK | 0o777
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            more = b"%d" % status.st_rdev
        found = attributes(b"/proc/self/fd/%d/%s" % (directory, name))
        return b"%d %d %d %d %d %d\n%s%s%s" % (
            len(path), mode, status.st_uid, status.st_gid, len(more), len(found), path, more, found,
        )  # fmt: skip
