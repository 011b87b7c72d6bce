"""A lease of the image store's for code on the event loop: what its end removes is removed in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wherry.images import ImageStore
from wherry.images.references import Lease

__all__ = ["arriving"]


@asynccontextmanager
async def arriving(store: ImageStore) -> AsyncIterator[Lease]:
    """While inside, what is leased stays in the store."""
    lease = store.arrival()
    try:
        yield lease
    finally:
        await asyncio.shield(asyncio.to_thread(lease.__exit__, None, None, None))
