"""What a volume takes up."""

from __future__ import annotations

import stat

from wherry.linux.trees import Files

__all__ = ["size_of_tree"]


def size_of_tree(path: str) -> int:
    """The bytes of all files below a directory, a file with several hard links once; -1 when it is not there.

    To be called in a thread. Containers may change the tree meanwhile.
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    try:
        for _, status in Files(path):
            if stat.S_ISDIR(status.st_mode):
                continue
            if status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_size
    except OSError:
        return -1
    return total
