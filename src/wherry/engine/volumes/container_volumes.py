"""The volumes of a container: made when it is created, mounted when it starts, removed with it when that is asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.names import new_id
from wherry.engine.threads.bounded_call import call_bounded
from wherry.engine.volumes.populating import COPYING, Populating
from wherry.errors import InvalidInput, NotFound, SystemFault, WherryError
from wherry.linux.fd import Fd
from wherry.volumes.copy_up import can_be_moved, copy_up, is_empty, is_half_moved
from wherry.volumes.image_content import Found, look
from wherry.volumes.local import DATA
from wherry.volumes.options import bound_directory, is_mounted
from wherry.volumes.subpath import place

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.events import EventBus
    from wherry.engine.volumes.volumes import Volumes
    from wherry.layers.overlay_paths import OverlayMount
    from wherry.volumes.contract import Mounted
    from wherry.volumes.model import Volume

__all__ = ["ContainerVolumes", "MountedVolumes", "Source"]


_AT_ONCE: Final = 1000  # look-ups in all layers together that the event loop has time for


class Source(NamedTuple):
    """What is bound in place of a volume.

    :param is_detached: it stands for a detached mount, which is attached itself.
    """

    path: str
    is_detached: bool = False


class MountedVolumes:
    """A container's volumes, ready for its start. To be open until it runs.

    :ivar sources: by target.
    """

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self._trees: list[Fd] = []

    def add(self, target: str, path: str, tree: Fd | None) -> None:
        """What is to be mounted at a target: a directory of the host, or a detached mount."""
        if tree is None:
            self.sources[target] = Source(path)
            return
        self._trees.append(tree)
        self.sources[target] = Source(f"/proc/{os.getpid()}/fd/{tree.fileno()}", is_detached=True)

    def __enter__(self) -> MountedVolumes:
        return self

    def __exit__(self, *_: object) -> None:
        while self._trees:
            self._trees.pop().close()


class ContainerVolumes:
    """Gives containers their volumes.

    :param note: writes a container's definition down.
    """

    def __init__(self, volumes: Volumes, events: EventBus, note: Callable[[Container], object]) -> None:
        self._volumes = volumes
        self._populating = Populating(volumes)
        self._events = events
        self._note = note

    # --- create -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def provided(
        self, identifier: str, points: Sequence[MountPoint], root: Sequence[OverlayMount]
    ) -> AsyncIterator[list[MountPoint]]:
        """Make the volumes of a new container, and fill them; they are protected until its row names them.

        When the block fails, those that were made for nobody else are removed again.

        :param identifier: the container's ID.
        :param points: its mounts.
        :param root: its image's layers.
        :raises InvalidInput: the image has a file where it, or the caller, expects an anonymous volume.
        :raises SystemFault: it has one where a volume is to be filled, as in Docker.
        """
        made: list[str] = []
        try:
            with self._volumes.users.claimed(identifier) as claims:
                claims += [point.name for point in points if point.kind == "volume" and point.name]
                provided = []
                for point in points:
                    provided.append(await self._provide(point, claims, made))
                    await asyncio.sleep(0)  # an image may ask for very many
                for point in provided:
                    if point.kind == "volume" and (point.copy or point.anonymous):
                        await self._fill(point, root)
                        await asyncio.sleep(0)
                yield provided
        except BaseException:
            await self._volumes.remove_unused(made)
            raise

    async def _provide(self, point: MountPoint, claims: list[str], made: list[str]) -> MountPoint:
        if point.kind != "volume":
            return point
        name = point.name or new_id()
        if not point.name:
            claims.append(name)
            made.append(name)
        volume = await self._volumes.make(
            name, point.driver, point.driver_options, point.labels, anonymous=not point.name
        )
        return replace(
            point,
            name=name,
            driver=volume.driver,
            source=await self._volumes.place(volume),
            driver_options={},
            labels={},
        )

    async def _fill(self, point: MountPoint, root: Sequence[OverlayMount]) -> None:
        """An empty volume begins with what the image has at its place."""
        part = max((one for one in root if _is_below(point.target, one.target)), key=lambda one: len(one.target))
        path = point.target[len(part.target) :] if part.target != "/" else point.target
        volume = self._volumes.get(point.name)
        async with self._volumes.locked(point.name):
            place = bound_directory(volume.options)
            if point.subpath or not (self._is_directory(volume) or await self._is_moved_to(volume, place)):
                await self._populate(point, volume, part.lower, path)
            else:
                await self._copy_up(point, volume, place, part.lower, path)

    async def _is_moved_to(self, volume: Volume, place: Path | None) -> bool:
        """Whether files are made beside a volume, and moved to the directory of the host that it is."""
        local = self._volumes.drivers.local
        return volume.driver == local.name and place is not None and await _is_near(local.directory(volume.name), place)

    async def _populate(self, point: MountPoint, volume: Volume, layers: Sequence[str], path: str) -> None:
        lasts = volume.driver != self._volumes.drivers.local.name or volume.options.get("type") != "tmpfs"
        if point.copy and lasts and await _looked(layers, path) is Found.DIRECTORY:
            await self._populating.fill(point, layers, path)

    async def _copy_up(
        self, point: MountPoint, volume: Volume, place: Path | None, layers: Sequence[str], path: str
    ) -> None:
        directory = self._volumes.drivers.local.directory(volume.name)
        half_moved = is_half_moved(directory)
        if not half_moved and not await _is_unused(place or directory / DATA, of_host=place is not None):
            return
        mounted = self._volumes.users.mounted(volume.name)
        there = await _looked(layers, path)
        if there is Found.FILE and point.anonymous:
            raise InvalidInput(f"cannot mount volume over existing file, file exists {point.target}")
        if there is Found.FILE and point.copy:
            raise SystemFault(f"source {point.target} is not directory", hint="the image has a file there")
        if half_moved or (there is Found.DIRECTORY and point.copy):
            what = f"copy what the image has at {point.target} into the volume {volume.name}"
            copy = partial(copy_up, directory, layers, path, mounted=mounted, place=place)
            await call_bounded(what, copy, COPYING)

    # --- start and exit ---------------------------------------------------------------------------

    def has_limit(self, container: Container) -> bool:
        """Whether one of a container's volumes has a limit on its size."""
        for point in _volumes_in(container):
            with suppress(NotFound):
                if self._volumes.get(point.name).options.get("size"):
                    return True
        return False

    async def mount(self, container: Container) -> MountedVolumes:
        """Make a container's volumes ready for its start.

        :raises NotFound: one is gone.
        """
        mounted = MountedVolumes()
        try:
            for point in _volumes_in(container):
                await self._mount(container, point, mounted)
        except BaseException:
            mounted.__exit__()
            raise
        return mounted

    async def _mount(self, container: Container, point: MountPoint, mounted: MountedVolumes) -> None:
        async with self._volumes.locked(point.name):
            volume = self._volumes.get(point.name)  # now: it says whether a copy is unfinished
            driver = await self._volumes.drivers.get(volume.driver)
            self._volumes.users.note_mount(point.name, _user(container, point))
            try:
                found = await driver.mount(volume, container.id)
            except BaseException:
                self._volumes.users.note_unmount(point.name, _user(container, point))
                raise
            await self._populating.finish(volume, found)
            mounted.add(point.target, found.path, await _placed(found, point))
        self._note_place(container, point, found.path)
        self._events.publish("volume", "mount", point.name, {
            "driver": point.driver, "container": container.id, "destination": point.target,
            "read/write": str(point.writable).lower(), "propagation": point.propagation,
        })  # fmt: skip

    def _note_place(self, container: Container, point: MountPoint, path: str) -> None:
        """A plugin's volume may be elsewhere each time; `inspect` says where."""
        if path != point.source:
            container.set_mount_source(point, path)
            self._note(container)

    async def unmount(self, container: Container, *, ran: bool = False) -> None:
        """A container has no processes any more.

        :param ran: it did run, so all its volumes were mounted, maybe by an earlier daemon; else only those are
            unmounted that were mounted for a start that failed: a plugin may count.
        """
        for point in _volumes_in(container):
            volume = self._volumes.store.find(point.name)
            if volume is None:
                continue
            if self._volumes.users.note_unmount(point.name, _user(container, point)) or ran:
                await self._unmount(container, point, volume)

    async def _unmount(self, container: Container, point: MountPoint, volume: Volume) -> None:
        try:
            if not self._is_directory(volume):  # else there is nothing to do, and a copy of it to wait for, maybe
                async with self._volumes.locked(point.name):
                    await (await self._volumes.drivers.get(volume.driver)).unmount(volume, container.id)
        except WherryError as exc:
            self._volumes.log_failure(volume, "is not unmounted", exc)
        self._events.publish("volume", "unmount", point.name, {"driver": point.driver, "container": container.id})

    def _is_directory(self, volume: Volume) -> bool:
        return volume.driver == self._volumes.drivers.local.name and not is_mounted(volume.options)

    # --- the end ----------------------------------------------------------------------------------

    async def remove(self, mounts: Sequence[MountPoint]) -> None:
        """Remove the volumes that belonged to a container alone, whose row is gone."""
        await self._volumes.remove_unused(
            [point.name for point in mounts if point.kind == "volume" and point.anonymous]
        )


