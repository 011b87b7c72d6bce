"""Writing down later what could not be written when it happened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from wherry.database.disk_reserve import Reserve

__all__ = ["CatchUp"]

_log: Final = logging.getLogger(__name__)
_INTERVAL: Final = 1.0  # seconds between attempts


class CatchUp:
    """Tries again until everything is written; sleeps while there is nothing to write.

    :param flushes: write what waits; each returns whether nothing does any more.
    :param reserve: is filled up afterwards.
    """

    def __init__(self, flushes: Sequence[Callable[[], bool]], reserve: Reserve) -> None:
        self._flushes = flushes
        self._reserve = reserve
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Something could not be written."""
        if self._timer is None:
            _log.error("the database cannot be written, for want of room most likely; what happens is written later")
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._try)

    def _try(self) -> None:
        behind = [flush for flush in self._flushes if not flush()]
        if not behind:
            self._timer = None
            self._reserve.renew()
            _log.warning("the database is written again")
        else:
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._try)

    def close(self) -> None:
        """Try no more."""
        if self._timer is not None:
            self._timer.cancel()
