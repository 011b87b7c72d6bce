"""The use of a source that lasts as long as the last of several users."""

from __future__ import annotations

import asyncio
from typing import Final

from wherry.build.sources.contract import Fetch
from wherry.content.threads import finished

__all__ = ["SharedFetch"]


class SharedFetch:
    """The use of a source by a build, and by jobs that read its files: closed when the last of them has left.

    The build that opened it is its first user.
    """

    def __init__(self, fetch: Fetch) -> None:
        self.fetch: Final = fetch
        self._users = 1

    def hold(self) -> None:
        """One more uses it."""
        self._users += 1

    async def release(self) -> None:
        """One does not any more; also while being cancelled."""
        self._users -= 1
        if not self._users:
            await finished(asyncio.get_running_loop().create_task(self.fetch.close(), name="wherry-build-close"))
