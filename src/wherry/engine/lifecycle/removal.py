"""The removal of a container, and of what one leaves behind when it exits."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.engine.container import directories
from wherry.engine.container.state import Status
from wherry.engine.lifecycle import other_runtimes
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import OutOfSpace, Unavailable, Unsupported, WherryError
from wherry.runtime import cgroups

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.engine.container.container import Container
    from wherry.engine.container.events import ContainerEvents
    from wherry.engine.container.store import ContainerStore
    from wherry.engine.lifecycle.copies import Copies
    from wherry.engine.lifecycle.listener import Listener
    from wherry.engine.lifecycle.tasks import BackgroundTasks
    from wherry.engine.lifecycle.trash import Trash
    from wherry.engine.lifecycle.unmount import LazyUnmount
    from wherry.engine.volumes.container_volumes import ContainerVolumes
    from wherry.linux.fd import Fd
    from wherry.runtime.compile.other_runtime import Runtime

__all__ = ["Removal"]

_log: Final = logging.getLogger(__name__)
_FIRST_THE_ANSWER: Final = 0.003  # seconds: whoever wants the removal has been told by then
_PATIENCE: Final = 60.0  # seconds that a container's processes get to end


class Removal:
    """Removes containers; the caller holds their locks.

    :param trash: where directories go that are about to be deleted.
    :param unmounts: lets go of the roots of containers.
    :param cgroup_of: where a container is in the cgroup hierarchies.
    :param runtime_of: the runtime of a container, if it is not wherry's own.
    :param volumes: removes the volumes that go with a container.
    :param copies: the copies of files that are under way, which are waited for.
    """

    def __init__(
        self,
        *,
        containers: ContainerStore,
        events: ContainerEvents,
        listener: Listener,
        trash: Trash,
        unmounts: LazyUnmount,
        tasks: BackgroundTasks,
        cgroup_of: Callable[[Container], str],
        runtime_of: Callable[[Container], Runtime | None],
        volumes: ContainerVolumes,
        copies: Copies,
    ) -> None:
        self._copies = copies
        self._containers = containers
        self._events = events
        self._listener = listener
        self._trash = trash
        self._unmounts = unmounts
        self._tasks = tasks
        self._cgroup_of = cgroup_of
        self._runtime_of = runtime_of
        self._volumes = volumes

    # --- what an exit leaves ----------------------------------------------------------------------

    async def clean_up(self, container: Container) -> None:
        """Remove what a container leaves in the kernel and in the exec-root when it has no processes any more.

        Nobody waits for it but who wants to start or remove the container again: it comes after the news of the exit.
        As a rule there are nothing but some empty directories, which are removed at once: a thread would take longer to
        begin, and whoever removes the container next would wait for it.
        """
        if container.log_directory.is_relative_to(container.run_directory):
            container.log.keep()
        if self._removed_at_once(container):
            return
        try:
            remove = partial(self._remove_remains, container)
            await call_bounded(f"remove what is left of {container.name}", remove, _PATIENCE)
        except Unavailable as exc:
            _log.warning("something is left of a container container=%s error=%s", container.id, exc)

    def _removed_at_once(self, container: Container) -> bool:
        """Remove what is empty, without waiting; returns whether nothing is left."""
        try:
            if self._runtime_of(container) is not None:
                return False
            if not cgroups.open(self._cgroup_of(container)).destroy_if_empty():
                return False
        except (WherryError, OSError):
            return False  # it is tried again, and said then
        return directories.try_remove_run_directory(container)

    def _remove_remains(self, container: Container) -> None:
        with suppress(Unsupported):  # it was taken away meanwhile: nobody is left who could be asked
            runtime = self._runtime_of(container)
            if runtime is not None:
                other_runtimes.delete(container.id, runtime, self._cgroup_of(container))
        group = cgroups.open(self._cgroup_of(container))
        try:
            cgroups.end_all(group)
            group.destroy()
        except (WherryError, OSError) as exc:
            _log.warning("cannot remove a cgroup container=%s error=%s", container.id, exc)
        directories.remove_run_directory(container)

    # --- the end of a container -------------------------------------------------------------------

    async def remove(self, container: Container, root: Fd | None = None, *, volumes: bool = False) -> None:
        """Put its files aside and its row away: that is the point of no return. All else need not be waited for.

        :param root: the mount of its root, if it has just exited; to be let go of afterwards.
        :param volumes: with the volumes that nobody has named.
        :raises OutOfSpace: the row cannot be written off, for want of room; the container is there as before.
        """
        former, container.state.status = container.state.status, Status.REMOVING
        try:
            with suppress(Unavailable):  # one hangs in the kernel, and goes on when that lets it
                await self._copies.over(container.id)
            await self._listener.removing(container)
            leftovers = await self._write_off(container)
        except BaseException:
            container.state.status = former
            raise
        if volumes:
            await self._volumes.remove(container.definition.mounts)
        container.log.has_gone()
        self._events.publish(container, "destroy")
        container.wake_exit_waiters()
        container.wake_removal_waiters()
        self._tasks.start_deletion(self._delete(container, leftovers, root), container)

    async def _write_off(self, container: Container) -> Path | None:
        """Returns where its files are now; None when there are none."""
        container.log.keep()
        try:
            leftovers = self._trash.put(container)
        except OutOfSpace:  # not even for a name: they go where they are
            leftovers = container.directory
        try:
            self._containers.forget(container)
        except OutOfSpace:  # even a deletion needs room in the database's log: make some
            if leftovers is not None:
                await self._trash.delete(leftovers)
            self._containers.forget(container)
            return None
        except BaseException:
            if leftovers is not None:
                self._trash.take_back(container, leftovers)
            raise
        return leftovers

    async def _delete(self, container: Container, leftovers: Path | None, root: Fd | None) -> None:
        """Files that are deleted before the root is let go of need not be written to the disk at its end."""
        await asyncio.sleep(_FIRST_THE_ANSWER)
        if leftovers is not None:
            await self._trash.delete(leftovers)
        if not directories.try_remove_run_directory(container):
            await self._trash.delete(container.run_directory)
        if root is not None:
            self._unmounts.later(container.id, root)
        await self._listener.removed(container)