async def _placed(found: Mounted, point: MountPoint) -> Fd | None:
    """A detached mount that is attached in place of the volume's directory; None where that can be bound."""
    if not point.subpath and found.take is None:
        return None
    what = f"look for {point.subpath or point.target} in the volume {point.name}"
    return await call_bounded(
        what, lambda: place(found, point.subpath, writable=point.writable), leaves_traces=found.take is not None
    )


async def _is_near(directory: Path, place: Path) -> bool:
    """Whether a directory of the host is on the mount that the volume's own is on."""

    def look() -> bool:
        with suppress(OSError):  # whoever starts with it is told
            return can_be_moved(directory, place)
        return False

    return await call_bounded(f"look at {place}", look)


async def _is_unused(place: Path, *, of_host: bool) -> bool:
    """Whether nothing is in a directory; one of the host may take its time."""
    return await call_bounded(f"look at {place}", partial(is_empty, place)) if of_host else is_empty(place)


async def _looked(layers: Sequence[str], path: str) -> Found:
    """What an image has at a path: nearly always that takes less than a change of threads."""
    found = look(layers, path, _AT_ONCE // max(len(layers), 1))
    if found is None:
        found = await call_bounded(f"look for {path} in the image", partial(_look_far, layers, path))
    return found


def _look_far(layers: Sequence[str], path: str) -> Found:
    return look(layers, path) or Found.NOTHING


def _user(container: Container, point: MountPoint) -> str:
    return f"{container.id}:{point.target}"


def _is_below(path: str, directory: str) -> bool:
    return directory in ("/", path) or path.startswith(f"{directory}/")


def _volumes_in(container: Container) -> list[MountPoint]:
    return [point for point in container.definition.mounts if point.kind == "volume"]
