"""How much a repository may hold."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from wherry.registry.server.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.registry.server.catalog import Catalog

__all__ = ["Quotas", "pattern"]

_SECONDS: Final = 10.0
"""How long a sum is believed; with several instances it may be wrong by what was pushed to others meanwhile."""


def pattern(text: str) -> re.Pattern[str]:
    """``"team/*"`` as a regular expression."""
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)


class Quotas:
    """The limits, and what was used of them lately.

    :param limits: pattern of names to bytes; the first that fits counts.
    """

    def __init__(self, catalog: Catalog, limits: Iterable[tuple[str, int]]) -> None:
        self._catalog = catalog
        self._limits = [(pattern(names), limit) for names, limit in limits]
        self._used: dict[str, tuple[float, int]] = {}

    def limit(self, name: str) -> int | None:
        """The bytes that a repository may have; None for any number."""
        return next((limit for names, limit in self._limits if names.fullmatch(name)), None)

    async def require(self, name: str, more: int) -> None:
        """Check that there is room for `more` bytes.

        :raises Refusal: there is not.
        """
        limit = self.limit(name)
        if limit is None:
            return
        used = await self._usage(name)
        if used + more > limit:
            raise Refusal("DENIED", "quota exceeded", {"limit": limit, "used": used, "requested": more})

    def add(self, name: str, more: int) -> None:
        """Count what was stored."""
        if name in self._used:
            at, used = self._used[name]
            self._used[name] = at, used + more

    async def _usage(self, name: str) -> int:
        at, used = self._used.get(name, (-_SECONDS, 0))
        now = time.monotonic()
        if now - at >= _SECONDS:
            used = await self._catalog.usage(name)
            self._used[name] = now, used
        return used
