"""What can be done with containers: the engine's side of the API's container operations.

Each method finds the container and hands on to the part that knows how; nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass, field
from typing import Final

from wherry.docker import times
from wherry.docker.container_answers import (
    ContainerInspect,
    ContainersDeleted,
    ContainerSummary,
    ContainerTop,
    FilesystemChange,
    WaitStatus,
)
from wherry.docker.container_requests import CreateRequest, HostConfig
from wherry.docker.explain_answers import Explanation
from wherry.docker.filters import Filters, check_prune, may_be_pruned
from wherry.docker.stats import ContainerStats
from wherry.docker.streams import AttachOptions, DetachKeys, LogChunk, LogOptions
from wherry.engine.container.container import Container
from wherry.engine.container.events import ContainerEvents
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.create.create import CreateService
from wherry.engine.create.validate import parse_signal
from wherry.engine.disk.usage import Usage
from wherry.engine.images.images import Images
from wherry.engine.lifecycle.checkpoints import CheckpointFiles
from wherry.engine.lifecycle.lifecycle import Lifecycle
from wherry.engine.lifecycle.start import Starter
from wherry.engine.lifecycle.update import update
from wherry.engine.network.connect import Connector
from wherry.engine.network.endpoint_effects import EndpointEffects
from wherry.engine.spec.host_sources import missing_sources
from wherry.engine.streams.attach import ContainerAttachment
from wherry.engine.streams.logs import lacks_older, read_logs
from wherry.engine.views import top
from wherry.engine.views.explain import ExplainService
from wherry.engine.views.inspect import inspect
from wherry.engine.views.list import ListService
from wherry.engine.views.stats import Sampler
from wherry.errors import Conflict, NotFound, SystemFault
from wherry.linux import pty

__all__ = ["Containers"]

_AT_ONCE: Final = 32  # containers that a prune removes side by side: each may wait for whoever gets its log

Changes = list[FilesystemChange]  # `list` is a method below
Summaries = list[ContainerSummary]
Words = list[str]


@dataclass(frozen=True, kw_only=True)
class Containers:
    """The containers of an engine. A `ref` is an ID, the beginning of one, or a name.

    Every method with a `ref` raises ``NotFound`` ("No such container: ...") when there is none.
    """

    store: ContainerStore
    events: ContainerEvents
    lifecycle: Lifecycle
    starter: Starter
    images: Images
    create_service: CreateService
    list_service: ListService
    explain_service: ExplainService
    usage: Usage
    effects: EndpointEffects
    connector: Connector
    sampler: Sampler = field(default_factory=Sampler)

    def get(self, ref: str) -> Container:
        """The container itself."""
        return self.store.get(ref)

    # --- making and listing -----------------------------------------------------------------------

    async def create(
        self, name: str | None, request: CreateRequest, platform: str | None, *, read_only_below: bool = True
    ) -> tuple[str, Words]:
        """Make a container; returns its ID and warnings. See `CreateService.create` for the parameters and errors."""
        missing = await missing_sources(request.host_config or HostConfig())
        container, warnings = await self.create_service.create(
            name, request, platform, read_only_below=read_only_below, missing=missing
        )
        self.events.publish(container, "create")
        return container.id, warnings

    async def list(self, *, all: bool, limit: int, size: bool, filters: Filters) -> Summaries:
        """Summaries, the newest first. See `ListService.select` for the parameters and errors."""
        await self.images.look_up_names({one.definition.image_id for one in self.store})
        chosen = self.list_service.select(everything=all, limit=limit, filters=filters)
        sizes = await self.usage.of_containers(chosen) if size else {}
        return self.list_service.summaries(chosen, self.store.names(), sizes)

    def inspect(self, ref: str) -> ContainerInspect:
        """Everything about one container but its sizes."""
        return inspect(self.store.get(ref), self.images.names_of, self.store.find, None)

    async def inspect_with_sizes(self, ref: str) -> ContainerInspect:
        """Everything about one container."""
        container = self.store.get(ref)
        sizes = await self.usage.of_containers([container])
        return inspect(container, self.images.names_of, self.store.find, sizes[container.id])

    # --- moves ------------------------------------------------------------------------------------

    async def start(
        self, ref: str, *, detach_keys: str | None = None, checkpoint: str = "", checkpoint_dir: str = ""
    ) -> None:
        """Start it, at its beginning or from a checkpoint. See `Lifecycle.start` for the errors.

        :raises NotFound: there is no such checkpoint.
        """
        container = self.store.get(ref)
        images = await CheckpointFiles.of(container, checkpoint_dir).found(checkpoint) if checkpoint else None
        await self.lifecycle.start(container, images)

    async def stop(self, ref: str, *, signal: str | None = None, timeout: int | None = None) -> None:
        """Stop it, by force after the timeout in seconds."""
        await self.lifecycle.stop(self.store.get(ref), signal, timeout)

    async def restart(self, ref: str, *, signal: str | None = None, timeout: int | None = None) -> None:
        """Stop it if it runs, and start it."""
        await self.lifecycle.restart(self.store.get(ref), signal, timeout)

    async def kill(self, ref: str, signal: str) -> None:
        """Send a signal.

        :raises InvalidInput: there is no such signal; whether there is such a container is asked after that, as in
            Docker.
        """
        parse_signal(signal)
        try:
            container = self.store.get(ref)
        except NotFound as exc:
            raise NotFound(f"cannot kill container: {ref}", cause=exc.message) from exc
        await self.lifecycle.kill(container, signal)

    async def pause(self, ref: str) -> None:
        """Freeze all its processes."""
        await self.lifecycle.pause(self.store.get(ref))

    async def unpause(self, ref: str) -> None:
        """Let its processes go on."""
        await self.lifecycle.unpause(self.store.get(ref))

    async def rename(self, ref: str, new_name: str) -> None:
        """Give it another name.

        :raises Conflict: another container has it.
        """
        container = self.store.get(ref)
        old = container.name
        self.store.rename(container, new_name)
        self.effects.renamed(container)
        self.events.publish(container, "rename", oldName=f"/{old}")

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with all that is its own."""
        await self.lifecycle.remove(self.store.get(ref), force=force, volumes=volumes)

    async def remove_link(self, ref: str) -> None:
        """Remove the link that a name like ``web/db`` stands for; the containers stay.

        :raises SystemFault: the name is a container's own; dockerd's answer.
        """
        self.store.get(ref)
        holder, slash, alias = ref.removeprefix("/").partition("/")
        if not slash:
            raise SystemFault("Conflict, cannot remove the default link name of the container")
        container = self.store.get(holder)
        async with container.lock:
            self.store.unlink(container, alias)
            if container.state.is_alive:
                await self.connector.unlinked(container)

    async def update(self, ref: str, wanted: HostConfig) -> Words:
        """Change limits and the restart policy; returns warnings."""
        container = self.store.get(ref)
        async with container.lock:
            cgroup = self.starter.cgroup_path(container)
            warnings = await update(container, wanted, cgroup, self.store.save_definition)
        self.events.publish(container, "update")
        return warnings

    async def prune(self, filters: Filters) -> ContainersDeleted:
        """Remove those that do not run; the body of ContainerPrune.

        :param filters: ``until`` and ``label``, ``label!``.
        """
        check_prune(filters)
        chosen = [c for c in self.store if _may_be_pruned(c, filters)]
        sizes = await self.usage.of_containers(chosen)
        turns = asyncio.Semaphore(_AT_ONCE)
        outcomes = await asyncio.gather(*(self._pruned(one, turns) for one in chosen), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        removed = [one.id for one, is_removed in zip(chosen, outcomes, strict=True) if is_removed]
        reclaimed = sum(sizes[identifier][0] for identifier in removed)
        self.events.publish_prune(reclaimed)
        return ContainersDeleted(containers_deleted=removed or None, space_reclaimed=reclaimed)

    async def _pruned(self, container: Container, turns: asyncio.Semaphore) -> bool:
        """Whether it was removed, and not started or removed by somebody else meanwhile."""
        async with turns:
            try:
                await self.lifecycle.remove(container, force=False)
            except Conflict:
                return False
            return True

    # --- waiting and streams ----------------------------------------------------------------------

    def waiter(self, ref: str, condition: str) -> Awaitable[WaitStatus]:
        """Begin to wait at once, and return what can be awaited for the body of ContainerWait.

        :param condition: ``not-running``, ``next-exit`` or ``removed``.
        """
        container = self.store.get(ref)
        state = container.state
        container.unneeded.set()
        if condition == "removed":
            return _status_of(container.removal())
        if condition == "next-exit" or state.is_alive or state.status is Status.RESTARTING:
            return _status_of(container.exit_code())
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.set_result(state.exit_code)
        return _status_of(future)

    def logs(self, ref: str, options: LogOptions) -> AsyncGenerator[LogChunk, None]:
        """The wanted part of its log."""
        container = self.store.get(ref)
        return read_logs(container, options)

    async def lacks_older_logs(self, ref: str, options: LogOptions) -> bool:
        """Whether some of the wanted part of its log was dropped by rotation."""
        return await lacks_older(self.store.get(ref).log, options)

    def attach(self, ref: str, options: AttachOptions) -> ContainerAttachment:
        """Take part in its standard streams from now on.

        :raises Conflict: it is paused or restarting.
        :raises InvalidInput: there are no such keys to leave by.
        """
        DetachKeys(options.detach_keys)
        container = self.store.get(ref)
        if container.state.status is Status.PAUSED:
            raise Conflict(f"container {ref} is paused, unpause the container before attach")
        if container.state.status is Status.RESTARTING:
            raise Conflict(f"container {container.id} is restarting, wait until the container is running")
        attachment = ContainerAttachment(
            container, container.log, options,
            holds=self.starter.waits_for_clients(container),
            close_stdin=lambda: self.starter.close_stdin(container),
            on_detach=lambda: self.events.publish(container, "detach"),
        )  # fmt: skip
        self.events.publish(container, "attach")
        return attachment

    async def resize(self, ref: str, height: int, width: int) -> None:
        """Tell its terminal the size, in characters.

        :raises Conflict: it does not run.
        """
        container = self.store.get(ref)
        container.state.check_running(container.id)
        if container.terminal is not None:
            pty.set_winsize(container.terminal.fileno(), height, width)
        self.events.publish(container, "resize", height=str(height), width=str(width))

    # --- looking inside ---------------------------------------------------------------------------

    async def top(self, ref: str, ps_args: str) -> ContainerTop:
        """Its processes."""
        container = self.store.get(ref)
        found = await top.top(container, self.starter.cgroup_path(container), ps_args)
        self.events.publish(container, "top")
        return found

    async def stats(self, ref: str) -> ContainerStats:
        """One sample of what it uses."""
        container = self.store.get(ref)
        return self.sampler.sample(container, self.starter.cgroup_path(container))

    async def changes(self, ref: str) -> Changes:
        """What it changed in its root file system."""
        container = self.store.get(ref)
        return await asyncio.to_thread(self.images.changes, container)

    def export(self, ref: str) -> AsyncGenerator[bytes, None]:
        """Its root file system as a tar archive."""
        container = self.store.get(ref)
        self.events.publish(container, "export")
        return self.images.export(container)

    async def explain(self, ref: str) -> Explanation:
        """What it shares, what it is limited to, and what it cost."""
        container = self.store.get(ref)
        cgroup = self.starter.cgroup_path(container)
        return await asyncio.to_thread(self.explain_service.explain, container, cgroup)


async def _status_of(future: asyncio.Future[int]) -> WaitStatus:
    return WaitStatus(await future)


def _may_be_pruned(container: Container, filters: Filters) -> bool:
    if container.state.status not in (Status.CREATED, Status.EXITED, Status.DEAD):
        return False
    created = times.from_rfc3339(container.definition.created)
    return may_be_pruned(created, container.config.labels or {}, filters)
