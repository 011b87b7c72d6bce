"""A container becomes an image: what it changed is a layer on top of its own image's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from wherry.engine.config import ContainerConfig
from wherry.engine.container import Container
from wherry.engine.images import Images
from wherry.engine.lifecycle import Lifecycle
from wherry.engine.merge import merge_image_config
from wherry.engine.registry import Registry
from wherry.engine.state import Status
from wherry.errors import Conflict
from wherry.images.changes import apply_changes
from wherry.images.making import Commit
from wherry.layers.diff import write_layer

__all__ = ["CommitRequest", "Committer"]

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
    :param name: what the image shall be called, with or without a tag; empty for no name.
    :param pause: whether a running container is to stand still meanwhile.
    :param changes: Dockerfile instructions.
    :param config: a configuration to go before the container's own.
    """

    container: str
    name: str = ""
    author: str = ""
    comment: str = ""
    pause: bool = True
    changes: Sequence[str] = ()
    config: ContainerConfig | None = None


class Committer:
    """Makes images of containers."""

    def __init__(self, registry: Registry, lifecycle: Lifecycle, images: Images) -> None:
        self._registry = registry
        self._lifecycle = lifecycle
        self._images = images

    async def commit(self, request: CommitRequest) -> str:
        """Make an image of a container and return its ID.

        :raises NotFound: there is no such container.
        :raises Conflict: it is being removed.
        :raises InvalidInput: a change or the name makes no sense.
        """
        container = self._registry.get(request.container)
        config = _config_of_image(container, request)
        wanted = Commit(
            config, container.id, " ".join(container.definition.argv), request.author, request.comment, request.name
        )
        self._check_there(container)
        async with self._standing_still(container, pause=request.pause):
            mounts = self._images.overlay(container)

            def write(sink: Any) -> None:
                write_layer(mounts, sink)
                self._check_there(container)  # a removal under way would have made a layer with holes

            identifier = await self._images.commit(container.definition.image_id, write, wanted)
        self._lifecycle.tell(container, "commit", comment=request.comment, imageID=identifier, imageRef=request.name)
        return identifier

    def _check_there(self, container: Container) -> None:
        state = container.state.status
        if state is Status.REMOVING or self._registry.find(container.id) is not container:
            raise Conflict(f"You cannot commit container {container.id} which is being removed")
        if state is Status.DEAD:
            raise Conflict(f"You cannot commit container {container.id} which is Dead")

    @asynccontextmanager
    async def _standing_still(self, container: Container, *, pause: bool) -> AsyncIterator[None]:
        """Pause a container that runs, and let it go on afterwards, unless somebody else did or it has ended."""
        pause = pause and container.state.status is Status.RUNNING
        if pause:
            await self._lifecycle.pause(container)
        try:
            yield
        finally:
            if pause and container.state.status is Status.PAUSED:
                await self._lifecycle.unpause(container)


def _config_of_image(container: Container, request: CommitRequest) -> Json:
    """What the request says comes first, then what the container has: Docker's order."""
    config = {key: value for key, value in _built_in(request.config or ContainerConfig()).items() if value is not None}
    apply_changes(config, request.changes)
    merged = msgspec.convert(config, ContainerConfig)
    merge_image_config(merged, _built_in(container.config))
    return {key: value for key, value in _built_in(merged).items() if key in _PORTABLE and value not in (None, "")}


def _built_in(config: ContainerConfig) -> Json:
    found: Json = msgspec.to_builtins(config)
    return found
