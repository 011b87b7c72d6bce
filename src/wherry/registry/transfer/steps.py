"""What people see while they wait: dockerd's stream of JSON messages (``jsonmessage``, ``streamformatter``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from itertools import count
from typing import Any, Final

__all__ = ["Json", "Steps", "Tell", "moving", "step"]

Json = dict[str, Any]
Tell = Callable[[Json], None]

_BAR: Final = 50
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def step(status: str, identifier: str = "") -> Json:
    """A line: ``{"status": ..., "progressDetail": {}, "id": ...}``; without an ID just the status."""
    return {"status": status, "progressDetail": {}, "id": identifier} if identifier else {"status": status}


def moving(status: str, identifier: str, current: int, total: int) -> Json:
    """A line with a bar."""
    return {
        "status": status,
        "progressDetail": {"current": current, "total": total},
        "progress": bar(current, total),
        "id": identifier,
    }


def bar(current: int, total: int) -> str:
    """The bar that old clients show as it is: ``[=====>     ]  1.2MB/2.4MB``."""
    if total <= 0:
        return f"{human(current):>8}"
    filled = min(current * 100 // total // 2, _BAR)
    numbers = f"{human(current):>8}/{human(total)}" if current <= total else f"{human(current):>8}"
    return f"[{'=' * filled}>{' ' * (_BAR - filled)}] {numbers}"


def human(size: int) -> str:
    """A number of bytes in powers of 1000 with four digits, as Docker writes it: ``2.207MB``."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.4g}{_UNITS[unit]}"


class Steps:
    """Messages from whoever works to one client, which may be slow: of a bar only the latest state waits for it."""

    def __init__(self) -> None:
        self._waiting: dict[object, Json] = {}
        self._number = count()
        self._wake = asyncio.Event()

    def tell(self, message: Json) -> None:
        """Append a message."""
        is_bar = bool(message.get("progressDetail"))
        key: object = (message.get("id"), message["status"]) if is_bar else next(self._number)
        self._waiting[key] = message
        self._wake.set()

    async def during(self, task: asyncio.Task[Any]) -> AsyncGenerator[Json, None]:
        """Yield messages while a task works, which is cancelled when nobody wants them any more; its error is raised.

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
