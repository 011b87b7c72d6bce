"""Copies of files into and out of containers that are under way: a container that starts, or goes, waits for them.

An overlay must not be mounted twice with one upper directory, and a copy keeps its container's root mounted. A copy
whose client does not take or send anything for some seconds ends when somebody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from wherry.errors import Unavailable
from wherry.linux.fd import Fd

__all__ = ["Copies", "Copy"]

_STALL: Final = 10.0  # seconds without a byte after which a copy that is waited for ends


class Copy:
    """One copy.

    :ivar moved: grows while it goes on.
    :ivar over: done when nothing of it is left.
    :param container: the container's ID.
    :param cancel: ends it early.
    """

    def __init__(self, container: str, cancel: Callable[[], object]) -> None:
        self.container = container
        self.moved = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cancel = cancel

    def cancel(self) -> None:
        """End it early."""
        self._cancel()


class Copies:
    """The copies that are under way; used from the event loop's thread.

    :param stall: seconds that a copy which is waited for may stand still.
    """

    def __init__(self, stall: float = _STALL) -> None:
        self._stall = stall
        self._under_way: dict[str, set[Copy]] = {}

    def begin(self, container: str, cancel: Callable[[], object]) -> Copy:
        """Note that a copy begins.

        :param container: the container's ID.
        :param cancel: ends it early.
        """
        copy = Copy(container, cancel)
        self._under_way.setdefault(container, set()).add(copy)
        return copy

    def end(self, copy: Copy, *files: Fd) -> None:
        """Close what a copy held, beside the event loop; then it is over."""
        work = asyncio.get_running_loop().run_in_executor(None, _close_all, files)
        work.add_done_callback(lambda _: self._ended(copy))

    def _ended(self, copy: Copy) -> None:
        rest = self._under_way.get(copy.container, set())
        rest.discard(copy)
        if not rest:
            self._under_way.pop(copy.container, None)
        copy.over.set_result(None)

    async def over(self, container: str) -> None:
        """Wait until a container has no copies under way; whoever calls keeps new ones from beginning.

        :raises Unavailable: one hangs in the kernel.
        """
        cancelled: set[Copy] = set()
        while under_way := self._under_way.get(container):
            before = {copy: copy.moved for copy in under_way}
            await asyncio.wait([copy.over for copy in before], timeout=self._stall)
            stalled = {copy for copy, moved in before.items() if not copy.over.done() and copy.moved == moved}
            if stalled & cancelled:
                raise Unavailable(f"files of container {container} are still being copied")
            for copy in stalled:
                copy.cancel()
            cancelled |= stalled


def _close_all(files: tuple[Fd, ...]) -> None:
    for file in files:
        file.close()
