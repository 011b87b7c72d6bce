"""The steps that run, as the keeper knows them; without the builder, of which a daemon that builds nothing has none."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from wherry.content.durable import remove_tree
from wherry.engine.build import remains
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import Unavailable, WherryError

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.engine.keeper.connection import KeeperConnection
    from wherry.engine.keeper.reports import ExitReport
    from wherry.engine.lifecycle.tasks import BackgroundTasks

__all__ = ["RunningSteps"]

_log: Final = logging.getLogger(__name__)
_PATIENCE: Final = 60.0  # seconds that a step's processes get to end once they are killed


class RunningSteps:
    """Waits for the exits of steps; used from the event loop's thread.

    :param directory: of the keeper, in which each of its processes has one.
    """

    def __init__(self, directory: Path, keeper: KeeperConnection, tasks: BackgroundTasks) -> None:
        self._directory = directory
        self._keeper = keeper
        self._tasks = tasks
        self._exits: dict[str, asyncio.Future[ExitReport]] = {}

    def directory(self, identifier: str) -> Path:
        """The keeper's, for a step."""
        return self._directory / identifier

    def expect(self, identifier: str) -> asyncio.Future[ExitReport]:
        """A step is about to be launched; returns the keeper's report of its exit, which is to come.

        It raises `Unavailable` when the keeper ends before.
        """
        found = self._exits[identifier] = asyncio.get_running_loop().create_future()
        return found

    def expects(self, identifier: str) -> bool:
        """Whether somebody waits for the exit of a process: of a step, or of one more in a step's container."""
        return identifier in self._exits

    def forget(self, identifier: str) -> None:
        """Nobody waits for a step any more."""
        self._exits.pop(identifier, None)

    # --- what the keeper says -----------------------------------------------------------------------

    def exited(self, report: ExitReport) -> None:
        """The keeper reports the exit of a step; of one that nobody waits for, the rest is ended."""
        found = self._exits.get(report.key)
        if found is None:
            self._tasks.start(self._remove_left_over(report.key), "remove a build step that was left over")
        elif not found.done():
            found.set_result(report)

    def keeper_lost(self) -> None:
        """The keeper has ended: of steps that run nobody will tell how they end. They fail, and are ended."""
        for found in self._exits.values():
            if not found.done():
                found.set_exception(Unavailable("the keeper ended while the step ran", hint="build again"))
                found.exception()  # somebody will ask for it, or it is of no interest any more

    # --- what an earlier daemon has left ----------------------------------------------------------

    async def end_left_over(self, identifier: str) -> bool:
        """A step runs, or has run, that nobody wants the result of: an earlier daemon has begun it, or it was given up.

        :returns: whether it has ended. Else it may do so later, and the keeper tells.
        """
        what = f"end the step {identifier[:12]} that was left over"
        try:
            await call_bounded(what, partial(remains.end_left_over, self.directory(identifier)), _PATIENCE)
        except (WherryError, OSError) as error:
            _log.warning("a build step is left over step=%s error=%s", identifier, error)
            return False
        return True

    async def _remove_left_over(self, identifier: str) -> None:
        """Its first process has ended, and the keeper has told so; its cgroup may still be there."""
        if await self.end_left_over(identifier):
            await self._keeper.forget(identifier)
            await asyncio.to_thread(remove_tree, self.directory(identifier))
