"""What a repository may take: of the disk while git works, and as files once they are checked out.

Who offers a repository decides what git unpacks: a pack of a few kilobytes may stand for more files than any disk has,
each of ten directories having the next one ten times.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final, NoReturn

from wherry.content.threads import in_thread
from wherry.errors import TooLarge
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.linux import trees

__all__ = ["GITLINK", "DiskBounds", "Survey"]

#: The mode of an entry of a tree that is a submodule (gitformat-index(5)).
GITLINK: Final = b"160000"
_INTERVAL: Final = 1.0  # seconds between two looks at the disk
_SHARE: Final = 10  # a look may take one part of so many of the time
_LONGEST_PATH: Final = 3072  # bytes; with the place of the checkout before it, the kernel takes it (PATH_MAX)


class DiskBounds:
    """Directories that git writes to, and what they may have together.

    :param limits: of a layer; what is in it came with git, and what git keeps is no larger.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits: Final = limits
        self._directories: list[Path] = []

    def watch(self, directory: Path) -> None:
        """Count a directory from now on."""
        self._directories.append(directory)

    def check(self) -> None:
        """Count once; in a thread.

        :raises TooLarge: there is too much.
        """
        count = size = 0
        for directory in self._directories:
            for _, status in trees.Files(directory):
                count += 1
                size += status.st_size
                check_amount(self.limits, count, size)

    async def guard(self) -> NoReturn:
        """Count again and again, until cancelled.

        :raises TooLarge: there is too much.
        """
        pause = _INTERVAL
        while True:
            await asyncio.sleep(pause)
            begin = time.monotonic()
            await in_thread(self.check)
            pause = max(_INTERVAL, (time.monotonic() - begin) * _SHARE)


def check_amount(limits: Limits, count: int, size: int) -> None:
    """Whether so many files of so many bytes together are no more than a repository may have.

    :raises TooLarge: they are.
    """
    if count > limits.max_entries:
        raise TooLarge(f"the git repository has more than the {limits.max_entries} files allowed")
    if size > limits.max_bytes:
        raise TooLarge(f"the git repository has more than the {limits.max_bytes} bytes allowed")


class Survey:
    """Reads what git lists of a commit before anything of it is written: ``ls-tree -r -t -l -z``.

    :ivar submodules: the paths of submodules.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._rest = b""
        self._count = 0
        self._size = 0
        self.submodules: list[bytes] = []

    def take(self, piece: bytes) -> None:
        """Some more of the list; in a thread.

        :raises TooLarge: there are too many files, too much in them, or too long paths.
        """
        *lines, self._rest = (self._rest + piece).split(b"\0")
        for line in lines:
            head, _, path = line.partition(b"\t")
            mode, _, rest = head.partition(b" ")
            size = rest.rpartition(b" ")[2]
            self._count += 1
            self._size += int(size) if size.isdigit() else 0
            check_amount(self._limits, self._count, self._size)
            if len(path) > _LONGEST_PATH:
                raise TooLarge(f"the git repository has a path of more than the {_LONGEST_PATH} bytes allowed")
            if mode == GITLINK:
                self.submodules.append(path)
