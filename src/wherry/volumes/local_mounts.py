"""Volumes of the driver ``local`` that have to be mounted: once for all containers that have one at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from wherry.linux.fd import Fd
from wherry.volumes.local_tree import make_tree
from wherry.volumes.model import Volume
from wherry.volumes.mount_space import MountSpace

__all__ = ["Custody", "LocalMounts", "Run"]

_T = TypeVar("_T")
_MOUNTING: Final = 120.0  # seconds that a server gets
_QUICK: Final = 10.0


class Custody(Protocol):
    """Who holds a descriptor while no daemon runs."""

    async def recall(self) -> Fd | None:
        """Return what a former daemon has deposited; None if there is nothing."""

    async def deposit(self, descriptor: int) -> None:
        """Have a descriptor held."""


class Run(Protocol):
    """Runs something in a thread of its own, and gives up after a while."""

    def __call__(
        self, what: str, function: Callable[[], _T], patience: float, *, leaves_traces: bool = False
    ) -> Awaitable[_T]: ...


class LocalMounts:
    """Mounts volumes in a `MountSpace`, which is made when the first one is needed.

    :param place: an empty directory.
    :param run: see `Run`.
    :param custody: holds the namespace.
    :param in_use: whether a container that runs, or is being started, has the volume of a name.
    """

    def __init__(self, place: Path, run: Run, custody: Custody, in_use: Callable[[str], bool]) -> None:
        self._place = place
        self._run = run
        self._custody = custody
        self._in_use = in_use
        self._opening = asyncio.Lock()
        self._space: MountSpace | None = None
        self._mounted: set[str] = set()

    async def mount(self, volume: Volume) -> Callable[[str], Fd]:
        """Mount a volume, unless it is mounted; the caller holds its lock.

        :returns: takes a copy of it, or of a part, in a thread that ends afterwards.
        :raises SystemFault: it cannot be mounted.
        """
        space = await self._opened()
        if volume.name not in self._mounted:
            what = f"mount the volume {volume.name}"
            with await self._run(what, partial(make_tree, volume.options), _MOUNTING) as tree:
                await self._run(what, partial(space.attach, volume.name, tree), _QUICK, leaves_traces=True)
            self._mounted.add(volume.name)
        return partial(space.take, volume.name)

    async def unmount(self, name: str) -> None:
        """Unmount a volume, if nobody has it any more; the caller holds its lock."""
        space = await self._opened()
        if name in self._mounted and not self._in_use(name):
            self._mounted.discard(name)
            await self._detach(space, [name])

    async def deposit(self) -> None:
        """Deposit the namespace again: who held it has ended."""
        if self._space is not None:
            await self._custody.deposit(self._space.descriptor.fileno())

    async def _opened(self) -> MountSpace:
        async with self._opening:
            if self._space is None:
                held = await self._custody.recall()
                self._space = await self._recalled(held) if held is not None else await self._made()
            return self._space

    async def _recalled(self, held: Fd) -> MountSpace:
        space = MountSpace(held)
        found = await self._run("look at mounted volumes", space.names, _QUICK, leaves_traces=True)
        unused = [name for name in found if not self._in_use(name)]
        if unused:  # a daemon has ended in the middle of a start
            await self._detach(space, unused)
        self._mounted = set(found) - set(unused)
        return space

    async def _made(self) -> MountSpace:
        space = await self._run(
            "make room for mounted volumes", partial(MountSpace.make, self._place), _QUICK, leaves_traces=True
        )
        await self._custody.deposit(space.descriptor.fileno())
        return space

    async def _detach(self, space: MountSpace, names: list[str]) -> None:
        what = f"unmount the volume {names[0]}"
        await self._run(what, partial(space.detach, names), _QUICK, leaves_traces=True)
