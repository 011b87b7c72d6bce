"""After work: memory that it took, and that nobody needs any more, goes back to the kernel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from wherry.linux.memory import give_back_free_pages

if TYPE_CHECKING:
    import asyncio

__all__ = ["Rest"]

PATIENCE: Final = 5.0  #: seconds without a request
LEAST_WORK: Final = 0.05  #: seconds of processor time; what takes less leaves little behind


class Rest:
    """Looks for a time without work, after work. While there is none, no timer runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float = PATIENCE) -> None:
        self._loop: Final = loop
        self._patience: Final = patience
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._used = 0.0

    def after_work(self) -> None:
        """Note that there was work, a request: cheap, and called after each."""
        self._last = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._last + self._patience, self._look)

    def close(self) -> None:
        """Look for none any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        end = self._last + self._patience
        if end > self._loop.time():
            self._timer = self._loop.call_at(end, self._look)
        elif time.process_time() - self._used > LEAST_WORK:
            give_back_free_pages()
            self._used = time.process_time()
