"""Who uses a volume: the containers whose definitions name it, and those that are being created."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wherry.engine.container.container import Container

__all__ = ["VolumeUsers", "volumes_of"]


class Containers(Protocol):
    """All containers."""

    def __iter__(self) -> Iterator[Container]: ...


class VolumeUsers:
    """Answers by what containers are, so there is nothing to be counted, and nothing to be lost.

    :param containers: all that there are.
    """

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._claims: defaultdict[str, list[str]] = defaultdict(list)
        self._mounts: dict[str, set[str]] = {}

    @contextmanager
    def claimed(self, user: str) -> Iterator[list[str]]:
        """Protect the volumes whose names are put into the list, until the block ends.

        :param user: the ID of the container that is going to have them.
        """
        try:
            yield self._claims[user]
        finally:
            del self._claims[user]

    def of(self, name: str) -> list[str]:
        """The IDs of the containers that use a volume, those that are being created included."""
        users = [container.id for container in self._containers if name in volumes_of(container)]
        return users + [user for user, names in self._claims.items() if name in names and user not in users]

    def all(self) -> dict[str, set[str]]:
        """The IDs of users of all volumes that are used, by name."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for container in self._containers:
            for name in volumes_of(container):
                found[name].add(container.id)
        for user, names in self._claims.items():
            for name in names:
                found[name].add(user)
        return found

    def mounted(self, name: str) -> bool:
        """Whether a container that runs, or is being started, has a volume."""
        return name in self._mounts or any(
            container.state.is_alive and name in volumes_of(container) for container in self._containers
        )

    def note_mount(self, name: str, user: str) -> None:
        """A volume is about to be mounted for a container."""
        self._mounts.setdefault(name, set()).add(user)

    def note_unmount(self, name: str, user: str) -> bool:
        """A volume is not mounted for a container any more; returns whether this daemon has noted that it was."""
        users = self._mounts.get(name, set())
        noted = user in users
        users.discard(user)
        if not users:
            self._mounts.pop(name, None)
        return noted


def volumes_of(container: Container) -> Iterable[str]:
    """The names of a container's volumes."""
    return {point.name for point in container.definition.mounts if point.kind == "volume"}
