"""Volumes that the engine has not made: what other drivers have is listed, and can be used, as in Docker."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.errors import WherryError
from wherry.volumes.model import Volume

if TYPE_CHECKING:
    from wherry.volumes.drivers import Drivers

__all__ = ["Elsewhere", "Listed"]

_PATIENCE: Final = 10.0  # seconds for all together: they are asked side by side


class Listed(NamedTuple):
    """What drivers say that they have.

    :param volumes: by driver, for those that have answered; each with its path, empty where that is not said.
    :param warnings: about those that have not.
    """

    volumes: dict[str, list[tuple[Volume, str]]]
    warnings: list[str]

    def find(self, name: str) -> Volume | None:
        """The volume of a name; of several drivers that have one, the first."""
        found = (volume for volumes in self.volumes.values() for volume, _ in volumes if volume.name == name)
        return next(found, None)


class Elsewhere:
    """Asks the drivers that are not built in.

    :param patience: seconds that they get.
    """

    def __init__(self, drivers: Drivers, patience: float = _PATIENCE) -> None:
        self._drivers = drivers
        self._patience = patience

    async def volumes(self, only: Container[str] | None = None) -> Listed:
        """All that they have.

        :param only: the names of those that are asked.
        """
        names = [name for name in self._drivers.other_names() if only is None or name in only]
        answers = await asyncio.gather(*(self._of(name) for name in names)) if names else ()
        found = Listed({}, [])
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, str):
                found.warnings.append(answer)
            elif answer is not None:
                found.volumes[name] = list(answer)
        return found

    async def _of(self, name: str) -> Sequence[tuple[Volume, str]] | str | None:
        """What one has, or why that is not known; None where it is no driver of volumes."""
        try:
            async with asyncio.timeout(self._patience):
                driver = await self._drivers.find_other(name)
                if driver is None:
                    return None
                scope = await driver.scope()
                return [
                    (Volume(name=one.name, driver=name, created=one.created, scope=scope), one.path)
                    for one in await driver.list()
                    if one.name
                ]
        except TimeoutError:
            return f"list {name}: it does not answer within {self._patience:g} s"
        except WherryError as exc:
            return f"list {name}: {exc}"
