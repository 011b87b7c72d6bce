"""The way to the classic builder's operations: they are imported when somebody builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.api.http.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp.web import StreamResponse

    from wherry.api.http.hijack import HangupWatch
    from wherry.api.http.request import ApiRequest
    from wherry.api.routes.build import BuildRoutes
    from wherry.build.model.service import BuildService

__all__ = ["BuildDoor"]


class BuildDoor:
    """Stands for `wherry.api.routes.build.BuildRoutes`; see there for the parameters."""

    def __init__(
        self, builds: BuildService, contexts: Path, host_gateway: Callable[[], str], watch: HangupWatch
    ) -> None:
        self._given = (builds, contexts, host_gateway, watch)
        self._made: BuildRoutes | None = None

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("POST", "/build", self.build, streaming=True),
            Route("POST", "/build/cancel", self.cancel),
            Route("POST", "/build/prune", self.prune),
            Route("POST", "/wherry/build/calls/{token}", self.answer, streaming=True),
            Route("POST", "/wherry/build/shell", self.open_shell, streaming=True),
            Route("POST", "/wherry/build/shell/resize", self.resize_shell),
        ]

    async def build(self, request: ApiRequest) -> StreamResponse:
        """ImageBuild."""
        return await self._operations().build(request)

    async def cancel(self, request: ApiRequest) -> StreamResponse:
        """BuildCancel."""
        return await self._operations().cancel(request)

    async def prune(self, request: ApiRequest) -> StreamResponse:
        """BuildPrune."""
        return await self._operations().prune(request)

    async def answer(self, request: ApiRequest) -> StreamResponse:
        """What a build has asked its client for."""
        return await self._operations().answer(request)

    async def open_shell(self, request: ApiRequest) -> StreamResponse:
        """A shell in a step that has failed."""
        return await self._operations().shells.open(request)

    async def resize_shell(self, request: ApiRequest) -> StreamResponse:
        """Its terminal's size."""
        return await self._operations().shells.resize(request)

    def _operations(self) -> BuildRoutes:
        if self._made is None:
            from wherry.api.routes.build import BuildRoutes  # noqa: PLC0415

            self._made = BuildRoutes(*self._given)
        return self._made
