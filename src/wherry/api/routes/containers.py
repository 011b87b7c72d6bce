"""Containers: create, list, inspect, start, stop, update, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from wherry.api.http import compat
from wherry.api.http.answers import empty, encode, open_stream, reply, reply_from_thread, stream_tar
from wherry.api.http.older import adapt, adapt_platform, adapt_signal, adapt_update, reads_only_at_the_top
from wherry.api.http.routing import Route
from wherry.docker.container_requests import CreateRequest, HostConfig
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.http.query import Filters
    from wherry.api.http.request import ApiRequest
    from wherry.docker.container_answers import (
        ContainerInspect,
        ContainersDeleted,
        ContainerSummary,
        ContainerTop,
        FilesystemChange,
        WaitStatus,
    )
    from wherry.docker.explain_answers import Explanation

WAIT_CONDITIONS: Final = ("not-running", "next-exit", "removed")
#: dockerd takes a start's body up to this length for "nothing"; the shortest HostConfig is longer.
_NO_BODY: Final = 7


class Containers(Protocol):
    """What this file needs of the engine's containers. A `ref` is a name, an ID, or the beginning of one."""

    async def create(
        self, name: str | None, request: CreateRequest, platform: str | None, *, read_only_below: bool = True
    ) -> tuple[str, Sequence[str]]:
        """Make a container; return its ID and warnings."""

    async def list(self, *, all: bool, limit: int, size: bool, filters: Filters) -> Sequence[ContainerSummary]:
        """Return summaries, the newest first."""

    def inspect(self, ref: str) -> ContainerInspect:
        """Return everything about one container but its sizes."""

    async def inspect_with_sizes(self, ref: str) -> ContainerInspect:
        """Return everything about one container."""

    async def start(
        self, ref: str, *, detach_keys: str | None = None, checkpoint: str = "", checkpoint_dir: str = ""
    ) -> None:
        """Start it, at its beginning or from a checkpoint."""

    async def stop(self, ref: str, *, signal: str | None = None, timeout: int | None = None) -> None:
        """Stop it, by force after the timeout in seconds."""

    async def restart(self, ref: str, *, signal: str | None = None, timeout: int | None = None) -> None:
        """Stop and start it."""

    async def kill(self, ref: str, signal: str) -> None:
        """Send a signal."""

    async def pause(self, ref: str) -> None:
        """Freeze it."""

    async def unpause(self, ref: str) -> None:
        """Thaw it."""

    async def rename(self, ref: str, new_name: str) -> None:
        """Give it another name."""

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it."""

    async def remove_link(self, ref: str) -> None:
        """Remove the link that a name like ``web/db`` stands for."""

    def waiter(self, ref: str, condition: str) -> Awaitable[WaitStatus]:
        """Begin to wait at once, and return what can be awaited."""

    async def update(self, ref: str, wanted: HostConfig) -> Sequence[str]:
        """Change limits and the restart policy; return warnings."""

    async def resize(self, ref: str, height: int, width: int) -> None:
        """Set the terminal's size, in characters."""

    async def top(self, ref: str, ps_args: str) -> ContainerTop:
        """List its processes."""

    async def changes(self, ref: str) -> Sequence[FilesystemChange]:
        """List what it changed in its root file system."""

    def export(self, ref: str) -> AsyncGenerator[bytes, None]:
        """Yield its root file system as a tar."""

    async def prune(self, filters: Filters) -> ContainersDeleted:
        """Remove those that do not run."""

    async def explain(self, ref: str) -> Explanation:
        """Explain its namespaces, limits and usage."""


