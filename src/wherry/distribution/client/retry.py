"""Retry after transient errors, with exponential backoff or the delay that the registry asks for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from wherry.distribution.client.errors import Transient
from wherry.distribution.client.settings import RegistrySettings

__all__ = ["Backoff", "retry"]

T = TypeVar("T")


class Backoff:
    """Counts the attempts of one operation and waits between them.

    :param on_wait: called with the seconds of each pause.
    """

    def __init__(self, settings: RegistrySettings, on_wait: Callable[[float], None] | None = None) -> None:
        self._settings = settings
        self._failures = 0
        self._on_wait = on_wait

    def progressed(self) -> None:
        """Progress since the last failure: the count of attempts begins again."""
        self._failures = 0

    async def wait(self, failure: Transient) -> None:
        """Wait before another attempt.

        :raises WherryError: no attempts are left, or the registry asks for too long a pause.
        """
        self._failures += 1
        timing = self._settings.timing
        if self._failures >= self._settings.max_attempts:
            raise failure.error from failure
        seconds = min(timing.pause * 2 ** (self._failures - 1), timing.longest_pause) * random.uniform(0.8, 1.2)
        if failure.after is not None:
            if failure.after > timing.longest_pause:
                raise failure.error from failure
            seconds = max(seconds, failure.after)
        if self._on_wait:
            self._on_wait(seconds)
        await asyncio.sleep(seconds)


async def retry(work: Callable[[], Awaitable[T]], settings: RegistrySettings) -> T:
    """Call `work` until it succeeds, as often as the settings allow.

    :raises WherryError: the last attempt's error.
    """
    backoff = Backoff(settings)
    while True:
        try:
            return await work()
        except Transient as failure:
            await backoff.wait(failure)
