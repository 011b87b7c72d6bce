"""One daemon per data root, and per exec root."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from wherry.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path

OWNER: Final = "data-root"
"""In an exec root, a symbolic link to the data root whose containers have their run-time files there."""


class DataRootLock:
    """Holds ``<data-root>/lock`` for the life of the process; the file contains its PID."""

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
        with suppress(OSError):  # the disk is full: the lock holds all the same, it only does not say for whom
            os.ftruncate(self._fd, os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0))

    def release(self) -> None:
        """Let the next daemon in."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


class ExecRootLock:
    """Holds an exec root for one data root as long as the process lives.

    Two daemons that share a keeper would each end the other's containers as nobody's, at the same time or one after the
    other. The directory itself is locked; a link in it says whose containers are there.
    """

    def __init__(self, exec_root: Path, data_root: Path) -> None:
        """Take the lock, or refuse.

        :raises Conflict: another daemon has it, or was ended and left containers of another data root.
        """
        self._exec_root = exec_root
        self._fd = os.open(exec_root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._own(data_root)
        except BlockingIOError:
            os.close(self._fd)
            raise Conflict(
                f"the exec root {exec_root} is in use by another daemon",
                hint="give this one a directory of its own: --exec-root",
            ) from None
        except BaseException:
            os.close(self._fd)
            raise

    def _own(self, data_root: Path) -> None:
        wanted = str(data_root.resolve())
        link = self._exec_root / OWNER
        owner = os.readlink(link) if link.is_symlink() else wanted
        if owner != wanted and os.path.isdir(owner) and _has_containers(self._exec_root):
            raise Conflict(
                f"the exec root {self._exec_root} has containers of the data root {owner}",
                hint="give this daemon a directory of its own: --exec-root",
            )
        if not link.is_symlink() or owner != wanted:
            with suppress(FileNotFoundError):
                link.unlink()
            link.symlink_to(wanted)

    def release(self) -> None:
        """Release the lock; remove the exec root if nothing else is left in it (no keeper, no containers)."""
        with suppress(OSError):
            if not set(os.listdir(self._exec_root)) - {"wherryd.log", OWNER}:
                for name in ("wherryd.log", OWNER):
                    (self._exec_root / name).unlink(missing_ok=True)
                self._exec_root.rmdir()
        os.close(self._fd)


def _has_containers(exec_root: Path) -> bool:
    with suppress(FileNotFoundError):
        return bool(os.listdir(exec_root / "containers"))
    return False
