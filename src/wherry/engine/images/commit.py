"""Commit: an image out of a container, whose changes are a layer on top of its own image's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from wherry.docker.container_requests import ContainerConfig
from wherry.engine.container.container import Container
from wherry.engine.container.events import ContainerEvents
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.create.image_defaults import with_image_defaults
from wherry.engine.images.images import Images
from wherry.engine.lifecycle.lifecycle import Lifecycle
from wherry.errors import Conflict
from wherry.images.config_changes import apply_changes
from wherry.images.importer import Commit
from wherry.layers.diff import write_layer

__all__ = ["CommitRequest", "CommitService"]

Json = dict[str, Any]

#: The members of a container's configuration that an image has as well (OCI image specification, config.md; the last
#: four are Docker's).
_PORTABLE: Final = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
    "ArgsEscaped", "Healthcheck", "OnBuild", "Shell",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CommitRequest:
    """What ImageCommit asks for.

    :param container: its ID, the beginning of one, or its name.
    :param name: the image's name, with or without a tag; empty for none.
    :param pause: whether a running container is paused during the commit.
    :param changes: Dockerfile instructions.
    :param config: a configuration that takes precedence over the container's own.
    """

    container: str
    name: str = ""
    author: str = ""
    comment: str = ""
    pause: bool = True
    changes: Sequence[str] = ()
    config: ContainerConfig | None = None


class CommitService:
    """Makes images of containers."""

    def __init__(
        self, containers: ContainerStore, events: ContainerEvents, lifecycle: Lifecycle, images: Images
    ) -> None:
        self._containers = containers
        self._events = events
        self._lifecycle = lifecycle
        self._images = images

    async def commit(self, request: CommitRequest) -> str:
        """Make an image of a container and return its ID.

        :raises NotFound: there is no such container.
        :raises Conflict: it is being removed.
        :raises InvalidInput: a change or the name is invalid.
        """
        container = self._containers.get(request.container)
        config = _config_of_image(container, request)
        wanted = Commit(
            config, container.id, " ".join(container.definition.argv), request.author, request.comment, request.name
        )
        self._check_there(container)
        async with self._paused(container, pause=request.pause):
            mounts = self._images.overlay(container)

            def write(sink: Callable[[bytes], object], room: Callable[[int], object]) -> None:
                write_layer(mounts, sink, room)
                self._check_there(container)  # a removal meanwhile would have made an incomplete layer

            identifier = await self._images.commit(container.definition.image_id, write, wanted)
        self._events.publish(container, "commit", comment=request.comment, imageID=identifier, imageRef=request.name)
        return identifier

    def _check_there(self, container: Container) -> None:
        state = container.state.status
        if state is Status.REMOVING or self._containers.find(container.id) is not container:
            raise Conflict(f"You cannot commit container {container.id} which is being removed")
        if state is Status.DEAD:
            raise Conflict(f"You cannot commit container {container.id} which is Dead")

    @asynccontextmanager
    async def _paused(self, container: Container, *, pause: bool) -> AsyncIterator[None]:
        """Pause a running container, and unpause it afterwards unless it is not paused any more."""
        pause = pause and container.state.status is Status.RUNNING
        if pause:
            await self._lifecycle.pause(container)
        try:
            yield
        finally:
            if pause and container.state.status is Status.PAUSED:
                await self._lifecycle.unpause(container)


def _config_of_image(container: Container, request: CommitRequest) -> Json:
    """The request's configuration or else the container's, with the changes; then completed with the container's."""
    config = _given(request.config or ContainerConfig()) or _given(container.config)
    apply_changes(config, request.changes)
    merged = msgspec.convert(config, ContainerConfig)
    merged = with_image_defaults(merged, _built_in(container.config))
    return {key: value for key, value in _built_in(merged).items() if key in _PORTABLE and value not in (None, "")}


def _given(config: ContainerConfig) -> Json:
    return {key: value for key, value in _built_in(config).items() if value is not None}


def _built_in(config: ContainerConfig) -> Json:
    found: Json = msgspec.to_builtins(config)
    return found
