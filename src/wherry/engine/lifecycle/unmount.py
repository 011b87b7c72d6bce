"""Letting go of containers' roots, when nobody waits for it.

The last one to let go of an overlay has the kernel write the whole file system below it to the disk (``ovl_sync_fs``).
So the roots of containers that have exited are collected and let go of together: for all but the first there is
little left to write, and the disk is not kept busy between the containers of a long row.
"""

from __future__ import annotations

import asyncio
from typing import Final

from wherry.linux.fd import Fd

__all__ = ["LazyUnmount"]

_DELAY: Final = 1.0  # seconds for which roots are collected


class LazyUnmount:
    """The roots of containers that run no longer; used from the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: dict[str, Fd] = {}
        self._leaving: dict[str, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def later(self, container: str, root: Fd) -> None:
        """Let go of a root within a second or so.

        :param container: the ID of the container that it was the root of.
        :param root: its mount; this object owns it now.
        """
        self._waiting[container] = root
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self._let_go)

    async def now(self, container: str) -> None:
        """Wait until a container's former root is gone, as it has to be before it gets another one.

        Two overlays must not share an upper directory.
        """
        root = self._waiting.pop(container, None)
        if root is not None:
            await asyncio.to_thread(root.close)
        elif (leaving := self._leaving.get(container)) is not None:
            await asyncio.wait([leaving])

    def _let_go(self) -> None:
        self._timer = None
        roots, self._waiting = self._waiting, {}
        work = asyncio.get_running_loop().run_in_executor(None, _close_all, list(roots.values()))
        self._leaving.update(dict.fromkeys(roots, work))
        work.add_done_callback(lambda _: self._left(list(roots)))

    def _left(self, containers: list[str]) -> None:
        for container in containers:
            self._leaving.pop(container, None)

    async def finish(self) -> None:
        """Let go of everything, and wait for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._let_go()
        if self._leaving:
            await asyncio.wait(set(self._leaving.values()))


def _close_all(roots: list[Fd]) -> None:
    for root in roots:
        root.close()
