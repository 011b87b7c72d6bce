"""What can be done with containers: the engine's side of the API's container operations.

Each method finds the container and hands on to the part that knows how; nothing is decided here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from wherry.engine import clock, processes
from wherry.engine.attach import ContainerAttachment
from wherry.engine.config import CreateRequest
from wherry.engine.container import Container
from wherry.engine.creation import Creator
from wherry.engine.events import has_label
from wherry.engine.explain import Explainer
from wherry.engine.images import Images
from wherry.engine.inspection import inspect
from wherry.engine.launcher import Launcher
from wherry.engine.lifecycle import Lifecycle
from wherry.engine.logs import read_logs
from wherry.engine.metrics import Metrics
from wherry.engine.networking import Networking
from wherry.engine.registry import Registry
from wherry.engine.state import Status
from wherry.engine.streams import AttachOptions, DetachKeys, LogChunk, LogOptions
from wherry.engine.summaries import Lister
from wherry.engine.update import update
from wherry.engine.usage import Usage
from wherry.errors import Conflict, InvalidInput, NotFound
from wherry.linux import pty

__all__ = ["Containers"]

Json = dict[str, Any]
Jsons = list[Json]  # `list` is a method below
Words = list[str]
Filters = Mapping[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Containers:
    """The containers of an engine. A `ref` is an ID, the beginning of one, or a name.

    Every method with a `ref` raises ``NotFound`` ("No such container: ...") when there is none.
    """

    registry: Registry
    lifecycle: Lifecycle
    launcher: Launcher
    images: Images
    creator: Creator
    lister: Lister
    metrics: Metrics
    explainer: Explainer
    usage: Usage
    networking: Networking

    def get(self, ref: str) -> Container:
        """The container itself."""
        return self.registry.get(ref)

    # --- making and listing -----------------------------------------------------------------------

    async def create(self, name: str | None, request: CreateRequest, platform: str | None) -> tuple[str, list[str]]:
        """Make a container; returns its ID and warnings. See `Creator.create` for the errors."""
        container, warnings = self.creator.create(name, request, platform)
        self.lifecycle.tell(container, "create")
        return container.id, warnings

    def list(self, *, all: bool, limit: int, size: bool, filters: Filters) -> list[Json]:
        """Summaries, the newest first. See `Lister.summaries`."""
        return self.lister.summaries(everything=all, limit=limit, size=size, filters=filters)

    def inspect(self, ref: str, size: bool = False) -> Json:
        """Everything about one container."""
        container = self.registry.get(ref)
        sizes = self.usage.of_container(container) if size else None
        return inspect(container, self.images.names_of, self.registry.find, sizes)

    # --- moves ------------------------------------------------------------------------------------

    async def start(self, ref: str, *, detach_keys: str | None = None) -> None:
        """Start it. See `Lifecycle.start` for the errors."""
        await self.lifecycle.start(self.registry.get(ref))

    async def stop(self, ref: str, *, signal: str | None = None, timeout: int | None = None) -> None:
        """Stop it, by force after the timeout in seconds."""
        await self.lifecycle.stop(self.registry.get(ref), signal, timeout)

    async def restart(self, ref: str, *, signal: str | None = None, timeout: int | None = None) -> None:
        """Stop it if it runs, and start it."""
        await self.lifecycle.restart(self.registry.get(ref), signal, timeout)

    async def kill(self, ref: str, signal: str) -> None:
        """Send a signal."""
        try:
            container = self.registry.get(ref)
        except NotFound as exc:
            raise NotFound(f"cannot kill container: {ref}", cause=exc.message) from exc
        await self.lifecycle.kill(container, signal)

    async def pause(self, ref: str) -> None:
        """Freeze all its processes."""
        await self.lifecycle.pause(self.registry.get(ref))

    async def unpause(self, ref: str) -> None:
        """Let its processes go on."""
        await self.lifecycle.unpause(self.registry.get(ref))

    async def rename(self, ref: str, new_name: str) -> None:
        """Give it another name.

        :raises Conflict: another container has it.
        """
        container = self.registry.get(ref)
        old = container.name
        self.registry.rename(container, new_name)
        self.networking.renamed(container)
        self.lifecycle.tell(container, "rename", oldName=f"/{old}")

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with all that is its own."""
        await self.lifecycle.remove(self.registry.get(ref), force=force)

    async def update(self, ref: str, body: Json) -> Words:
        """Change limits and the restart policy; returns warnings."""
        container = self.registry.get(ref)
        async with container.lock:
            warnings = update(container, body, self.launcher.cgroup_path(container))
            self.registry.save_definition(container)
        self.lifecycle.tell(container, "update")
        return warnings

    async def prune(self, filters: Filters) -> Json:
        """Remove those that do not run; the body of ContainerPrune.

        :param filters: ``until`` and ``label``, ``label!``.
        """
        chosen = [c for c in self.registry if _may_be_pruned(c, filters)]
        reclaimed = 0
        removed = []
        for container in chosen:
            size = self.usage.of_container(container)[0]
            try:
                await self.lifecycle.remove(container, force=False)
            except Conflict:
                continue  # started or removed meanwhile
            removed.append(container.id)
            reclaimed += size
        self.lifecycle.tell_prune(reclaimed)
        return {"ContainersDeleted": removed or None, "SpaceReclaimed": reclaimed}

    # --- waiting and streams ----------------------------------------------------------------------

    def waiter(self, ref: str, condition: str) -> Awaitable[Json]:
        """Begin to wait at once, and return what can be awaited for the body of ContainerWait.

        :param condition: ``not-running``, ``next-exit`` or ``removed``.
        """
        container = self.registry.get(ref)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        state = container.state
        if condition == "removed":
            container.removal_waiters.append(future)
        elif condition == "next-exit" or state.is_alive or state.status is Status.RESTARTING:
            container.exit_waiters.append(future)
        else:
            future.set_result(state.exit_code)
        return _status_of(future)

    def logs(self, ref: str, options: LogOptions) -> AsyncGenerator[LogChunk, None]:
        """The wanted part of its log."""
        container = self.registry.get(ref)
        return read_logs(container, self.launcher.feed(container), options)

    def attach(self, ref: str, options: AttachOptions) -> ContainerAttachment:
        """Take part in its standard streams from now on.

        :raises Conflict: it is paused or restarting.
        :raises InvalidInput: there are no such keys to leave by.
        """
        container = self.registry.get(ref)
        DetachKeys(options.detach_keys)
        if container.state.status is Status.PAUSED:
            raise Conflict(f"container {ref} is paused, unpause the container before attach")
        if container.state.status is Status.RESTARTING:
            raise Conflict(f"container {container.id} is restarting, wait until the container is running")
        attachment = ContainerAttachment(
            container, self.launcher.feed(container), options,
            close_stdin=lambda: self.launcher.close_stdin(container),
            on_detach=lambda: self.lifecycle.tell(container, "detach"),
        )  # fmt: skip
        self.lifecycle.tell(container, "attach")
        return attachment

    async def resize(self, ref: str, height: int, width: int) -> None:
        """Tell its terminal the size, in characters.

        :raises Conflict: it does not run.
        """
        container = self.registry.get(ref)
        container.state.check_running(container.id)
        if container.terminal is not None:
            pty.set_winsize(container.terminal.fileno(), height, width)
        self.lifecycle.tell(container, "resize", height=str(height), width=str(width))

    # --- looking inside ---------------------------------------------------------------------------

    async def top(self, ref: str, ps_args: str) -> Json:
        """Its processes."""
        container = self.registry.get(ref)
        found = await processes.top(container, self.launcher.cgroup_path(container), ps_args)
        self.lifecycle.tell(container, "top")
        return found

    async def stats(self, ref: str) -> Json:
        """One sample of what it uses."""
        return self.metrics.sample(self.registry.get(ref))

    async def changes(self, ref: str) -> Jsons:
        """What it changed in its root file system."""
        container = self.registry.get(ref)
        return await asyncio.to_thread(self.images.changes, container)

    def export(self, ref: str) -> AsyncIterator[bytes]:
        """Its root file system as a tar archive."""
        container = self.registry.get(ref)
        self.lifecycle.tell(container, "export")
        return self.images.export(container)

    async def explain(self, ref: str) -> Json:
        """What it shares, what it is limited to, and what it cost."""
        return await asyncio.to_thread(self.explainer.explain, self.registry.get(ref))


async def _status_of(future: asyncio.Future[int]) -> Json:
    return {"StatusCode": await future}


def _may_be_pruned(container: Container, filters: Filters) -> bool:
    for name in filters:
        if name not in ("until", "label", "label!"):
            raise InvalidInput(f"invalid filter '{name}'")
    if container.state.status not in (Status.CREATED, Status.EXITED, Status.DEAD):
        return False
    labels = container.config.labels or {}
    until = [clock.moment(text) for text in filters.get("until") or []]
    created = clock.from_rfc3339(container.definition.created)
    return (
        all(created <= moment for moment in until or [time.time_ns()])
        and all(has_label(labels, wanted) for wanted in filters.get("label") or [])
        and not any(has_label(labels, wanted) for wanted in filters.get("label!") or [])
    )
