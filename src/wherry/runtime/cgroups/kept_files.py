"""Files of control groups that are read again and again, and stay open for that."""

from __future__ import annotations

import os
from typing import Final

from wherry.runtime.cgroups.directory import KernelFiles

__all__ = ["KeptFiles"]

_SIZE: Final = 1 << 12  # bytes; what has more, or as much, is read in the ordinary way


class KeptFiles(KernelFiles):
    """Keeps open what it has read: to open a file and close it takes ten times as long as to read it.

    An open file does not keep its control group from being removed (it answers ENODEV then), but costs a page of the
    kernel's memory. So these are for a while, and to be closed.
    """

    def __init__(self) -> None:
        self._open: Final[dict[str, int]] = {}

    def read(self, path: str) -> str:
        """Return a file's content. The kernel writes all of it anew for a read from its beginning."""
        kept = self._open.get(path)
        if kept is not None:
            try:
                content = os.pread(kept, _SIZE, 0)
            except OSError:  # its group has gone, and another one may have its name
                os.close(self._open.pop(path))
                kept = None
        if kept is None:
            kept = self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            content = os.pread(kept, _SIZE, 0)
        return content.decode(errors="replace") if len(content) < _SIZE else super().read(path)

    def close(self) -> None:
        """Close all of them."""
        while self._open:
            os.close(self._open.popitem()[1])
