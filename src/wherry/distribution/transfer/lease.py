"""An image store's lease on the event loop: its end removes unreferenced blobs in a thread."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wherry.content.threads import in_thread
from wherry.images.reference_counts import Lease
from wherry.images.store import ImageStore

__all__ = ["with_lease"]


@asynccontextmanager
async def with_lease(store: ImageStore) -> AsyncIterator[Lease]:
    """Hold a lease: what is leased stays in the store inside the block."""
    lease = store.lease()
    try:
        yield lease
    finally:
        await in_thread(lease.__exit__, None, None, None)
