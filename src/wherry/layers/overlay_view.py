"""The merged view of a chain of layers, as overlayfs would show it, without mounting it.

Reading a merged tree this way needs no privilege, no mount that could be left behind, and no second process. The
rules are overlayfs': the topmost file of a name wins, directories are merged, a whiteout or an opaque directory ends
the search.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from wherry.errors import SystemCallError
from wherry.layers.whiteouts import is_opaque, is_whiteout
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.trees import Descent

__all__ = ["MergedEntry", "MergedTree", "lookup"]

_BENEATH: Final = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS
# Directories that are open at once: of each layer, which may be hundreds, and of the topmost. That may be a running
# container's, who may move them.
_HELD: Final = 4
_HELD_ON_TOP: Final = 64
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def lookup(layers: Sequence[str | os.PathLike[str]], path: bytes) -> Fd | None:
    """Look up a path without links in a chain of layers.

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

    :param level: the position in the chain of the layer that it is in; 0 is the top.
    """

    name: bytes
    level: int
    status: os.stat_result

    @property
    def is_whiteout(self) -> bool:
        """Whether it says that the layers below don't have this name any more."""
        return is_whiteout(self.status)

    @property
    def is_directory(self) -> bool:
        """Whether there is something to `enter`."""
        return stat.S_ISDIR(self.status.st_mode)


class MergedTree:
    """A chain of layers as one tree, and a current directory in it. Use it in a ``with`` block.

    Whoever enters a directory leaves it again before going on with the one above. However deep it is, some descriptors
    for each layer are all that it takes (`wherry.linux.trees`).

    :param ways: the ways down the layers, top first; it owns them.
    """

    def __init__(self, ways: Sequence[Descent]) -> None:
        self._ways = ways
        self._levels = [tuple(range(len(ways)))]  # for each directory of the way, the layers that have it
        self._path = bytearray()

    @classmethod
    def open(cls, layers: Sequence[str | os.PathLike[str]]) -> MergedTree:
        """At the root of a chain of layers, given top first."""
        ways: list[Descent] = []
        try:
            for layer in layers:
                ways.append(Descent.open(layer, _HELD if ways else _HELD_ON_TOP))
        except BaseException:
            for way in ways:
                way.close()
            raise
        return cls(ways)

    # --- the present directory --------------------------------------------------------------------

    @property
    def status(self) -> os.stat_result:
        """The status of the directory, from the topmost layer that has it."""
        return os.fstat(self.fileno())

    def fileno(self) -> int:
        """A descriptor of the directory in the topmost layer that has it, good until the next move."""
        return self._ways[self._levels[-1][0]].fileno()

    @property
    def identity(self) -> list[tuple[int, int]]:
        """Which directories it consists of: two that have the same look the same."""
        found = (os.fstat(self._ways[level].fileno()) for level in self._levels[-1])
        return [(status.st_dev, status.st_ino) for status in found]

    @property
    def is_opaque(self) -> bool:
        """Whether the directory is opaque in its topmost layer."""
        return is_opaque(self.fileno())

    def path(self, name: bytes) -> bytes:
        """Where a file of this directory is, from the root."""
        return bytes(self._path + name)

    def directory(self, entry: MergedEntry) -> int:
        """A descriptor of the layer's directory that an entry of this one is in; good until the next move."""
        return self._ways[entry.level].fileno()

    def entries(self, *, whiteouts: bool = False) -> Iterator[MergedEntry]:
        """All names, sorted, without those that were deleted.

        :param whiteouts: whether to include whiteouts.
        """
        found: dict[bytes, int] = {}
        for level in reversed(self._levels[-1]):
            found.update(dict.fromkeys(map(os.fsencode, os.listdir(self._ways[level].fileno())), level))
        names = sorted(found, reverse=True)
        while names:
            entry = self._entry(name := names.pop(), found.pop(name))
            if entry is not None and (whiteouts or not entry.is_whiteout):
                yield entry

    def find(self, name: bytes) -> MergedEntry | None:
        """One name, unless it was deleted or never there."""
        for level in self._levels[-1]:
            entry = self._entry(name, level)
            if entry is not None:
                return None if entry.is_whiteout else entry
        return None

    def _entry(self, name: bytes, level: int) -> MergedEntry | None:
        try:
            return MergedEntry(name, level, os.stat(name, dir_fd=self._ways[level].fileno(), follow_symlinks=False))
        except FileNotFoundError:
            return None

    # --- moving -----------------------------------------------------------------------------------

    def enter(self, name: bytes) -> bool:
        """Go into a directory of this one; False, and nothing happens, where it is something else, or nothing."""
        levels: list[int] = []
        for level in self._levels[-1]:
            way = self._ways[level]
            try:
                way.enter(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                break
            levels.append(level)
            if is_opaque(way.fileno()):
                break
        if levels:
            former, present = self._levels[-1], tuple(levels)
            self._levels.append(former if former == present else present)
            self._path += name + b"/"
        return bool(levels)

    def leave(self) -> None:
        """Go back to the directory above.

        :raises OSError: that was moved elsewhere meanwhile (``ESTALE``).
        """
        for level in self._levels.pop():
            self._ways[level].leave()
        del self._path[self._path.rfind(b"/", 0, -1) + 1 :]

    def close(self) -> None:
        """Close its descriptors."""
        for way in self._ways:
            way.close()

    def __enter__(self) -> MergedTree:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
