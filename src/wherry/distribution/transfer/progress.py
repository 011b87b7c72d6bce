"""The progress stream of a transfer: dockerd's JSON messages (``jsonmessage``, ``streamformatter``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from itertools import count
from typing import Any, Final

from wherry.docker.progress import ProgressMessage
from wherry.docker.units import human_size

__all__ = ["Emit", "ProgressStream", "progress_message", "status_message"]

Emit = Callable[[ProgressMessage], None]

_BAR: Final = 50


def status_message(status: str, identifier: str = "") -> ProgressMessage:
    """A status line: ``{"status": ..., "progressDetail": {}, "id": ...}``; without an ID just the status."""
    return {"status": status, "progressDetail": {}, "id": identifier} if identifier else {"status": status}


def progress_message(status: str, identifier: str, current: int, total: int) -> ProgressMessage:
    """A status line with a progress bar."""
    return {
        "status": status,
        "progressDetail": {"current": current, "total": total},
        "progress": bar(current, total),
        "id": identifier,
    }


def bar(current: int, total: int) -> str:
    """The bar that old clients show as it is: ``[=====>     ]  1.2MB/2.4MB``."""
    if total <= 0:
        return f"{human_size(current, 4):>8}"
    filled = min(current * 100 // total // 2, _BAR)
    numbers = f"{human_size(current, 4):>8}" + (f"/{human_size(total, 4)}" if current <= total else "")
    return f"[{'=' * filled}>{' ' * (_BAR - filled)}] {numbers}"


class ProgressStream:
    """Messages from a transfer to one client; for a slow client only the latest state of each bar is kept."""

    def __init__(self) -> None:
        self._waiting: dict[object, ProgressMessage] = {}
        self._number = count()
        self._wake = asyncio.Event()

    def emit(self, message: ProgressMessage) -> None:
        """Append a message."""
        is_bar = bool(message.get("progressDetail"))
        key: object = (message.get("id"), message["status"]) if is_bar else next(self._number)
        self._waiting[key] = message
        self._wake.set()

    async def during(self, task: asyncio.Task[Any]) -> AsyncGenerator[ProgressMessage, None]:
        """Yield messages while a task runs, and raise its error. Closing the generator cancels the task.

        Close it when it is not read to its end.
        """
        task.add_done_callback(lambda _: self._wake.set())
        try:
            while True:
                while self._waiting:
                    yield self._waiting.pop(next(iter(self._waiting)))
                if task.done():
                    break
                self._wake.clear()
                await self._wake.wait()
            task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
