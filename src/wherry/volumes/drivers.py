"""The drivers of volumes by name: those that are built in, and those that are looked for when somebody names them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from wherry.errors import NotFound
from wherry.volumes.contract import VolumeDriver
from wherry.volumes.local import LocalDriver

__all__ = ["Drivers"]

FindDriver = Callable[[str], Awaitable[VolumeDriver | None]]


async def _nothing_else(_name: str) -> VolumeDriver | None:
    return None


class Drivers:
    """All drivers.

    :param local: the built-in one.
    :param find_other: looks for another one, by a name that is not empty.
    :param other_names: the names of other ones that are there, for ``info``.
    """

    def __init__(
        self,
        local: LocalDriver,
        find_other: FindDriver = _nothing_else,
        other_names: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        self.local = local
        self._find_other = find_other
        self._other_names = other_names

    async def get(self, name: str) -> VolumeDriver:
        """The driver of a name; an empty one is the built-in driver's.

        :raises NotFound: there is none, in Docker's words.
        """
        if name in ("", self.local.name):
            return self.local
        found = await self._find_other(name)
        if found is None:
            raise NotFound(f"error looking up volume plugin {name}", cause=f'plugin "{name}" not found')
        return found

    async def find_other(self, name: str) -> VolumeDriver | None:
        """The driver of a name that is not built in; None where there is none."""
        return await self._find_other(name)

    def other_names(self) -> list[str]:
        """The names of those that are not built in; some may turn out to be something else."""
        return list(self._other_names())

    def names(self) -> list[str]:
        """The names of all, the built-in one first."""
        return [self.local.name, *self._other_names()]
