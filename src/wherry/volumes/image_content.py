"""What an image has at a place: its layers, looked at as one tree, with links followed as the container would."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from enum import Enum
from typing import Final

from wherry.layers.overlay_view import MergedEntry, MergedTree

__all__ = ["Found", "go_to", "look"]


class Found(Enum):
    """What an image has at a place."""

    NOTHING = "nothing"
    FILE = "file"
    DIRECTORY = "directory"


_MAXIMUM_LINKS: Final = 40  # as many as the kernel follows
_LONGEST_TARGET: Final = 4096


def go_to(tree: MergedTree, path: str) -> bool:
    """Go to a directory from the root; False where there is none, and one is somewhere else then.

    A link leads to where it would lead in a container whose root this is: an absolute one begins at the root again,
    and nothing is above that.
    """
    return _walk(tree, path) is None


def look(layers: Sequence[str], path: str, most: int = sys.maxsize) -> Found | None:
    """What is at a path; None where that takes too many look-ups: an image's links may be long, and many.

    :param most: look-ups in one layer.
    """
    with MergedTree.open(layers) as tree:
        try:
            found = _walk(tree, path, most)
        except _TooFar:
            return None
        if found is None:
            return Found.DIRECTORY
        return Found.NOTHING if found.name == b"" or found.is_directory else Found.FILE


class _TooFar(Exception):
    pass


def _walk(tree: MergedTree, path: str, most: int = sys.maxsize) -> MergedEntry | None:
    """None when one is at a directory; else what was found last, without a name when that is nothing."""
    rest, depth, links, steps = _words(os.fsencode(path)), 0, 0, 0
    while rest:
        name, steps = rest.pop(), steps + 1
        if steps > most:
            raise _TooFar
        if name == b"..":
            depth -= _up(tree, depth)
            continue
        entry = tree.find(name)
        if entry is None:
            return _NOTHING
        if stat.S_ISLNK(entry.status.st_mode):
            links += 1
            target = os.readlink(name, dir_fd=tree.directory(entry))
            if links > _MAXIMUM_LINKS:
                return _NOTHING
            if target.startswith(b"/"):
                while depth:
                    depth -= _up(tree, depth)
            rest += _words(target)
        elif not tree.enter(name):
            return _NOTHING if rest else entry
        else:
            depth += 1
    return None


_NOTHING: Final = MergedEntry(b"", 0, os.stat_result((0,) * 10))


def _up(tree: MergedTree, depth: int) -> int:
    if depth:
        tree.leave()
        return 1
    return 0


def _words(path: bytes) -> list[bytes]:
    """The words of a path, the first one last."""
    return [word for word in reversed(path[:_LONGEST_TARGET].split(b"/")) if word not in (b"", b".")]
