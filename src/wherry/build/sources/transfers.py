"""The messages of a pull as a vertex' progress."""

from __future__ import annotations

import time
from typing import Final

from msgspec.structs import replace

from wherry.build.model.progress import ProgressSink, TransferProgress
from wherry.docker.progress import ProgressMessage
from wherry.oci.digest import Digest

__all__ = ["Transfers"]

_OVER: Final = frozenset({"Pull complete", "Already exists", "Download complete", "Pushed"})
_MOST: Final = 2000  # a manifest has no more layers than half of that


class Transfers:
    """Translates dockerd's messages about layers, which say little between them, into states."""

    def __init__(self, vertex: Digest, progress: ProgressSink) -> None:
        self._vertex = vertex
        self._progress = progress
        self._known: dict[str, TransferProgress] = {}

    def take(self, message: ProgressMessage) -> None:
        """One message: ``{"status": "Downloading", "id": "1f2e3d", "progressDetail": {"current": 1, "total": 2}}``."""
        name, status = str(message.get("id", "")), str(message.get("status", ""))
        if not name or status.startswith("Pulling from"):
            return
        detail = message.get("progressDetail") or {}
        if status in _OVER:
            self._finish(name)
        elif detail.get("total"):
            self._move(name, status, int(detail.get("current", 0)), int(detail["total"]))

    def _move(self, name: str, status: str, current: int, total: int) -> None:
        identifier, now = f"{status.lower()} {name}", time.time_ns()
        before = self._known.get(identifier)
        if before is None:
            self._finish(name)
            if len(self._known) >= _MOST:
                return
        state = TransferProgress(
            id=identifier, vertex=self._vertex, name=status.lower(), current=current, total=total, at=now,
            started=before.started if before else now,
        )  # fmt: skip
        self._known[identifier] = state
        self._progress(state)

    def _finish(self, name: str) -> None:
        """What was done with a layer before is over."""
        now = time.time_ns()
        for identifier in [key for key in self._known if key.endswith(f" {name}")]:
            before = self._known.pop(identifier)
            self._progress(replace(before, current=before.total, at=now, completed=now))
