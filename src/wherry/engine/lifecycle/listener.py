"""What the lifecycle tells others of a container, at the moment at which it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wherry.engine.container.container import Container

__all__ = ["Listener"]


class Listener(Protocol):
    """Whoever has to know when a container has processes; called with the container's lock held."""

    def started(self, container: Container) -> None:
        """It runs; its state is not saved yet."""

    def exited(self, container: Container) -> None:
        """It has exited; its state says how, and is not saved yet."""

    async def removing(self, container: Container) -> None:
        """It has ended, and is about to be removed."""

    async def removed(self, container: Container) -> None:
        """It does not exist any more, and its files are deleted."""
