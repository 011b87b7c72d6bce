"""Containers: made, listed, started, stopped, changed, removed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from wherry.api.answers import empty, encode, open_stream, reply
from wherry.api.routing import Route
from wherry.engine.config import CreateRequest
from wherry.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.call import Call, Json
    from wherry.api.query import Filters

WAIT_CONDITIONS: Final = ("not-running", "next-exit", "removed")
_TAR: Final = "application/x-tar"
_ALIASES_WITHOUT_ID: Final = (1, 45)  # the API version from which the short ID is in ``DNSNames`` only
_MAC_BY_NETWORK: Final = (1, 44)  # the API version from which a MAC address belongs to a place on a network
_MAC_DEPRECATED: Final = (
    "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
)
#: dockerd takes a start's body up to this length for "nothing"; the shortest HostConfig is longer.
_NO_BODY: Final = 7


class Lifecycle(Protocol):
    """What this file needs of the engine's containers. A `ref` is a name, an ID, or the beginning of one."""

    async def create(self, name: str | None, request: CreateRequest, platform: str | None) -> tuple[str, Sequence[str]]:
        """Make a container; return its ID and warnings."""

    def list(self, *, all: bool, limit: int, size: bool, filters: Filters) -> Sequence[Json]:
        """Return summaries, the newest first."""

    def inspect(self, ref: str, size: bool = False) -> Json:
        """Return everything about one container."""

    async def start(self, ref: str, *, detach_keys: str | None = None) -> None:
        """Start it."""

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

    def waiter(self, ref: str, condition: str) -> Awaitable[Json]:
        """Begin to wait at once, and return what can be awaited."""

    async def update(self, ref: str, body: Json) -> Sequence[str]:
        """Change limits and the restart policy; return warnings."""

    async def resize(self, ref: str, height: int, width: int) -> None:
        """Tell the terminal its size, in characters."""

    async def top(self, ref: str, ps_args: str) -> Json:
        """List its processes."""

    async def changes(self, ref: str) -> Sequence[Any]:
        """List what it changed in its root file system."""

    def export(self, ref: str) -> AsyncIterator[bytes]:
        """Yield its root file system as a tar."""

    async def prune(self, filters: Filters) -> Json:
        """Remove those that do not run."""

    async def explain(self, ref: str) -> Json:
        """Tell what it shares, what it is limited to, and what it cost."""


