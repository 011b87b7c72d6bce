"""What is being removed: put aside in one step, and deleted in the background, however long that takes.

A tree that was put aside for a container is ``leaving-<id>`` until the container's row is gone, and only then becomes
rubbish. So a crash in between destroys nothing, and what is found without a row under ``containers/`` was removed by
nobody: it is kept (`wherry.engine.recovery.reconcile`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.content.durable import disk_errors, remove_tree, temporary_name
from wherry.database.disk_reserve import Reserve
from wherry.engine.container.container import Container
from wherry.engine.container.directories import try_remove_data
from wherry.engine.threads.workers import Workers

__all__ = ["Trash"]

_log: Final = logging.getLogger(__name__)
_LEAVING: Final = "leaving-"
#: Deletions at once: one container with millions of files shall not keep others' space from being given back.
_WORKERS: Final = 3


class Trash:
    """The directory ``tmp/`` of a data root, as far as it concerns removal; used from the event loop's thread.

    Deletions have threads of their own, which end with the process: what they leave goes at the next start.

    :param directory: made when missing.
    :param reserve: is filled up from the room that deletions give back.
    """

    def __init__(self, directory: Path, reserve: Reserve) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._reserve = reserve
        self._found = os.listdir(directory)
        self._workers = Workers(_WORKERS, "removal")

    def put(self, container: Container) -> Path | None:
        """Move a container's data out of the way in one step; None when there is none.

        :raises OutOfSpace: there is not even room for a name.
        """
        target = self._directory / f"{_LEAVING}{container.id}"
        with disk_errors("remove the directory"):
            try:
                os.rename(container.directory, target)
            except FileNotFoundError:
                return None
        return target

    @staticmethod
    def take_back(container: Container, aside: Path) -> None:
        """The container stays after all."""
        os.rename(aside, container.directory)

    def restore(self, containers: Path, exists: Callable[[str], bool]) -> None:
        """After a crash: give back what was put aside for containers whose rows are still there.

        :param containers: where their directories are.
        """
        for name in [name for name in self._found if name.startswith(_LEAVING)]:
            identifier = name.removeprefix(_LEAVING)
            if exists(identifier) and not (containers / identifier).exists():
                os.rename(self._directory / name, containers / identifier)
                self._found.remove(name)

    def sweep(self) -> None:
        """Begin to delete what was here when this began: an earlier process left it."""
        for name in self._found:
            self.begin(self._directory / name)

    async def delete(self, path: Path) -> None:
        """Delete a tree and wait for it; what cannot be deleted is logged."""
        await asyncio.wait([self.begin(path)])

    def begin(self, path: Path) -> asyncio.Future[None]:
        """Begin to delete a tree; the future is done when it is over. What cannot be deleted is logged."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            with suppress(RuntimeError):  # the loop has ended; nobody waits any more
                loop.call_soon_threadsafe(_resolve, done)

        def work() -> Callable[[], None]:
            try:
                self._delete(path)
            except Exception as exc:  # whoever waits must hear that it is over
                _log.warning("cannot remove path=%s error=%s", path, exc)
            return finish

        try:
            self._workers.start(work)
        except RuntimeError as exc:  # no thread can be begun: it goes at the next start
            _log.warning("cannot remove path=%s error=%s", path, exc)
            done.set_result(None)
        return done

    def _delete(self, path: Path) -> None:
        is_containers = path.name.startswith(_LEAVING)
        if is_containers:  # from here on it is not whole any more
            grave = temporary_name(self._directory, "removed")
            with suppress(FileNotFoundError):
                os.rename(path, grave)
            path = grave
        if not (is_containers and try_remove_data(path)):
            remove_tree(path)
        self._reserve.renew()


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
