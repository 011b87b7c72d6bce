"""One daemon per data root, and per exec root."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from wherry.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path


class DataRootLock:
    """Holds ``<data-root>/lock`` as long as the process lives; the file says who holds it."""

    def __init__(self, data_root: Path) -> None:
        """Take the lock, or refuse.

        :raises Conflict: another daemon has it; the message names its process ID.
        """
        self._fd = os.open(data_root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise Conflict(f"the data root {data_root} is in use by another daemon (pid {holder})") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next daemon in."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


class ExecRootLock:
    """Holds an exec root as long as the process lives.

    Two daemons that share a keeper would each end the other's containers as nobody's. The directory itself is
    locked: no file is left behind in it.
    """

    def __init__(self, exec_root: Path) -> None:
        """Take the lock, or refuse.

        :raises Conflict: another daemon has it.
        """
        self._fd = os.open(exec_root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise Conflict(
                f"the exec root {exec_root} is in use by another daemon",
                hint="give this one a directory of its own: --exec-root",
            ) from None

    def release(self) -> None:
        """Let the next daemon in."""
        os.close(self._fd)
