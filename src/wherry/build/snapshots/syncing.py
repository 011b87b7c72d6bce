"""New layers come to the disk in the background: one syncfs(2) for all that were made meanwhile."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Final

from wherry.build.snapshots.rows import Rows
from wherry.content.durable import disk_errors
from wherry.errors import WherryError
from wherry.linux.fd import Fd
from wherry.linux.files import syncfs

__all__ = ["Syncing"]

log: Final = logging.getLogger(__name__)

# Seconds. While a build writes, each sync slows it down.
_DELAY: Final = 10.0


class Syncing:
    """Syncs the layers' file system, and notes which layers that brought to the disk. Thread-safe.

    :param root: the layers' directory.
    """

    def __init__(self, root: Path, rows: Rows) -> None:
        self._root = root
        self._rows = rows
        self._lock = threading.Lock()
        self._waiting: threading.Timer | None = None

    def soon(self) -> None:
        """Sync in a while."""
        with self._lock:
            if self._waiting is None:
                self._waiting = threading.Timer(_DELAY, self._run)
                self._waiting.daemon = True
                self._waiting.start()

    def sync(self) -> None:
        """Sync now.

        :raises SystemFault: the disk did not take what was written.
        """
        unsynced = [row.number for row in self._rows.all() if row.unsynced_since]
        with disk_errors("sync layers"), Fd(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
            syncfs(fd)
        self._rows.mark_synced(unsynced)

    def close(self) -> None:
        """Let go of what waits; a next start of the same boot sees to it."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.cancel()

    def _run(self) -> None:
        with self._lock:
            self._waiting = None
        try:
            self.sync()
        except WherryError as exc:
            log.warning("layers of the build cache may not be on the disk", extra={"error": str(exc)})
