"""Volumes that are mounted, or parts of volumes, get what the image has at their place; see `wherry.volumes.populate`.

That a copy is under way is in the volume's row: whoever mounts the volume after a crash finishes it before anything
starts with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import replace

from wherry.engine.container.names import new_id
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import InvalidInput, NotFound, OutOfSpace, SystemFault, WherryError
from wherry.linux.fd import Fd
from wherry.linux.trees import DIRECTORY
from wherry.volumes.populate import can_be_populated, finish, populate
from wherry.volumes.subpath import place

if TYPE_CHECKING:
    from wherry.engine.container.mount_point import MountPoint
    from wherry.engine.volumes.volumes import Volumes
    from wherry.volumes.contract import Mounted
    from wherry.volumes.model import Volume

__all__ = ["COPYING", "Populating"]

T = TypeVar("T")

COPYING: Final = 86400.0  # seconds that a copy may take; whoever wants the volume meanwhile waits
_LOOKING: Final = 60.0  # seconds: the volume may be on another machine


class Populating:
    """Fills volumes where they are mounted. The caller holds the volume's lock."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    async def fill(self, point: MountPoint, layers: Sequence[str], path: str) -> None:
        """Mount a volume for nobody, and fill it, if it is empty.

        :param point: where it is to be in the container.
        :param layers: the image's, top first.
        :param path: of a directory in the image.
        :raises WherryError: it cannot be mounted, or not be written to as the image wants.
        """
        volume = self._volumes.get(point.name)
        try:
            await self._mounted(volume, point.subpath, partial(populate, layers=layers, path=path))
        except NotFound:  # as in Docker, that is for the start to say
            return
        except OutOfSpace:
            raise
        except WherryError as exc:
            raise SystemFault("failed to populate volume", cause=str(exc)) from exc

    async def _mounted(self, volume: Volume, subpath: str, copy: Callable[[Fd], bool]) -> None:
        driver, user = await self._volumes.drivers.get(volume.driver), new_id()
        self._volumes.users.note_mount(volume.name, user)
        try:
            found = await driver.mount(volume, user)
        except BaseException:
            self._volumes.users.note_unmount(volume.name, user)
            raise
        try:
            await self.finish(volume, found)
            await self._fill(volume, found, subpath, copy)
        finally:
            self._volumes.users.note_unmount(volume.name, user)
            await self._unmount(volume, user)

    async def _fill(self, volume: Volume, found: Mounted, subpath: str, copy: Callable[[Fd], bool]) -> None:
        if not await self._in(volume, found, subpath, can_be_populated, _LOOKING):
            return
        self._volumes.store.put(replace(volume, unfinished_copy=subpath))
        try:
            await self._in(volume, found, subpath, copy, COPYING)
        except BaseException:
            await self.finish(self._volumes.get(volume.name), found)
            raise
        self._volumes.store.put(replace(volume, unfinished_copy=None))

    async def finish(self, volume: Volume, found: Mounted) -> None:
        """Bring to an end what a daemon that was killed, or a full disk, has left of a copy.

        :raises OutOfSpace: the disk is full.
        """
        if volume.unfinished_copy is None:
            return
        await self._in(volume, found, volume.unfinished_copy, finish, COPYING)
        self._volumes.store.put(replace(self._volumes.get(volume.name), unfinished_copy=None))

    async def _in(
        self, volume: Volume, found: Mounted, subpath: str, work: Callable[[Fd], T], patience: float
    ) -> T | None:
        """Do something in a directory of a volume; None where it is none, which a start will say."""
        try:
            tree = await call_bounded(
                f"look at the volume {volume.name}",
                lambda: place(found, subpath, writable=True), _LOOKING, leaves_traces=found.take is not None,
            )  # fmt: skip
        except InvalidInput:
            return None
        with tree:
            return await call_bounded(
                f"copy what the image has into the volume {volume.name}", partial(_work, tree, work), patience
            )

    async def _unmount(self, volume: Volume, user: str) -> None:
        try:
            await (await self._volumes.drivers.get(volume.driver)).unmount(volume, user)
        except WherryError as exc:
            self._volumes.log_failure(volume, "is not unmounted", exc)


def _work(tree: Fd, work: Callable[[Fd], T]) -> T | None:
    try:
        top = Fd(os.open(".", DIRECTORY, dir_fd=tree.fileno()))
    except NotADirectoryError:
        return None
    with top:
        return work(top)