class ContainerRoutes:
    """The operations on containers that have no streams."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/containers/json", self.list),
            Route("POST", "/containers/create", self.create),
            Route("POST", "/containers/prune", self.prune),
            Route("GET", "/containers/{id:path}/json", self.inspect),
            Route("GET", "/containers/{id:path}/top", self.top),
            Route("GET", "/containers/{id:path}/changes", self.changes),
            Route("GET", "/containers/{id:path}/export", self.export, streaming=True),
            Route("GET", "/containers/{id:path}/explain", self.explain),
            Route("POST", "/containers/{id:path}/start", self.start),
            Route("POST", "/containers/{id:path}/stop", self.stop),
            Route("POST", "/containers/{id:path}/restart", self.restart),
            Route("POST", "/containers/{id:path}/kill", self.kill),
            Route("POST", "/containers/{id:path}/pause", self.pause),
            Route("POST", "/containers/{id:path}/unpause", self.unpause),
            Route("POST", "/containers/{id:path}/rename", self.rename),
            Route("POST", "/containers/{id:path}/update", self.update),
            Route("POST", "/containers/{id:path}/resize", self.resize),
            Route("POST", "/containers/{id:path}/wait", self.wait, streaming=True),
            Route("DELETE", "/containers/{id:path}", self.remove),
        ]

    async def list(self, request: ApiRequest) -> StreamResponse:
        """ContainerList."""
        limit = request.integer("limit")
        summaries = await self._containers.list(
            all=request.flag("all") or limit > 0, limit=limit, size=request.flag("size"), filters=request.filters()
        )
        return reply(compat.containers(summaries, request.version))

    async def create(self, request: ApiRequest) -> StreamResponse:
        """ContainerCreate."""
        if not request.http.can_read_body:
            raise InvalidInput("config cannot be empty in order to create a container")
        wanted = await request.json(CreateRequest)
        wanted, notes = adapt(wanted, request.version)
        identifier, warnings = await self._containers.create(
            request.text("name") or None,
            wanted,
            adapt_platform(request.text("platform"), request.version),
            read_only_below=not reads_only_at_the_top(request.version),
        )
        return reply({"Id": identifier, "Warnings": [*warnings, *notes]}, status=201)

    async def inspect(self, request: ApiRequest) -> StreamResponse:
        """ContainerInspect."""
        if request.flag("size"):
            shown = await self._containers.inspect_with_sizes(request.id)
        else:
            shown = self._containers.inspect(request.id)
        return reply(compat.container(shown, request.version))

    async def start(self, request: ApiRequest) -> StreamResponse:
        """ContainerStart. A body was allowed up to API 1.23; dockerd's refusal is repeated."""
        if (request.http.content_length or 0) > _NO_BODY:
            raise InvalidInput(
                "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
            )
        await self._containers.start(
            request.id,
            detach_keys=request.text("detachKeys") or None,
            checkpoint=request.text("checkpoint"),
            checkpoint_dir=request.text("checkpoint-dir"),
        )
        return empty()

    async def stop(self, request: ApiRequest) -> StreamResponse:
        """ContainerStop."""
        await self._containers.stop(request.id, signal=_stop_signal(request), timeout=request.optional_integer("t"))
        return empty()

    async def restart(self, request: ApiRequest) -> StreamResponse:
        """ContainerRestart."""
        await self._containers.restart(request.id, signal=_stop_signal(request), timeout=request.optional_integer("t"))
        return empty()

    async def kill(self, request: ApiRequest) -> StreamResponse:
        """ContainerKill."""
        await self._containers.kill(request.id, request.text("signal") or "SIGKILL")
        return empty()

    async def pause(self, request: ApiRequest) -> StreamResponse:
        """ContainerPause."""
        await self._containers.pause(request.id)
        return empty()

    async def unpause(self, request: ApiRequest) -> StreamResponse:
        """ContainerUnpause."""
        await self._containers.unpause(request.id)
        return empty()

    async def rename(self, request: ApiRequest) -> StreamResponse:
        """ContainerRename."""
        await self._containers.rename(request.id, request.text("name"))
        return empty()

    async def update(self, request: ApiRequest) -> StreamResponse:
        """ContainerUpdate."""
        wanted = await request.json(HostConfig)
        wanted = adapt_update(wanted, request.version)
        warnings = await self._containers.update(request.id, wanted)
        return reply({"Warnings": warnings or None})

    async def resize(self, request: ApiRequest) -> StreamResponse:
        """ContainerResize."""
        await self._containers.resize(request.id, *terminal_size(request))
        return empty(200)

    async def top(self, request: ApiRequest) -> StreamResponse:
        """ContainerTop."""
        return reply(await self._containers.top(request.id, request.text("ps_args", "-ef")))

    async def changes(self, request: ApiRequest) -> StreamResponse:
        """ContainerChanges."""
        return await reply_from_thread(await self._containers.changes(request.id))

    async def export(self, request: ApiRequest) -> StreamResponse:
        """ContainerExport: a tar of the root file system."""
        return await stream_tar(request.http, self._containers.export(request.id))

    async def explain(self, request: ApiRequest) -> StreamResponse:
        """ContainerExplain, an operation of wherry's own."""
        return reply(await self._containers.explain(request.id))

    async def wait(self, request: ApiRequest) -> StreamResponse:
        """ContainerWait.

        The head is sent at once: clients start the container only when they know that the wait has begun.
        """
        condition = request.text("condition") or "not-running"
        if condition not in WAIT_CONDITIONS:
            raise InvalidInput(f'invalid condition: "{condition}"')
        waiter = self._containers.waiter(request.id, condition)
        response = await open_stream(request.http, "application/json")
        await response.write_eof(encode(await waiter))  # in one piece: a client is woken once
        return response

    async def remove(self, request: ApiRequest) -> StreamResponse:
        """ContainerDelete; with ``link`` of a link only."""
        if request.flag("link"):
            await self._containers.remove_link(request.id)
            return empty()
        await self._containers.remove(request.id, force=request.flag("force"), volumes=request.flag("v"))
        return empty()

    async def prune(self, request: ApiRequest) -> StreamResponse:
        """ContainerPrune."""
        return reply(await self._containers.prune(request.filters()))


def _stop_signal(request: ApiRequest) -> str | None:
    return adapt_signal(request.text("signal"), request.version)


def terminal_size(request: ApiRequest) -> tuple[int, int]:
    """Return height and width, both needed.

    :raises InvalidInput: one is missing, no number, or out of range.
    """
    return request.side("h", "height"), request.side("w", "width")
