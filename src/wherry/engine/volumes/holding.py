"""Volumes are held as they are, while they are copied or exchanged: nobody writes, and nobody starts with them.

A container that starts holds its own lock, and wants the volume's to mount it. So the containers' locks come first,
always; and who has passed the mount when the volume's is had is seen by a lock that is still held.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from wherry.engine.container.state import Status
from wherry.engine.volumes.usage import volumes_of
from wherry.errors import Conflict, WherryError

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.volumes.volumes import Volumes
    from wherry.volumes.snapshots import Snapshots

__all__ = ["Containers", "Pausing", "VolumeHolder"]

_TRIES: Final = 10


class Containers(Protocol):
    """All containers."""

    def __iter__(self) -> Iterator[Container]: ...

    def find(self, identifier: str) -> Container | None:
        """One by its ID."""


class Pausing(Protocol):
    """Lets containers stand still."""

    async def pause(self, container: Container) -> None:
        """Freeze all its processes."""

    async def unpause(self, container: Container) -> None:
        """Let them go on."""


class VolumeHolder:
    """Holds volumes.

    :param notes: where it is written down who stands still, for whoever comes after a crash.
    """

    def __init__(self, volumes: Volumes, notes: Snapshots, containers: Containers, pausing: Pausing) -> None:
        self._volumes = volumes
        self._notes = notes
        self._containers = containers
        self._pausing = pausing
        self._changing = asyncio.Lock()  # one at a time freezes a container, or lets it go on
        self._holds: dict[str, int] = {}  # how many want a container to stand still that was frozen here

    async def recover(self) -> None:
        """Let those go on that an earlier process has frozen; to be called when all containers are known."""
        for identifier in await asyncio.to_thread(self._notes.frozen):
            container = self._containers.find(identifier)
            if container is not None and container.state.status is Status.PAUSED:
                with suppress(WherryError):
                    await self._pausing.unpause(container)
            self._notes.forget_frozen(identifier)

    @asynccontextmanager
    async def still(self, name: str, *, freeze: bool) -> AsyncIterator[Sequence[Container]]:
        """Keep a volume as it is: nobody starts with it, and those that write to it stand still.

        :param freeze: False: they go on writing.
        :raises Conflict: some begin to run again and again.
        """
        async with AsyncExitStack() as stack:
            frozen: list[Container] = []
            for _ in range(_TRIES):
                if freeze:
                    await self._freeze_writers(name, frozen, stack)
                await (lock := AsyncExitStack()).enter_async_context(self._volumes.locked(name))
                if not freeze or not self._may_write(name, frozen):
                    async with lock:
                        yield [one for one in frozen if one.state.status is Status.PAUSED]
                    return
                await lock.aclose()
            raise Conflict(f"containers that write to volume {name} start again and again")

    async def _freeze_writers(self, name: str, frozen: list[Container], stack: AsyncExitStack) -> None:
        for container in self._users(name):
            async with container.lock:  # what it is doing ends
                pass
            if container not in frozen and _writes(container, name):
                async with self._changing:
                    if await self._freeze(container):
                        frozen.append(container)
                        stack.push_async_callback(self._thaw, container)

    async def _freeze(self, container: Container) -> bool:
        """Have a container stand still; False where it does not run, or somebody else has paused it."""
        if container.state.status is Status.RUNNING:
            await asyncio.to_thread(self._notes.note_frozen, container.id)
            try:
                await self._pausing.pause(container)
            except WherryError as exc:
                self._notes.forget_frozen(container.id)
                if not isinstance(exc, Conflict):  # as when it has ended
                    raise
                return False
            self._holds.setdefault(container.id, 0)
        if container.state.status is not Status.PAUSED or container.id not in self._holds:
            return False
        self._holds[container.id] += 1
        return True

    def _may_write(self, name: str, frozen: Sequence[Container]) -> bool:
        """Whether a container runs, or is about to, that is not frozen."""
        return any(
            one not in frozen and _writes(one, name) and (one.state.status is Status.RUNNING or one.lock.locked())
            for one in self._users(name)
        )

    async def _thaw(self, container: Container) -> None:
        async with self._changing:
            self._holds[container.id] -= 1
            if self._holds[container.id]:
                return
            del self._holds[container.id]
            if container.state.status is Status.PAUSED:
                with suppress(Conflict):
                    await self._pausing.unpause(container)
            self._notes.forget_frozen(container.id)

    @asynccontextmanager
    async def unused(self, name: str) -> AsyncIterator[None]:
        """Keep a volume from whoever wants to start with it.

        :raises Conflict: a container that runs has it.
        """
        async with AsyncExitStack() as stack:
            for container in sorted(self._users(name), key=lambda one: one.id):
                await stack.enter_async_context(container.lock)
            await stack.enter_async_context(self._volumes.locked(name))
            if running := [one.name for one in self._users(name) if one.state.is_alive]:
                what = f"volume {name} is in use by containers that run"
                raise Conflict(what, cause=", ".join(running), hint="stop them first")
            yield

    def _users(self, name: str) -> list[Container]:
        return [one for one in self._containers if name in volumes_of(one)]


def _writes(container: Container, name: str) -> bool:
    return any(one.kind == "volume" and one.name == name and one.writable for one in container.definition.mounts)
