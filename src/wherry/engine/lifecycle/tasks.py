"""What goes on in the background for containers, until the engine ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from wherry.engine.container.container import Container

__all__ = ["BackgroundTasks"]

_log: Final = logging.getLogger(__name__)
_DELETION_PATIENCE: Final = 5.0  # seconds that the daemon's end waits for files to be deleted


class BackgroundTasks:
    """Tasks that nobody awaits; an error of one is logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._deletions: set[asyncio.Task[None]] = set()  # of the tasks

    def start(
        self, work: Coroutine[Any, Any, None], operation: str, container: Container | None = None
    ) -> asyncio.Task[None]:
        """Carry something out in the background.

        :param operation: what it is, for the log.
        :param container: for which it is done.
        """
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, operation, container.id if container else ""))
        return task

    def start_deletion(self, work: Coroutine[Any, Any, None], container: Container) -> None:
        """The same for a deletion, which may take longer than the engine's end."""
        task = self.start(work, "delete", container)
        self._deletions.add(task)
        task.add_done_callback(self._deletions.discard)

    def _done(self, operation: str, container: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error(
                "background task failed container=%s operation=%s error=%r", container, operation, error, exc_info=error
            )

    async def drain(self) -> None:
        """Wait until all are done, but for deletions that take long: what they leave goes at the next start."""
        while pending := {task for task in self._tasks - self._deletions if task is not asyncio.current_task()}:
            # not `gather`: for tasks that have just ended it makes no round of the loop (Python 3.12)
            await asyncio.wait(pending)
        if self._deletions:
            await asyncio.wait(self._deletions, timeout=_DELETION_PATIENCE)
