"""What a volume takes up."""

from __future__ import annotations

import stat
from collections import defaultdict

from wherry.linux.trees import Files

__all__ = ["size_of_tree"]


def size_of_tree(path: str) -> int:
    """The bytes of all files below a directory, a file with several hard links once; -1 when it is not there.

    To be called in a thread. Containers may change the tree meanwhile, and make as many links as they like: each of a
    file's links counts for its share of it, so that nothing has to be remembered of single files.
    """
    totals: defaultdict[int, int] = defaultdict(int)  # of all links to files that have so many
    try:
        for _, status in Files(path):
            if not stat.S_ISDIR(status.st_mode):
                totals[status.st_nlink] += status.st_size
    except OSError:
        return -1
    return sum(total // max(links, 1) for links, total in totals.items())
