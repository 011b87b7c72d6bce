"""Go's os.FileMode, which BuildKit's clients send modes in, and stat(2)'s."""

from __future__ import annotations

import stat
from typing import Final

__all__ = ["DIRECTORY", "SYMLINK", "TYPE", "from_go", "to_go"]

DIRECTORY: Final = 1 << 31
SYMLINK: Final = 1 << 27
TYPE: Final = DIRECTORY | SYMLINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19  #: what is none of a regular file's
_SPECIAL: Final = ((1 << 23, stat.S_ISUID), (1 << 22, stat.S_ISGID), (1 << 20, stat.S_ISVTX))
_KINDS: Final = {
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}


def from_go(mode: int) -> int:
    """The permissions, with setuid, setgid and the sticky bit."""
    bits = mode & 0o777
    if mode & 0xD00000:
        for theirs, ours in _SPECIAL:
            if mode & theirs:
                bits |= ours
    return bits


def to_go(mode: int) -> int:
    """A whole mode of stat(2) as Go has it."""
    result = mode & 0o777 | _KINDS.get(stat.S_IFMT(mode), 0)
    for theirs, ours in _SPECIAL:
        if mode & ours:
            result |= theirs
    return result
