"""What a pile of layers looks like from above, without mounting it.

Reading a merged tree this way needs no privilege, no mount that could be left behind, and no second process. The
rules are overlayfs': the topmost file of a name wins, directories are merged, a whiteout or an opaque directory ends
the search.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from wherry.errors import SystemCallError, TooLarge
from wherry.layers.entry import shown
from wherry.layers.marks import is_opaque, is_whiteout
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2

__all__ = ["MergedDirectory", "MergedEntry", "lookup"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH: Final = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS
# A container can make its directories deeper than a stack, or a process's descriptors, reach.
_MAX_DEPTH: Final = 300
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def lookup(layers: Sequence[str | os.PathLike[str]], path: bytes) -> Fd | None:
    """Find what a pile of layers has at a path that contains no links.

    :param layers: their directories, top first.
    :param path: from the root, without a leading slash.
    :return: an ``O_PATH`` descriptor, of a link itself where it is one; None when there is nothing, or it was deleted.
    """
    for layer in layers:
        with Fd(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            try:
                found = openat2(root, path, os.O_PATH | os.O_NOFOLLOW, resolve=_BENEATH)
            except SystemCallError as error:
                if error.errno not in _ABSENT:
                    raise
                continue
        if is_whiteout(os.fstat(found.fileno())):
            found.close()
            return None
        return found
    return None


class MergedEntry(NamedTuple):
    """One name of a merged directory.

    :param directory: a descriptor of the layer's directory that it is in.
    :param level: the layer's place in the pile; 0 is the top.
    """

    name: bytes
    directory: int
    level: int
    status: os.stat_result

    @property
    def is_whiteout(self) -> bool:
        """Whether it says that the layers below don't have this name any more."""
        return is_whiteout(self.status)


class MergedDirectory:
    """One directory, merged from those layers of a pile that have it. Use it in a ``with`` block.

    :param levels: the layers' directories that it consists of, top first, with their place in the pile; it owns the
        descriptors.
    """

    def __init__(self, levels: Sequence[tuple[int, Fd]], depth: int = 0) -> None:
        self._levels = levels
        self._depth = depth

    @classmethod
    def open_root(cls, layers: Sequence[str | os.PathLike[str]]) -> MergedDirectory:
        """The root of a pile of layers, given top first."""
        return cls([(level, Fd(os.open(path, _DIRECTORY))) for level, path in enumerate(layers)])

    @property
    def status(self) -> os.stat_result:
        """What the directory looks like: the topmost one counts."""
        return os.fstat(self._levels[0][1].fileno())

    @property
    def identity(self) -> list[tuple[int, int]]:
        """Which directories it consists of: two that have the same look the same."""
        return [(status.st_dev, status.st_ino) for status in (os.fstat(fd.fileno()) for _, fd in self._levels)]

    @property
    def is_opaque(self) -> bool:
        """Whether its topmost part hides what layers below have in theirs."""
        return is_opaque(self._levels[0][1].fileno())

    def entries(self, *, whiteouts: bool = False) -> Iterator[MergedEntry]:
        """All names, sorted, without those that were deleted.

        :param whiteouts: with the marks of deletion.
        """
        found: dict[bytes, MergedEntry] = {}
        for level, directory in self._levels:
            fd = directory.fileno()
            for name in map(os.fsencode, os.listdir(fd)):
                if name not in found:
                    found[name] = MergedEntry(name, fd, level, os.stat(name, dir_fd=fd, follow_symlinks=False))
        for _, entry in sorted(found.items()):
            if whiteouts or not entry.is_whiteout:
                yield entry

    def find(self, name: bytes) -> MergedEntry | None:
        """One name, unless it was deleted or never there."""
        for level, directory in self._levels:
            fd = directory.fileno()
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            return None if is_whiteout(status) else MergedEntry(name, fd, level, status)
        return None

    def open(self, name: bytes) -> MergedDirectory | None:
        """A directory in this one; None when it is something else, or nothing."""
        if self._depth >= _MAX_DEPTH:
            raise TooLarge(f"there are directories more than {_MAX_DEPTH} deep: {shown(name)}")
        levels: list[tuple[int, Fd]] = []
        for level, directory in self._levels:
            try:
                fd = Fd(os.open(name, _DIRECTORY, dir_fd=directory.fileno()))
            except FileNotFoundError:
                continue
            except (NotADirectoryError, OSError) as error:
                if error.errno not in _ABSENT:
                    raise
                break
            levels.append((level, fd))
            if is_opaque(fd.fileno()):
                break
        return MergedDirectory(levels, self._depth + 1) if levels else None

    def close(self) -> None:
        """Close its descriptors."""
        for _, fd in self._levels:
            fd.close()

    def __enter__(self) -> MergedDirectory:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
