"""Quotas of repositories: blobs, manifests and unfinished uploads."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from wherry.registry.server.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from wherry.registry.server.catalog import Catalog
    from wherry.registry.server.sessions import Sessions

__all__ = ["Quotas", "pattern"]

_SECONDS: Final = 10.0
"""How long a sum is believed; with several instances it may be wrong by what was pushed to others meanwhile."""

_REMEMBERED: Final = 10_000
"""Repositories whose sums are kept at most."""


def pattern(text: str) -> re.Pattern[str]:
    """``"team/*"`` as a regular expression."""
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)


class _Used:
    """The cached usage of a repository."""

    def __init__(self) -> None:
        self.at = -_SECONDS
        self.bytes = 0
        self.counting = asyncio.Lock()
        self.growing: dict[str, int] = {}  #: uploads to which this process appends, with what has arrived


class Quotas:
    """The limits, and the cached usage.

    :param limits: pattern of names to bytes; the first that fits counts.
    """

    def __init__(self, catalog: Catalog, sessions: Sessions, limits: Iterable[tuple[str, int]]) -> None:
        self._catalog = catalog
        self._sessions = sessions
        self._limits = [(pattern(names), limit) for names, limit in limits]
        self._used: dict[str, _Used] = {}

    def limit(self, name: str) -> int | None:
        """The bytes that a repository may have; None for any number."""
        return next((limit for names, limit in self._limits if names.fullmatch(name)), None)

    async def require(self, name: str, more: int) -> None:
        """Check that there is room for `more` bytes, without taking it.

        :raises Refusal: there is not.
        """
        limit = self.limit(name)
        if limit is None:
            return
        used = (await self._counted(name)).bytes
        if used + more > limit:
            raise Refusal("DENIED", "quota exceeded", {"limit": limit, "used": used, "requested": more})

    @asynccontextmanager
    async def taking(self, name: str, more: int) -> AsyncIterator[None]:
        """Take room for something that is stored inside the block, and give it back when that fails.

        :raises Refusal: there is none.
        """
        await self._take(name, more)
        try:
            yield
        except BaseException:
            self.give_back(name, more)
            raise

    @contextmanager
    def growing(self, name: str, session: str, size: int) -> Iterator[Callable[[int], Awaitable[None]]]:
        """Take room for an upload while its bytes arrive.

        :param size: how many it has.
        :returns: what takes room for so many more; it raises Refusal when there is none.
        """
        if self.limit(name) is None:
            yield _nothing
            return
        used = self._of(name)
        used.growing[session] = size

        async def take(more: int) -> None:
            await self._take(name, more)
            used.growing[session] += more

        try:
            yield take
        finally:
            del used.growing[session]

    def give_back(self, name: str, size: int) -> None:
        """Something that was counted is gone."""
        if name in self._used:
            self._used[name].bytes = max(0, self._used[name].bytes - size)

    async def _take(self, name: str, more: int) -> None:
        await self.require(name, more)
        if self.limit(name) is not None:
            self._used[name].bytes += more  # nobody else ran since the check

    def _of(self, name: str) -> _Used:
        if name not in self._used and len(self._used) >= _REMEMBERED:
            self._used = {name: used for name, used in self._used.items() if used.growing or used.counting.locked()}
        return self._used.setdefault(name, _Used())

    async def _counted(self, name: str) -> _Used:
        """The usage; counted again when the cached count is old, once for all callers."""
        used = self._of(name)
        if time.monotonic() - used.at < _SECONDS:
            return used
        async with used.counting:
            if time.monotonic() - used.at >= _SECONDS:
                stored = await self._catalog.usage(name)
                unfinished = await self._sessions.unfinished(name)
                # the last bytes of what arrives now are in memory still
                for session, size in used.growing.items():
                    unfinished[session] = max(size, unfinished.get(session, 0))
                used.bytes, used.at = stored + sum(unfinished.values()), time.monotonic()
        return used


async def _nothing(more: int) -> None:
    """No limit, no counting."""
