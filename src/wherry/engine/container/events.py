"""The ``container`` events of the Engine API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.events import EventBus

__all__ = ["ContainerEvents"]


class ContainerEvents:
    """Publishes events of containers, with the attributes that all of them have."""

    def __init__(self, events: EventBus) -> None:
        self._events = events

    def publish(self, container: Container, action: str, **attributes: str) -> None:
        """Publish an event of a container.

        :param action: ``start``, ``die``, ``exec_create: sh`` ...
        """
        known = {**(container.config.labels or {}), "image": container.definition.image, "name": container.name}
        self._events.publish("container", action, container.id, {**known, **attributes})

    def publish_prune(self, reclaimed: int) -> None:
        """Publish that all containers without processes were removed, and how many bytes that gave back."""
        self._events.publish("container", "prune", "", {"reclaimed": str(reclaimed)})
