"""The volumes of a container: made when it is created, mounted when it starts, removed with it when that is asked."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.names import new_id
from wherry.errors import WherryError
from wherry.linux.fd import Fd

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.events import EventBus
    from wherry.engine.volumes.volumes import Volumes
    from wherry.volumes.contract import Mounted

__all__ = ["ContainerVolumes", "MountedVolumes", "Source"]


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

    def add(self, target: str, mounted: Mounted) -> None:
        """What is to be mounted at a target."""
        if mounted.tree is None:
            self.sources[target] = Source(mounted.path)
            return
        self._trees.append(mounted.tree)
        self.sources[target] = Source(f"/proc/{os.getpid()}/fd/{mounted.tree.fileno()}", is_detached=True)

    def __enter__(self) -> MountedVolumes:
        return self

    def __exit__(self, *_: object) -> None:
        while self._trees:
            self._trees.pop().close()


class ContainerVolumes:
    """Gives containers their volumes."""

    def __init__(self, volumes: Volumes, events: EventBus) -> None:
        self._volumes = volumes
        self._events = events

    # --- create -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def provided(self, identifier: str, points: Sequence[MountPoint]) -> AsyncIterator[list[MountPoint]]:
        """Make the volumes of a new container; they are protected until the block ends, and its row names them.

        When the block fails, those that were made for nobody else are removed again.

        :param identifier: the container's ID.
        :param points: its mounts.
        """
        made: list[str] = []
        try:
            with self._volumes.users.claimed(identifier) as claims:
                yield [await self._provide(point, claims, made) for point in points]
        except BaseException:
            await self._volumes.remove_unused(made)
            raise

    async def _provide(self, point: MountPoint, claims: list[str], made: list[str]) -> MountPoint:
        if point.kind != "volume":
            return point
        name = point.name or new_id()
        claims.append(name)
        if not point.name:
            made.append(name)
        volume = await self._volumes.make(
            name, point.driver, point.driver_options, point.labels, anonymous=not point.name
        )
        return replace(
            point, name=name, driver=volume.driver, source=self._volumes.source(volume), driver_options={}, labels={}
        )

    # --- start and exit ---------------------------------------------------------------------------

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
        volume = self._volumes.get(point.name)
        async with self._volumes.locked(point.name):
            driver = await self._volumes.drivers.get(volume.driver)
            mounted.add(point.target, await driver.mount(volume, container.id))
        self._events.publish("volume", "mount", point.name, {
            "driver": point.driver, "container": container.id, "destination": point.target,
            "read/write": str(point.writable).lower(), "propagation": point.propagation,
        })  # fmt: skip

    async def unmount(self, container: Container) -> None:
        """A container has no processes any more."""
        for point in _volumes_in(container):
            volume = self._volumes.store.find(point.name)
            if volume is None:
                continue
            try:
                async with self._volumes.locked(point.name):
                    await (await self._volumes.drivers.get(volume.driver)).unmount(volume, container.id)
            except WherryError as exc:
                self._volumes.log_failure(volume, "is not unmounted", exc)
            attributes = {"driver": point.driver, "container": container.id}
            self._events.publish("volume", "unmount", point.name, attributes)

    # --- the end ----------------------------------------------------------------------------------

    async def remove(self, mounts: Sequence[MountPoint]) -> None:
        """Remove the volumes that belonged to a container alone, whose row is gone."""
        await self._volumes.remove_unused(
            [point.name for point in mounts if point.kind == "volume" and point.anonymous]
        )


def _volumes_in(container: Container) -> list[MountPoint]:
    return [point for point in container.definition.mounts if point.kind == "volume"]
