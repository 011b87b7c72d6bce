"""Work in a thread that is waited for whatever happens: when it is over, nothing uses its descriptors any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

__all__ = ["run_to_the_end"]

T = TypeVar("T")


async def run_to_the_end(function: Callable[[], T], executor: Executor | None = None) -> T:
    """Run a function, which takes a bounded time, in a thread; a cancellation comes after its end.

    :param executor: with the threads; None: the loop's.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, function)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