class ContainerRoutes:
    """The operations on containers that have no streams."""

    def __init__(self, containers: Lifecycle) -> None:
        self._containers = containers

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/containers/json", self.list),
            Route("POST", "/containers/create", self.create),
            Route("POST", "/containers/prune", self.prune),
            Route("GET", "/containers/{id}/json", self.inspect),
            Route("GET", "/containers/{id}/top", self.top),
            Route("GET", "/containers/{id}/changes", self.changes),
            Route("GET", "/containers/{id}/export", self.export, streaming=True),
            Route("GET", "/containers/{id}/explain", self.explain),
            Route("POST", "/containers/{id}/start", self.start),
            Route("POST", "/containers/{id}/stop", self.stop),
            Route("POST", "/containers/{id}/restart", self.restart),
            Route("POST", "/containers/{id}/kill", self.kill),
            Route("POST", "/containers/{id}/pause", self.pause),
            Route("POST", "/containers/{id}/unpause", self.unpause),
            Route("POST", "/containers/{id}/rename", self.rename),
            Route("POST", "/containers/{id}/update", self.update),
            Route("POST", "/containers/{id}/resize", self.resize),
            Route("POST", "/containers/{id}/wait", self.wait, streaming=True),
            Route("DELETE", "/containers/{id}", self.remove),
        ]

    async def list(self, call: Call) -> StreamResponse:
        """ContainerList."""
        limit = call.integer("limit")
        summaries = self._containers.list(
            all=call.flag("all") or limit > 0, limit=limit, size=call.flag("size"), filters=call.filters()
        )
        return reply(summaries)

    async def create(self, call: Call) -> StreamResponse:
        """ContainerCreate."""
        if not call.request.can_read_body:
            raise InvalidInput("config cannot be empty in order to create a container")
        request = await call.json(CreateRequest)
        identifier, warnings = await self._containers.create(
            call.text("name") or None, request, call.text("platform") or None
        )
        if request.mac_address and call.version >= _MAC_BY_NETWORK:
            warnings = [*warnings, _MAC_DEPRECATED]
        return reply({"Id": identifier, "Warnings": warnings}, status=201)

    async def inspect(self, call: Call) -> StreamResponse:
        """ContainerInspect."""
        shown = self._containers.inspect(call.id, call.flag("size"))
        if call.version < _ALIASES_WITHOUT_ID:
            _add_short_id(shown)
        return reply(shown)

    async def start(self, call: Call) -> StreamResponse:
        """ContainerStart. A body was allowed up to API 1.23; dockerd's refusal is repeated."""
        if (call.request.content_length or 0) > _NO_BODY:
            raise InvalidInput(
                "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
            )
        await self._containers.start(call.id, detach_keys=call.text("detachKeys") or None)
        return empty()

    async def stop(self, call: Call) -> StreamResponse:
        """ContainerStop."""
        await self._containers.stop(call.id, signal=call.text("signal") or None, timeout=call.optional_integer("t"))
        return empty()

    async def restart(self, call: Call) -> StreamResponse:
        """ContainerRestart."""
        await self._containers.restart(call.id, signal=call.text("signal") or None, timeout=call.optional_integer("t"))
        return empty()

    async def kill(self, call: Call) -> StreamResponse:
        """ContainerKill."""
        await self._containers.kill(call.id, call.text("signal") or "SIGKILL")
        return empty()

    async def pause(self, call: Call) -> StreamResponse:
        """ContainerPause."""
        await self._containers.pause(call.id)
        return empty()

    async def unpause(self, call: Call) -> StreamResponse:
        """ContainerUnpause."""
        await self._containers.unpause(call.id)
        return empty()

    async def rename(self, call: Call) -> StreamResponse:
        """ContainerRename."""
        await self._containers.rename(call.id, call.text("name"))
        return empty()

    async def update(self, call: Call) -> StreamResponse:
        """ContainerUpdate."""
        warnings = await self._containers.update(call.id, await call.json(dict))
        return reply({"Warnings": warnings or None})

    async def resize(self, call: Call) -> StreamResponse:
        """ContainerResize."""
        await self._containers.resize(call.id, *terminal_size(call))
        return empty(200)

    async def top(self, call: Call) -> StreamResponse:
        """ContainerTop."""
        return reply(await self._containers.top(call.id, call.text("ps_args", "-ef")))

    async def changes(self, call: Call) -> StreamResponse:
        """ContainerChanges."""
        return reply(await self._containers.changes(call.id))

    async def export(self, call: Call) -> StreamResponse:
        """ContainerExport: a tar of the root file system."""
        pieces = self._containers.export(call.id)
        first = await anext(pieces, b"")  # what is wrong shows here, while there can still be a status code
        response = await open_stream(call.request, _TAR)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        return response

    async def explain(self, call: Call) -> StreamResponse:
        """ContainerExplain, an operation of wherry's own."""
        return reply(await self._containers.explain(call.id))

    async def wait(self, call: Call) -> StreamResponse:
        """ContainerWait.

        The head is sent at once: clients start the container only when they know that the wait has begun.
        """
        condition = call.text("condition") or "not-running"
        if condition not in WAIT_CONDITIONS:
            raise InvalidInput(f'invalid condition: "{condition}"')
        waiter = self._containers.waiter(call.id, condition)
        response = await open_stream(call.request, "application/json")
        await response.write(encode(await waiter))
        return response

    async def remove(self, call: Call) -> StreamResponse:
        """ContainerDelete."""
        if call.flag("link"):
            raise Conflict("a link goes with the container that has it, and cannot be removed alone")
        await self._containers.remove(call.id, force=call.flag("force"), volumes=call.flag("v"))
        return empty()

    async def prune(self, call: Call) -> StreamResponse:
        """ContainerPrune."""
        return reply(await self._containers.prune(call.filters()))


def _add_short_id(shown: Json) -> None:
    """Among the aliases on networks with names, where clients of old look for it."""
    for place in shown["NetworkSettings"]["Networks"].values():
        if place["DNSNames"] is not None:
            place["Aliases"] = [*(place["Aliases"] or ()), shown["Id"][:12]]


def terminal_size(call: Call) -> tuple[int, int]:
    """Return height and width, both needed.

    :raises InvalidInput: in Go's words, which is what dockerd passes on.
    """
    return _required(call.text("h")), _required(call.text("w"))


def _required(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text):
        raise InvalidInput(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
