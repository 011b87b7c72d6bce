"""Trying again, for reasons that may pass: with growing pauses, or the pauses that a registry asks for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from wherry.registry.client.faults import Passing
from wherry.registry.client.settings import RegistrySettings

__all__ = ["Patience", "repeated"]

T = TypeVar("T")


class Patience:
    """How many attempts there still are, and how long to wait before the next.

    :param said: told the seconds of each pause; it may count them aloud.
    """

    def __init__(self, settings: RegistrySettings, said: Callable[[float], None] | None = None) -> None:
        self._settings = settings
        self._failures = 0
        self._said = said

    def progressed(self) -> None:
        """Something moved since the last failure: all attempts are to be had again."""
        self._failures = 0

    async def wait(self, failure: Passing) -> None:
        """Wait before another attempt.

        :raises WherryError: there have been enough, or the registry wants to be left alone for too long.
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
        if self._said:
            self._said(seconds)
        await asyncio.sleep(seconds)


async def repeated(work: Callable[[], Awaitable[T]], settings: RegistrySettings) -> T:
    """What `work` gives, tried as often as settings allow.

    :raises WherryError: the last attempt's error.
    """
    patience = Patience(settings)
    while True:
        try:
            return await work()
        except Passing as failure:
            await patience.wait(failure)
